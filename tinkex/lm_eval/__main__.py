"""Command line of lm-eval, in which ``tinkex`` is a model, and the one that is taken where none is named."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_COMMANDS = ("run", "ls", "validate")
_NAMES_A_MODEL = ("--model", "-M", "--config", "-C")


def with_model(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of lm-eval with a model, where they run one and name none.

    >>> with_model(["--tasks", "arc_easy"])
    ['run', '--model', 'tinkex', '--tasks', 'arc_easy']
    >>> with_model(["run", "--model=hf"])
    ['run', '--model=hf']
    """
    command, *rest = arguments if arguments and arguments[0] in _COMMANDS else ["run", *arguments]
    names = {text.partition("=")[0] for text in rest}
    given = ["--model", "tinkex"] if command == "run" and rest and names.isdisjoint(_NAMES_A_MODEL) else []
    return [command, *given, *rest]


def main() -> None:
    """Run lm-eval."""
    from lm_eval.__main__ import cli_evaluate

    import tinkex.lm_eval  # noqa: F401 - it makes the model known

    sys.argv[1:] = with_model(sys.argv[1:])
    cli_evaluate()


if __name__ == "__main__":
    main()
