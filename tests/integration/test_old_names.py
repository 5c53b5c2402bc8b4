"""Names that were public before the package was laid out anew."""

from __future__ import annotations

import inspect
import pathlib
import pkgutil

NAMES = (pathlib.Path(__file__).parent / "names_of_0.1.0.txt").read_text().splitlines()


def is_kept(line):
    """Whether a name can still be imported, and a call takes the arguments that it took, in the same order."""
    name, *arguments = line.split()
    try:
        found = pkgutil.resolve_name(name)
    except AttributeError:
        return False
    if not arguments:
        return True
    parameters = inspect.signature(found).parameters
    kept = [each for each in parameters if each in arguments]
    keywords = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    return kept == [each for each in arguments if each in kept] and (keywords or len(kept) == len(arguments))


def test_old_names():
    """Every name that an earlier version documented is found where it was, and is called as it was."""
    assert [line for line in NAMES if not is_kept(line)] == []


def test_a_lost_name_is_found():
    """The check sees a name that is gone, an argument that is gone, and arguments in another order."""
    lost = ["tinkex.Nobody", "tinkex.RetryConfig max_attempts tries", "tinkex.EncodedTextChunk.nobody"]
    turned = "tinkex.SamplingClient.sample sampling_params prompt"
    assert not any(map(is_kept, [*lost, turned]))
