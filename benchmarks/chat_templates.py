"""What rendering conversations costs, against transformers: run it where both are installed.

    python benchmarks/chat_templates.py [conversations] [--tools]

Each model's template of tests/chat_templates renders the same conversations in turns, a hundred at a time. As text:
with transformers' `apply_chat_template(tokenize=False)`, in the sandbox of tinkex, which is what safety costs, and with
`ModelInput.from_messages` through a tokenizer that makes no tokens. As tokens, of one tokenizer.json: with
transformers, with `ModelInput.from_messages` and the tokenizer that tinkex loads from it, and with that of
transformers. Prints CPU time for each conversation and ratios to transformers, at the end those of the sums.
`--tools`: conversations that call a tool.
"""

from __future__ import annotations

import json
import pathlib
import re
import sys
import tempfile
import time

import attrs
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tinkex.tokenizers import get_tokenizer
from tinkex.tokenizers._chat_template.render import ChatTemplate
from tinkex.types import ModelInput

ROOT = pathlib.Path(__file__).parent.parent
TEMPLATES = ROOT / "tests" / "chat_templates"
CONTROL_TOKEN = re.compile(r"<[^<>\s'\"]{1,60}>|\[/?[A-Z_]+\]")
DATE = {"date_string": "22 Nov 2026"}
WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "says", "nothing", "about", "it")
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a place.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "A place"}}},
    },
}
WAYS = ("transformers", "sandbox", "from_messages", "transformers", "from_messages", "the same, with theirs")


class Untokenized:
    """What stands in a loaded tokenizer's place for the library: it keeps the text and makes no tokens."""

    ids = (0,)
    text = ""

    def encode(self, text, **_):
        self.text = text
        return self

    def encode_batch(self, texts, **_):
        return [self.encode(*texts)]


def vocabulary():
    """A byte-level tokenizer of the documentation's words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train(sorted(map(str, (ROOT / "docs").glob("*.rst"))), trainer)
    return tokenizer


def conversations(count, with_tools):
    """Conversations of one to five turns, with one to sixty words in each."""
    for number in range(count):
        turns = 1 + 2 * (number % 3)
        messages = [{"role": "system", "content": "Be brief."}] if number % 2 else []
        for turn in range(turns):
            text = " ".join(WORDS[(number + index) % len(WORDS)] for index in range(1 + (number * 7 + turn) % 60))
            messages.append({"role": ("user", "assistant")[turn % 2], "content": f"{text}?\n"})
        if with_tools:
            function = {"name": "get_weather", "arguments": {"city": WORDS[number % len(WORDS)]}}
            call = {"id": f"call{number % 9}xxxx", "type": "function", "function": function}
            messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
            result = {"role": "tool", "name": "get_weather", "tool_call_id": call["id"], "content": "Rain."}
            messages.append(result)
        yield messages


def measure(name, special_tokens, words, batch, tools):
    """How many conversations the template renders, and the CPU seconds of each way to do so."""
    template = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    tokenizer = Tokenizer.from_str(words.to_str())
    tokenizer.add_special_tokens(sorted({*CONTROL_TOKEN.findall(template), *special_tokens.values()}))
    theirs = PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, **special_tokens)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        loaded = get_tokenizer(pathlib.Path(folder))
        library = Untokenized()
        untokenized = attrs.evolve(loaded, inner=library)
        assert loaded.chat_template == untokenized.chat_template == template
    sandboxed = ChatTemplate(template, special_tokens.items(), name)
    date = DATE if "date_string" in template else {}
    given = {"tools": tools, "add_generation_prompt": True, "documents": None, **date}

    def apply(messages, **options):
        return theirs.apply_chat_template(messages, tools=tools, add_generation_prompt=True, **date, **options)

    def as_text(messages):
        ModelInput.from_messages(messages, untokenized, tools=tools, **date)
        return library.text

    def as_tokens(messages, tokenizer=loaded):
        return ModelInput.from_messages(messages, tokenizer, tools=tools, **date).to_ints()

    texts = (
        lambda messages: apply(messages, tokenize=False),
        lambda messages: sandboxed.render({**given, "messages": messages}),
        as_text,
    )
    tokens = (
        lambda messages: apply(messages, return_dict=False),
        as_tokens,
        lambda messages: as_tokens(messages, theirs),
    )
    kept = [messages for messages in batch if is_rendered(texts[0], messages) and is_rendered(texts[2], messages)]
    seconds = [0.0] * len(WAYS)
    for start in range(0, len(kept), 100):
        some = kept[start : start + 100]
        made = []
        for number, render in enumerate((*texts, *tokens)):
            began = time.process_time()
            made.append([render(messages) for messages in some])
            seconds[number] += time.process_time() - began
        assert made[0] == made[1] == made[2], name
        assert made[3] == made[4] == made[5], name
    return len(kept), seconds


def is_rendered(render, messages):
    """Whether the template takes the conversation: Gemma's, for one, refuses a system message, and leaves out tools."""
    try:
        render(messages)
    except Exception:  # noqa: BLE001 - a template may fail like any program
        return False
    return True


def main():
    """Print a line for each model."""
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    with_tools = "--tools" in sys.argv
    special = json.loads((TEMPLATES / "special_tokens.json").read_text(encoding="utf-8"))
    batch = list(conversations(*(numbers or [10_000]), with_tools))
    words, totals, all_rendered = vocabulary(), [0.0] * len(WAYS), 0
    print(f"{'':26}{'as text':^54}{'as tokens':^54}")
    print(f"{'model':16} {'rendered':>9}" + "".join(f"{way:>18.17}" for way in WAYS))
    for name, tokens in special.items():
        rendered, seconds = measure(name, tokens, words, batch, [TOOL] if with_tools else None)
        if rendered:
            all_rendered += rendered
            totals = [total + each for total, each in zip(totals, seconds, strict=True)]
            print(line(name, rendered, seconds), flush=True)
    print(line("all", all_rendered, totals))


def line(name, rendered, seconds):
    """Microseconds for a conversation, and ratios."""
    each = [one * 1e6 / rendered for one in seconds]
    firsts = (each[0],) * 3 + (each[3],) * 3
    ratios = "".join(f"{us:9.1f} us {us / first:5.2f}" for us, first in zip(each, firsts, strict=True))
    return f"{name:16} {rendered:9,}{ratios}"


if __name__ == "__main__":
    main()
