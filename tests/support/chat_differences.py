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
NO_TOOLS, ARGUMENTS_AS_TEXT, NULL_ARGUMENT, NULL_CONTENT = "no tools", "arguments as text", "numbers", "tool call"


def is_meant_to_differ(model, name):
    """Whether tinkex gives another text than transformers, or an error instead of one that leaves something out."""
    return (
        name in (*WITH_PICTURES, NO_TOOLS, NULL_ARGUMENT)
        or (name in WITH_TOOLS and model in LEAVES_TOOLS_OUT)
        or (name == UNKNOWN_ROLE and model in LEAVES_ROLES_OUT)
        or (name in WITH_PARTS and model in TEXT_ONLY)
        or (name == ARGUMENTS_AS_TEXT and model in WANTS_A_MAPPING)
        or (name == NULL_CONTENT and model == "qwen3")
    )
