"""What the client calls itself, and the ids it makes."""

from __future__ import annotations

import uuid

from tinkex._identity import PROTOCOL_VERSION, USER_AGENT, __version__, random_uuid


def test_random_uuids():
    """An id is a random UUID as the standard library's reader knows it, each another."""
    made = {random_uuid() for _ in range(1000)}
    read = [uuid.UUID(text) for text in made]
    assert len(made) == 1000
    assert {(each.version, each.variant) for each in read} == {(4, uuid.RFC_4122)}
    assert {str(each) for each in read} == made


def test_every_variant_digit_is_drawn():
    """The two random bits beside the variant are random."""
    assert {random_uuid()[19] for _ in range(1000)} == set("89ab")


def test_user_agent():
    """Servers see who asks and which version; the protocol's version is another matter."""
    assert f"tinkex-python/{__version__}" == USER_AGENT
    assert __version__ != PROTOCOL_VERSION
