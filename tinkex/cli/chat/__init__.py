"""Command ``tinkex chat``."""

from __future__ import annotations

import functools
from typing import Any, BinaryIO

import click

from tinkex.chat import ChatFormat
from tinkex.cli._app import complain
from tinkex.cli._screen import console, harmless, note, print_text, working
from tinkex.cli.chat.commands import ChatCommands, save
from tinkex.cli.chat.dialogue import Dialogue
from tinkex.cli.chat.lines import is_interactive, read_messages
from tinkex.cli.options.connect import Target, connected, target_options, wrong_arguments
from tinkex.cli.options.prompt import decoded_input
from tinkex.errors import TinkexError
from tinkex.text import SampledAnswer
from tinkex.types import SamplingParams


@click.command()
@click.option("--system", metavar="TEXT", help="What the model is told before everything else.")
@click.option("-m", "--max-tokens", type=int, default=512, show_default=True, help="End an answer after this many.")
@click.option("-t", "--temperature", type=float, default=0.7, show_default=True, help="0 always takes the likeliest.")
@click.option("--top-p", type=float, default=1.0, help="Choose among the likeliest share P. Default: all.")
@click.option("--seed", type=int, help="Repeat an answer.")
@click.option("--chat-template", type=click.File("rb"), metavar="PATH", help="Instead of the model's own.")
@click.option("-o", "--output", metavar="PATH", help="Append the conversation to this file of JSON lines at the end.")
@target_options
def command(
    *, target: Target, system: str | None, chat_template: BinaryIO | None, output: str | None, **options: Any
) -> int:
    """Talk with a model.

    Type a message, and read the answer. Ctrl-C ends an answer, Ctrl-D leaves; /help lists what else can be said. From a
    pipe, each line is a message, and the answers go to standard output.

    \b
      tinkex chat --local
      tinkex chat --base-model Qwen/Qwen3-8B --system "Answer in one sentence." -o chats.jsonl
    """  # noqa: D301 - click wants the character itself
    with wrong_arguments():
        params = SamplingParams(**options)
    variables = {} if chat_template is None else {"chat_template": decoded_input(chat_template.read(), cut=False)}
    with connected(target) as model:
        sample = functools.partial(
            model.client.chat, sampling_params=params, tokenizer=model.tokenizer, template_variables=variables,
            timeout=target.timeout,
        )  # fmt: skip
        ChatFormat(model.tokenizer, **variables)  # to find out now that there is none
        dialogue = Dialogue(model.model, sample, system)
        if is_interactive():
            note(f"{model.model}: /help lists the commands, Ctrl-D leaves.")
        try:
            failed = _talk(dialogue, ChatCommands(dialogue, model.tokenizer))
        finally:
            if output is not None and dialogue.turns:
                save(dialogue, output)
    return 1 if failed and not is_interactive() else 0


def _talk(dialogue: Dialogue, commands: ChatCommands) -> bool:
    """Answer until the user leaves; return whether something went wrong."""
    failed = False
    for text in read_messages():
        try:
            if text.strip() and not commands.run(text):
                _answer(dialogue, text.strip())
        except EOFError:
            break
        except (TinkexError, TypeError, ValueError) as error:
            failed = True
            complain(error if isinstance(error, TinkexError) else TinkexError(str(error)))
    return failed


def _answer(dialogue: Dialogue, text: str) -> None:
    try:
        with working("Answering"):
            answer = dialogue.say(text)
    except KeyboardInterrupt:
        if not is_interactive():
            raise
        note("The answer was ended, and your message taken back.")
    else:
        _show(answer)


def _show(answer: SampledAnswer) -> None:
    if answer.reasoning_content and is_interactive():
        console().print(harmless(answer.reasoning_content), style="dim", markup=False, soft_wrap=True)
    calls = [f"{call['function']['name']}({call['function']['arguments']})" for call in answer.tool_calls]
    unread = [call.text for call in answer.unparsed_tool_calls]
    print_text("\n".join(filter(None, [answer.content, *calls, *unread])))
    if answer.ended == "cut_off":
        note(f"Cut off after {len(answer.tokens)} tokens: --max-tokens allows more.")
