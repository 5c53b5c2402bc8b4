"""What becomes of an answer in the next prompt: rendered anew, or extended to the token.

Run it to write the table in the docs anew: ``python tests/support/round_trips.py FOLDER``, with the folder that
``chat_families.py`` has made.
"""

from __future__ import annotations

import pathlib
import sys
import unicodedata

import attrs
from chat_families import FAMILIES

from tinkex.chat import ChatFormat
from tinkex.tokenizers import ChatTemplateError, get_tokenizer
from tinkex.types import ModelInput

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                "required": ["city"],
            },
        },
    }
]
ASKED = [{"role": "user", "content": "Rain in Oslo?"}]
NEXT_TURNS = pathlib.Path(__file__).parents[2] / "docs" / "tables" / "next_turns.txt"
BEGINNINGS = NEXT_TURNS.with_name("beginnings.txt")
KINDS = ("plain", "thinking", "call", "thinking and call")


def message(kind, *, content="No rain.", thinking="Oslo is dry.", city="Oslo"):
    """An answer of that kind, as a message."""
    made = {"role": "assistant", "content": content}
    if "thinking" in kind:
        made["reasoning_content"] = thinking
    if "call" in kind:
        function = {"name": "weather", "arguments": {"city": city, "days": 2}}
        made |= {"content": None, "tool_calls": [{"id": "abcdefghi", "type": "function", "function": function}]}
    return made


def following(kind, answer):
    """What follows an answer of that kind: the result of its call, or what the user says next."""
    if "call" not in kind:
        return [{"role": "user", "content": "And in Bergen?"}]
    return [{"role": "tool", "tool_call_id": answer.tool_calls[0]["id"], "name": "weather", "content": "dry"}]


@attrs.frozen
class Sampled:
    """A prompt, and the tokens of an answer as a model that was trained on the template would sample it."""

    prompt: ModelInput
    tokens: list[int]
    tools: list | None


def sampled(chat, kind, tokenizer, *, tools=None, **texts):
    """The answer as the template writes it in the last place; None where it has no form for it behind its header."""
    try:
        prompt = chat.prompt(ASKED, tools)
        whole = chat.prompt([*ASKED, message(kind, **texts)], tools, add_generation_prompt=False)
    except ChatTemplateError:
        return None
    before, after = (tokenizer.decode(made.to_ints()) for made in (prompt, whole))
    written = after.removeprefix(before)
    answer = message(kind, **texts)
    if before.endswith("<｜Assistant｜><think>\n") and kind == "thinking":
        # DeepSeek R1's template begins thinking and never writes it
        written = f"{answer['reasoning_content']}\n</think>\n\n{answer['content']}<｜end▁of▁sentence｜>"
    if written == after or answer.get("reasoning_content", "") not in written:
        return None
    tokens = tokenizer.encode(written, add_special_tokens=False)
    ends = [index for index, token in enumerate(tokens) if token in chat.stop]
    if not ends and not chat._layout.ends_with_next:
        return None  # DeepSeek V3's template does not end a turn that calls one tool
    return Sampled(prompt, tokens[: ends[0] + 1] if ends else tokens, tools)


def keeps_in_place(chat, case):
    """Whether a conversation that ends with the answer, rendered anew, begins with what was sampled."""
    answer = chat.parse(case.tokens, case.prompt, case.tools)
    anew = chat.prompt([*ASKED, answer.message], case.tools, add_generation_prompt=False).to_ints()
    kept = case.prompt.to_ints() + case.tokens
    return anew[: len(kept)] == kept


def tools_of(chat):
    """The tools, or None for a template that leaves them out."""
    try:
        chat.prompt(ASKED, TOOLS)
    except ChatTemplateError:
        return None
    return TOOLS


def verdict(chat, kind, tokenizer):
    """What a next prompt is: "rendered" where rendering anew keeps what was sampled, "extended", or "" for no form."""
    case = sampled(chat, kind, tokenizer, tools=tools_of(chat))
    if case is None:
        return ""
    answer = chat.parse(case.tokens, case.prompt, case.tools)
    more = following(kind, answer)
    kept = case.prompt.to_ints() + case.tokens
    try:
        anew = chat.prompt([*ASKED, answer.message, *more], case.tools).to_ints()
    except ChatTemplateError:
        return "refused"
    return "rendered" if anew[: len(kept)] == kept else "extended"


def table(rows):
    """Rows of text as a table of reStructuredText, the first one its head."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    rule = " ".join("=" * width for width in widths)
    head, *lines = (
        " ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return "\n".join([rule, head, rule, *lines, rule, ""])


def _width(text):
    """How many columns a text takes: letters of East Asia, which DeepSeek's control tokens have, take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def next_turns_table(families):
    """The table of the docs: for each family and kind of answer, whether rendering anew keeps what was sampled."""
    words = {"rendered": "keeps", "extended": "extend", "refused": "refused", "": "\\-"}
    rows = [["family", *KINDS]]
    for family in FAMILIES:
        tokenizer = get_tokenizer(str(families / family))
        chat = ChatFormat(tokenizer)
        rows.append([family, *(words[verdict(chat, kind, tokenizer)] for kind in KINDS)])
    return table(rows)


def beginnings_table(families):
    """The table of the docs: what stands before an answer, and before one that is begun."""
    rows = [["family", "an answer follows", "a beginning follows"]]
    for family in FAMILIES:
        tokenizer = get_tokenizer(str(families / family))
        chat = ChatFormat(tokenizer)
        begun = [*ASKED, {"role": "assistant", "content": "No,"}]
        prompts = (chat.prompt(ASKED), chat.prompt(begun, continue_final_message=True))
        texts = [tokenizer.decode(prompt.to_ints()).removesuffix("No,") for prompt in prompts]
        rows.append([family, *(_literal(text.rpartition(ASKED[0]["content"])[2]) for text in texts)])
    return table(rows)


def _literal(text):
    return "``" + text.replace("\n", "\\n") + "``"


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    NEXT_TURNS.write_text(next_turns_table(folder), encoding="utf-8")
    BEGINNINGS.write_text(beginnings_table(folder), encoding="utf-8")
