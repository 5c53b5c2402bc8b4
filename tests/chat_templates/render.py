"""Prints what transformers makes of the conversations: run it where transformers is installed, as README.rst says.

With a directory as its argument it prints the token ids instead, by the tokenizer.json in it, one list a conversation.
"""

from __future__ import annotations

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
TODAY = {"date_string": "22 Nov 2026"}  # else Llama's templates ask the clock


def read(name):
    """One of the files beside this one."""
    return json.loads((HERE / name).read_text(encoding="utf-8"))


def outcomes(tokenizer, **options):
    """What the tokenizer's template makes of each conversation, None where it refuses."""
    for name, given in read("conversations.json").items():
        variables = given.pop("variables", {}) | TODAY
        messages, prompt = given.pop("messages"), given.pop("add_generation_prompt", True)
        try:
            yield (
                name,
                tokenizer.apply_chat_template(
                    messages, **given, **variables, add_generation_prompt=prompt, return_dict=False, **options
                ),
            )
        except Exception as error:  # noqa: BLE001 - a template may fail like any program
            print(type(error).__name__, name, str(error)[:100], file=sys.stderr)
            yield name, None


def main():
    """Render everything."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    if len(sys.argv) > 1:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(sys.argv[1])
        print(json.dumps(dict(outcomes(tokenizer))))
        return
    expected = {}
    for name, special in read("special_tokens.json").items():
        template = (HERE / f"{name}.jinja").read_text(encoding="utf-8")
        inner = Tokenizer(models.WordLevel({"?": 0}, "?"))
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, chat_template=template, **special)
        expected[name] = dict(outcomes(tokenizer, tokenize=False))
    print(json.dumps(expected, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
