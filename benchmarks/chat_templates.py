"""What rendering conversations costs, against transformers: run it where both are installed.

    python benchmarks/chat_templates.py [conversations]

Each model's template of tests/chat_templates renders the same conversations in turns: with transformers'
`apply_chat_template(tokenize=False)`; in the sandbox of tinkex, which is what safety costs; and with
`ModelInput.from_messages`, which also copies and checks the messages, through a tokenizer that makes no tokens. Prints
CPU time for each conversation and ratios to transformers, at the end those of the sums.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from tinkex.tokenizers._chat_template.render import ChatTemplate
from tinkex.types import ModelInput

TEMPLATES = pathlib.Path(__file__).parent.parent / "tests" / "chat_templates"
DATE = {"date_string": "22 Nov 2026"}
WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "says", "nothing", "about", "it")


class Untokenized:
    """A tokenizer with a template that keeps the text and makes no tokens."""

    def __init__(self, template, special_tokens):
        self.chat_template = template
        self.special_tokens_map = special_tokens
        self.text = ""

    def encode(self, text):
        self.text = text
        return [0]

    def decode(self, ids):
        return ""


def conversations(count):
    """Conversations of one to five turns, with one to sixty words in each."""
    for number in range(count):
        turns = 1 + 2 * (number % 3)
        messages = [{"role": "system", "content": "Be brief."}] if number % 2 else []
        for turn in range(turns):
            text = " ".join(WORDS[(number + index) % len(WORDS)] for index in range(1 + (number * 7 + turn) % 60))
            messages.append({"role": ("user", "assistant")[turn % 2], "content": f"{text}?\n"})
        yield messages


def measure(name, special_tokens, batch):
    """How many conversations the template renders, and the CPU seconds of each way to do so."""
    template = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    words = Tokenizer(models.WordLevel({"?": 0}, "?"))
    theirs = PreTrainedTokenizerFast(tokenizer_object=words, chat_template=template, **special_tokens)
    ours = Untokenized(template, special_tokens)
    sandboxed = ChatTemplate(template, special_tokens.items(), name)
    date = DATE if "date_string" in template else {}

    given = {"add_generation_prompt": True, "tools": None, "documents": None, **date}

    def from_messages(messages):
        ModelInput.from_messages(messages, ours, **date)
        return ours.text

    def in_the_sandbox(messages):
        return sandboxed.render({**given, "messages": messages})

    def transformers(messages):
        return theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **date)

    kept = []
    for messages in batch:
        try:
            expected = transformers(messages)
        except Exception:  # noqa: BLE001 - a template may refuse, as Gemma's does a system message
            continue
        assert in_the_sandbox(messages) == from_messages(messages) == expected, name
        kept.append(messages)
    sums = {transformers: 0.0, in_the_sandbox: 0.0, from_messages: 0.0}
    for start in range(0, len(kept), 100):
        for render in sums:
            began = time.process_time()
            for messages in kept[start : start + 100]:
                render(messages)
            sums[render] += time.process_time() - began
    return len(kept), list(sums.values())


def main():
    """Print a line for each model."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    special = json.loads((TEMPLATES / "special_tokens.json").read_text(encoding="utf-8"))
    batch = list(conversations(count))
    totals, all_rendered = [0.0, 0.0, 0.0], 0
    print(f"{'model':18} {'rendered':>9} {'transformers':>13} {'sandbox':>16} {'from_messages':>16}")
    for name, tokens in special.items():
        rendered, seconds = measure(name, tokens, batch)
        all_rendered += rendered
        totals = [total + each for total, each in zip(totals, seconds, strict=True)]
        print(line(name, rendered, seconds), flush=True)
    print(line("all", all_rendered, totals))


def line(name, rendered, seconds):
    """Microseconds for a conversation, and ratios."""
    first, *others = (each * 1e6 / max(1, rendered) for each in seconds)
    return f"{name:18} {rendered:9,} {first:10.1f} us" + "".join(f" {us:7.1f} us {us / first:5.2f}" for us in others)


if __name__ == "__main__":
    main()
