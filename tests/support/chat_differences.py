"""Where prompts are meant to differ from those of transformers, of the conversations in tests/chat_templates."""

from __future__ import annotations

import json
import pathlib

FOLDER = pathlib.Path(__file__).parents[1] / "chat_templates"
CONVERSATIONS = json.loads((FOLDER / "conversations.json").read_text(encoding="utf-8"))

LEAVES_TOOLS_OUT = ("gemma-2", "gemma-3", "smollm2")
WITH_TOOLS = [name for name, given in CONVERSATIONS.items() if given.get("tools")]
TEXT_ONLY = ("gemma-2", "llama3.1", "llama3.2", "mistral-nemo", "qwen3", "qwen3-generation", "smollm2")
WITH_PARTS = ("parts", "parts of all roles")
WANTS_A_MAPPING = ("llama3.1", "llama3.2", "mistral-nemo")
WITH_PICTURES = ("picture", "two pictures")  # words in place of pictures there; tests/test_chat.py has real ones
LEAVES_ROLES_OUT = ("qwen3", "qwen3-generation", "qwen3-vl")  # those it does not know, without a word
UNKNOWN_ROLE = "unknown role"
KNOWS_THINKING = ("kimi-k2-thinking", "qwen3", "qwen3-generation")
WITH_REASONING = ("reasoning", "reasoning by another name")
LEAVES_TEXTS_BESIDE_CALLS_OUT = ("llama3.1", "llama3.2", "mistral-nemo")
TEXT_BESIDE_A_CALL = "tool call with text"
LATE_SYSTEM = "system in the middle"
NO_TOOLS, NO_CONTENT, ARGUMENTS_AS_TEXT, NULL_ARGUMENT, NULL_CONTENT = (
    "no tools",
    "no content",
    "arguments as text",
    "numbers",
    "tool call",
)


def is_meant_to_differ(model, name):
    """Whether tinkex gives another text than transformers, or an error instead of one that leaves something out."""
    return (
        name in (*WITH_PICTURES, NO_TOOLS, NO_CONTENT, NULL_ARGUMENT)
        or (name in WITH_TOOLS and model in LEAVES_TOOLS_OUT)
        or (name == UNKNOWN_ROLE and model in LEAVES_ROLES_OUT)
        or (name in WITH_REASONING and model not in KNOWS_THINKING)
        or (name == TEXT_BESIDE_A_CALL and model in LEAVES_TEXTS_BESIDE_CALLS_OUT)
        or (name == LATE_SYSTEM and model == "qwen3-vl")
        or (name in WITH_PARTS and model in TEXT_ONLY)
        or (name == ARGUMENTS_AS_TEXT and model in WANTS_A_MAPPING)
        or (name == NULL_CONTENT and model == "qwen3")
    )
