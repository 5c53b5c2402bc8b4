"""What openai-harmony, OpenAI's own library for gpt-oss, makes of conversations and sampled tokens.

Its vocabulary is a download; `write_vocabulary` makes the same file of gpt-oss's ``tokenizer.json`` (the library checks
its hash). As a program, in an environment with `REQUIREMENTS` and with tinkex on the path, it reads conversations and
answers as JSON from standard input and prints prompts, parsed answers, stop tokens, and how its encoding serves tinkex.
"""

from __future__ import annotations

import base64
import json
import sys

REQUIREMENTS = ("openai-harmony==0.0.8", "attrs", "jinja2")
VOCABULARY = "o200k_base.tiktoken"
_MERGED = 199_998  # tokens with a rank; what follows are control tokens


def write_vocabulary(tokenizer_json, folder):
    """Write the vocabulary as OpenAI publishes it."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printed]
    bytes_of = {chr(byte): byte for byte in printed} | {chr(256 + index): byte for index, byte in enumerate(others)}
    vocabulary = json.loads(tokenizer_json.read_text(encoding="utf-8"))["model"]["vocab"]
    ranked = sorted((rank, token) for token, rank in vocabulary.items() if rank < _MERGED)
    lines = [
        f"{base64.b64encode(bytes(bytes_of[letter] for letter in token)).decode()} {rank}\n" for rank, token in ranked
    ]
    (folder / VOCABULARY).write_text("".join(lines), encoding="ascii")


def prompt(encoding, messages, tools, date):
    """A conversation as the library renders it."""
    import openai_harmony as harmony

    role, message = harmony.Role, harmony.Message.from_role_and_content
    developer = harmony.DeveloperContent.new()
    made = [message(role.SYSTEM, harmony.SystemContent.new().with_conversation_start_date(date))]
    first, *rest = messages
    if first["role"] == "system":
        developer, messages = developer.with_instructions(first["content"]), rest
    if tools:
        functions = [harmony.ToolDescription.new(**tool["function"]) for tool in tools]
        developer = developer.with_function_tools(functions)
    if tools or first["role"] == "system":
        made.append(message(role.DEVELOPER, developer))
    called = None
    for each in messages:
        if each["role"] == "user":
            made.append(message(role.USER, each["content"]))
        elif each["role"] == "tool":
            author = harmony.Author.new(role.TOOL, called)
            result = harmony.Message.from_author_and_content(author, json.dumps(each["content"]))
            made.append(result.with_channel("commentary").with_recipient("assistant"))
        else:
            if each.get("reasoning_content"):
                made.append(message(role.ASSISTANT, each["reasoning_content"]).with_channel("analysis"))
            for call in each.get("tool_calls", ()):
                called = f"functions.{call['function']['name']}"
                arguments = json.dumps(call["function"]["arguments"], ensure_ascii=False)
                made.append(message(role.ASSISTANT, arguments).with_channel("commentary").with_recipient(called))
                made[-1] = made[-1].with_content_type("<|constrain|>json")
            if each.get("content"):
                made.append(message(role.ASSISTANT, each["content"]).with_channel("final"))
    return encoding.render_conversation_for_completion(harmony.Conversation.from_messages(made), role.ASSISTANT)


def answer(encoding, tokens):
    """What the library reads: thinking, content, and the recipients and texts of calls; None where it refuses."""
    import openai_harmony as harmony

    try:
        messages = encoding.parse_messages_from_completion_tokens(tokens, harmony.Role.ASSISTANT)
    except harmony.HarmonyError:
        return None
    found = [(message.channel, message.recipient, message.content[0].text) for message in messages]
    calls = [(recipient.removeprefix("functions."), text) for _, recipient, text in found if recipient]
    thinking = [text for channel, recipient, text in found if channel == "analysis" and not recipient]
    content = [text for channel, recipient, text in found if channel != "analysis" and not recipient]
    return "\n\n".join(thinking), "\n\n".join(content), calls


if __name__ == "__main__":
    from openai_harmony import load_harmony_encoding

    from tinkex.types import ModelInput

    given = json.load(sys.stdin)
    encoding = load_harmony_encoding("HarmonyGptOss")
    asked = given["conversations"][0][0]
    own = ModelInput.from_messages(asked, encoding, chat_template=given["template"], date=given["date"])
    made = {
        "prompts": [prompt(encoding, *conversation, given["date"]) for conversation in given["conversations"]],
        "answers": [answer(encoding, tokens) for tokens in given["answers"]],
        "stop": encoding.stop_tokens_for_assistant_actions(),
        "own": own.to_ints(),
    }
    print(json.dumps(made))
