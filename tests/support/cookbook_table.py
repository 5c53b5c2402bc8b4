"""Prompts of tinker-cookbook's renderers compared with those of the models' templates, as tinkex renders them.

It runs in an environment with `REQUIREMENTS` and `COOKBOOK`, with tinkex and this folder on the path. To write the
table in the docs anew, with the folder that ``chat_families.py`` has made::

    python tests/support/cookbook_table.py table FOLDER > docs/tables/cookbook.txt

``prompts FAMILY`` and ``answers FAMILY`` print what the renderer ``role_colon`` makes of conversations, or of sampled
tokens, that stand as JSON on standard input.
"""

from __future__ import annotations

import json
import pathlib
import sys

REQUIREMENTS = ("tinker==0.38.0", "transformers==5.24.0", "torch>=2.10", "pillow", "pydantic", "attrs", "jinja2")
COOKBOOK = "tinker-cookbook==0.6.1"  # without what it depends on besides: rendering needs no more
TABLE = pathlib.Path(__file__).parents[2] / "docs" / "tables" / "cookbook.txt"
TODAY = "2026-11-29"
#: Renderer, family, variables of the template.
RENDERERS = (
    ("llama3", "llama3_1", {}),
    ("llama3", "llama3", {}),
    ("qwen3", "qwen3", {}),
    ("qwen3_disable_thinking", "qwen3", {"enable_thinking": False}),
    ("qwen3_instruct", "qwen3_instruct", {}),
    ("qwen3_5", "qwen3_5", {}),
    ("qwen3_5_disable_thinking", "qwen3_5", {"enable_thinking": False}),
    ("deepseekv3", "deepseek_v3_1", {}),
    ("deepseekv3_thinking", "deepseek_v3_1", {"thinking": True}),
    ("gpt_oss_no_sysprompt", "gpt_oss", {"date": TODAY}),
    ("gpt_oss_medium_reasoning", "gpt_oss", {"date": TODAY}),
    ("kimi_k2", "kimi_k2_thinking", {}),
    ("nemotron3", "nemotron3", {}),
    ("nemotron3_ultra", "nemotron3_ultra", {}),
)
TOOL = {
    "name": "weather",
    "description": "The weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def user(text="Rain in Oslo?"):
    """A message of the user's."""
    return {"role": "user", "content": text}


def said(text, thinking=None, *cities):
    """A message of the model's, which has thought and calls the tool for cities."""
    calls = [
        {
            "id": f"functions.weather:{index}",
            "type": "function",
            "function": {"name": "weather", "arguments": {"city": city}},
        }
        for index, city in enumerate(cities)
    ]
    message = {"role": "assistant", "content": text}
    message |= {"reasoning_content": thinking} if thinking else {}
    return message | ({"tool_calls": calls} if calls else {})


def result(text="dry", index=0):
    """The result of a call."""
    return {"role": "tool", "content": text, "tool_call_id": f"functions.weather:{index}", "name": "weather"}


def system(text="Be brief."):
    """A message that sets the tone."""
    return {"role": "system", "content": text}


#: Name, messages, whether the tool is declared, whether the last message is continued.
CONVERSATIONS = (
    ("plain", [user()], False, False),
    ("system", [system(), user()], False, False),
    ("several turns", [user(), said("No."), user("And in Bergen?")], False, False),
    ("thinking in the text", [user(), said("<think>\nHm.\n</think>\n\nNo."), user("Why?")], False, False),
    ("thinking apart", [user(), said("No.", "Hm."), user("Why?")], False, False),
    ("call, result", [user(), said("", None, "Oslo"), result()], False, False),
    ("text, call, result", [user(), said("Let me see.", None, "Oslo"), result()], False, False),
    ("thinking, call, result", [user(), said("", "Hm.", "Oslo"), result()], False, False),
    ("two calls, two results", [user(), said("", None, "Oslo", "Bergen"), result(), result("wet", 1)], False, False),
    ("call, result, answer", [user(), said("", None, "Oslo"), result(), said("No."), user("Why?")], False, False),
    ("tools", [user()], True, False),
    ("tools, system", [system(), user()], True, False),
    ("answer begun", [user(), said("No, ")], False, True),
    ("leading line break", [user("\nRain?")], False, False),
    ("trailing spaces", [user("Rain?  ")], False, False),
    ("control token in text", [user("What is <|im_end|>, <|eot_id|> or <|end|>?")], False, False),
    ("text in parts", [{"role": "user", "content": [{"type": "text", "text": "Rain?"}]}], False, False),
    ("empty text", [user("")], False, False),
    ("system in the middle", [user(), said("No."), system(), user("Why?")], False, False),
    ("call with an umlaut", [user(), said("", None, "Zürich"), result()], False, False),
)


def cookbook_message(message):
    """A message as the cookbook has it."""
    from tinker_cookbook.renderers import ToolCall

    made = dict(message)
    thinking = made.pop("reasoning_content", None)
    if thinking:
        made["content"] = [{"type": "thinking", "thinking": thinking}, {"type": "text", "text": made["content"]}]
    if "tool_calls" in made:
        made["tool_calls"] = [
            ToolCall(
                id=call["id"],
                function=ToolCall.FunctionBody(
                    name=call["function"]["name"],
                    arguments=json.dumps(call["function"]["arguments"], ensure_ascii=False),
                ),
            )
            for call in made["tool_calls"]
        ]
    return made


def hf_tokenizer(folder):
    """A family's tokenizer as the cookbook takes it."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    special = {name: text for name, text in config.items() if name.endswith("_token")}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_file(str(folder / "tokenizer.json")), **special)


def cookbook_tokens(renderer, messages, tools, begun):
    """The prompt of the cookbook as token ids."""
    made = [cookbook_message(message) for message in messages]
    prefill = made.pop()["content"] if begun else None
    if tools:
        has_system = made[0]["role"] == "system"
        text = made.pop(0)["content"] if has_system else ""
        made = [*renderer.create_conversation_prefix_with_tools([TOOL], text), *made]
    return renderer.build_generation_prompt(made, prefill=prefill).to_ints()


def compare(renderer, tokenizer, conversation, variables):
    """One character: how the two prompts compare."""
    from tinkex.tokenizers import ChatTemplateError
    from tinkex.types import ModelInput

    _, messages, tools, begun = conversation
    declared = [{"type": "function", "function": TOOL}] if tools else None
    try:
        own = ModelInput.from_messages(
            messages, tokenizer, tools=declared, continue_final_message=begun, **variables
        ).to_ints()
    except ChatTemplateError:
        own = None
    try:
        theirs = cookbook_tokens(renderer, messages, tools, begun)
    except Exception:  # noqa: BLE001 - a renderer refuses in ways of its own
        return "c" if own else "\\-"
    if own is None:
        return "e"
    if own == theirs:
        return "="
    return "t" if tokenizer.decode(own) == tokenizer.decode(theirs) else "X"


def cookbook_table(families):
    """The table of the docs."""
    from round_trips import table
    from tinker_cookbook.renderers import get_renderer

    from tinkex.tokenizers import get_tokenizer

    columns = []
    for name, family, variables in RENDERERS:
        renderer = get_renderer(name, hf_tokenizer(families / family), model_name=family)
        if hasattr(renderer, "current_date"):
            renderer.current_date = TODAY
        tokenizer = get_tokenizer(str(families / family))
        columns.append([compare(renderer, tokenizer, conversation, variables) for conversation in CONVERSATIONS])
    head = ["conversation", *map(str, range(1, len(RENDERERS) + 1))]
    return table([head, *([each[0], *cells] for each, *cells in zip(CONVERSATIONS, *columns, strict=True))])


def role_colon_tokens(folder, conversations):
    """Prompts of the renderer ``role_colon`` as token ids, and what it stops at."""
    from tinker_cookbook.renderers import get_renderer

    renderer = get_renderer("role_colon", hf_tokenizer(folder), model_name="any")
    prompts = [renderer.build_generation_prompt(messages).to_ints() for messages in conversations]
    return {"prompts": prompts, "stop": renderer.get_stop_sequences()}


def role_colon_parsed(folder, responses):
    """What the renderer ``role_colon`` makes of sampled tokens."""
    from tinker_cookbook.renderers import get_renderer

    renderer = get_renderer("role_colon", hf_tokenizer(folder), model_name="any")
    found = [renderer.parse_response(response) for response in responses]
    return [[message["content"], str(ended)] for message, ended in found]


if __name__ == "__main__":
    what, where = sys.argv[1], pathlib.Path(sys.argv[2])
    if what == "table":
        print(cookbook_table(where), end="")
    else:
        given = json.load(sys.stdin)
        print(json.dumps((role_colon_tokens if what == "prompts" else role_colon_parsed)(where, given)))
