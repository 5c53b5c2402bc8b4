"""Command group: which commands there are, and how each way of ending becomes an exit code.

A command is a module of its own that defines ``command``; it is imported only when it is run.
"""

from __future__ import annotations

import difflib
import gc
import importlib
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, NoReturn

import click

from tinkex import __version__
from tinkex.errors import APIConnectionError, CredentialError, TinkexError, clean_text

COMMANDS: Final = {
    "sample": "Generate text from a prompt.",
    "chat": "Talk with a model.",
    "logprobs": "Show how likely a model finds each token of a text.",
    "batch": "Sample whole files of prompts, and look at the results.",
    "models": "List the models that the server offers.",
    "checkpoints": "List saved weights, or show what is known of some.",
    "runs": "List training runs, or show one with its checkpoints.",
    "session": "List sessions, or show one with its samplers.",
    "local": "Fetch and serve the small model that runs on this machine.",
    "serve": "Serve models to programs that speak OpenAI's API, until Ctrl-C.",
    "config": "Show the settings and where they come from.",
    "doctor": "Find out what keeps sampling from working.",
    "check": "Find out whether a server samples as it is asked to.",
    "completion": "Print the lines that make a shell complete commands.",
    "version": "Show the version.",
}
_INTERRUPTED: Final = 130
_NO_KEY: Final = (
    "No API key. Run: export TINKER_API_KEY=tml-..., with a key from https://tinker.thinkingmachines.ai/keys; or sample"
    " without one from the small model on this machine: --local"
)


_ARGUMENT: Final = re.compile(r"""\b([a-z_]+)=(?:"(\w+)"|(?![^\s,.;)]))|\b(base_url)\b""")  # timeout=, changed="redo"
_REFUSED: Final = re.compile(r"^[a-z_]+(?=(\[\d+\])? must )")  # max_tokens must be
_SHORTER: Final = {"topk_sample_logprobs": "topk_logprobs", "topk_prompt_logprobs": "topk"}  # arguments as options


class Commands(click.Group):
    """Command group that tells what a misspelt command may mean."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Find the command that is meant; one that there is none of is told with what it is close to."""
        name, table = args[0], self.list_commands(ctx)
        if name not in table and not name.startswith("-"):
            close = difflib.get_close_matches(name, table)
            hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
            ctx.fail(f"No such command {name!r}.{hint}")
        return super().resolve_command(ctx, args)


class App(Commands):
    """Lazy command group: commands are imported when they are run, and share their exit codes."""

    table: ClassVar[dict[str, str]] = COMMANDS
    package: ClassVar[str] = "tinkex.cli.commands"
    packages: ClassVar[dict[str, str]] = {
        name: f"tinkex.cli.{name}" for name in ("batch", "chat", "check", "doctor", "version")
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order of the help text."""
        del ctx
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one command."""
        del ctx
        if cmd_name not in self.table:
            return None
        home = self.packages.get(cmd_name, f"{self.package}.{cmd_name}")
        command: click.Command = importlib.import_module(home).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(self.table.items()))

    def main(self, *args: Any, **options: Any) -> Any:
        """Run one command line and exit with a code that tells how it ended."""
        run = super().main
        sys.exit(_exit_code(lambda: run(*args, **{**options, "standalone_mode": False})))


def _exit_code(run: Callable[[], Any]) -> int:
    try:
        result = run()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        return _INTERRUPTED
    except BrokenPipeError:
        return _nobody_reads()
    except Exception as error:  # noqa: BLE001 - a person at a terminal gets a line, not a traceback
        _report(error)
        return 1
    return result if isinstance(result, int) else 0


def _nobody_reads() -> int:
    """Exit quietly when the reader of a pipe has closed it."""
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - for what is still to be flushed at the end
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    return 1


def _report(error: Exception) -> None:
    if os.environ.get("TINKEX_DEBUG", "0") in {"", "0"}:
        complain(error)
        return
    for line in "".join(traceback.format_exception(error)).splitlines():
        indent = len(line) - len(line.lstrip())
        click.echo(" " * indent + clean_text(line, secrets=_secrets()), err=True)


def complain(error: BaseException | None, about: str | None = None) -> None:
    """Print an error as one line on stderr."""
    text = str(error)
    if not isinstance(error, TinkexError | OSError):
        text = f"unexpected {type(error).__name__}: {error} (TINKEX_DEBUG=1 shows where)"
    if isinstance(error, CredentialError) and not any(map(os.environ.get, ("TINKER_API_KEY", "TINKER_CREDENTIAL_CMD"))):
        text = _NO_KEY
    if isinstance(error, APIConnectionError):
        text += " To find out why, run: tinkex doctor"
    text = text if about is None else f"{about}: {text}"
    _say(clean_text(_ARGUMENT.sub(_as_flag, text), secrets=_secrets()))


def _as_flag(argument: re.Match[str]) -> str:
    """Name an argument of a call as the option that gives it on the command line."""
    name, value = argument[1] or argument[3], argument[2]
    return f"--{name.replace('_', '-')}{'' if value is None else f' {value}'}"


def _secrets() -> list[str]:
    return [os.environ.get("TINKER_API_KEY", "")]


def _say(text: str) -> None:
    sys.stderr.write(f"tinkex: {text}\n")  # click's echo would write past a spinner
    sys.stderr.flush()


@click.group(cls=App, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="tinkex %(version)s")
def app() -> None:
    """Sample text and log-probabilities from Tinker servers, or from a small model on this machine.

    The server and the key come from TINKER_BASE_URL and TINKER_API_KEY; --local needs neither.
    """
    if not gc.isenabled():  # so it is while the command is imported
        gc.freeze()
        gc.enable()
    logger = logging.getLogger("tinkex")
    if not any(isinstance(handler, _Announcer) for handler in logger.handlers):
        logger.addHandler(_Announcer(logging.WARNING))
    warnings.showwarning = _show_warning  # type: ignore[assignment]  # it needs no place in the code
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # what fails there is told once, by the error


class _Announcer(logging.Handler):
    """Log handler for the client's warnings, on the stderr of that moment, which may be a spinner's."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        _say(clean_text(record.getMessage()))


def _show_warning(message: Warning | str, *_place: object) -> None:
    _say(clean_text(str(message)))


def with_options(options: Sequence[Callable[[Any], Any]], command: Any) -> Callable[..., Any]:
    """Decorate a command with click options and arguments, in this order."""
    for option in reversed(options):
        command = option(command)
    return command  # type: ignore[no-any-return]


def usage_error(message: str) -> NoReturn:
    """End the command with exit code 2 and a line that says what is wrong with its arguments."""
    context = click.get_current_context(silent=True)
    flags = {} if context is None else {each.name: max(each.opts, key=len) for each in context.command.params}
    message = _REFUSED.sub(
        lambda found: flags.get(found[0]) or flags.get(_SHORTER.get(found[0], "")) or found[0], message
    )
    raise click.UsageError(message, context)
