from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex._wire.records import Page
from tinkex.errors import InternalServerError
from tinkex.listing import Listing

COUNT = st.integers(0, 30)


def pages_of(items, *, total):
    """A server's pages of a list, and the offsets that were asked for."""
    asked = []

    def fetch(offset, count):
        asked.append(offset)
        part = tuple(items[offset : offset + count])
        return Page(part, len(part), len(items) if total else None)

    return fetch, asked


@given(COUNT, st.integers(1, 8), st.integers(0, 40), st.booleans())
def test_all_items_once(count, size, offset, total):
    """Every item from the offset on comes once and in order, whether or not the server tells how many there are."""
    items = list(range(count))
    fetch, asked = pages_of(items, total=total)
    assert list(Listing(fetch, size, offset)) == items[offset:]
    assert len(asked) <= max(0, count - offset) // size + 1


def test_lazy():
    """Nothing is asked for before the first item, and no page before it is needed."""
    fetch, asked = pages_of(range(10), total=True)
    listing = Listing(fetch, 4)
    assert (asked, listing.total) == ([], None)
    assert list(itertools.islice(listing, 4)) == [0, 1, 2, 3]
    assert (asked, listing.total) == ([0], 10)
    assert next(listing) == 4
    assert asked == [0, 4]


def test_an_error_comes_where_the_page_is_needed():
    """An error between pages loses nothing that came before, and the next call asks for that page again."""
    fetch, asked = pages_of(range(5), total=True)
    answers = iter([fetch, None, fetch, fetch])

    def shaky(offset, count):
        answer = next(answers)
        if answer is None:
            raise InternalServerError("no", 500)
        return answer(offset, count)

    listing = Listing(shaky, 2)
    assert [next(listing), next(listing)] == [0, 1]
    with pytest.raises(InternalServerError):
        next(listing)
    assert list(listing) == [2, 3, 4]
    assert asked == [0, 2, 4]


@given(st.integers(1, 5), COUNT | st.none())
def test_a_server_without_pages(count, total):
    """A server that answers the same to every offset is not asked for ever, and its items come once."""
    items = tuple(range(count))
    listing = Listing(lambda *_: Page(items, count, total), 3)
    assert tuple(itertools.islice(listing, 100)) == items


def test_a_page_of_nothing_readable():
    """A page whose entries all were left out does not end the list."""
    pages = {0: Page((), 2, 4), 2: Page(("a",), 2, 4)}
    assert list(Listing(lambda offset, _: pages[offset], 2)) == ["a"]


def test_a_total_that_is_too_large():
    """An empty page ends the list, whatever total was promised."""
    assert list(Listing(lambda *_: Page((), 0, 10**9), 2)) == []


def test_a_total_that_vanishes_behind_the_end():
    """What the server once said of the total stands, though an empty page says 0."""
    pages = {0: Page(("a", "b"), 2, 3), 2: Page((), 0, 0)}
    listing = Listing(lambda offset, _: pages[offset], 2)
    assert (list(listing), listing.total) == (["a", "b"], 3)


def test_an_ended_list_stays_ended():
    """After the end nothing is asked for again."""
    fetch, asked = pages_of(range(2), total=True)
    listing = Listing(fetch, 2)
    assert list(listing) == [0, 1]
    assert list(listing) == []
    assert asked == [0]
