"""A byte-level tokenizer with control tokens, and a chat template of the kind that Qwen has."""

from __future__ import annotations

import tokenizers

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}{{ '\n' if m.content or not loop.first }}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments }}}\n</tool_call>{% endfor %}'
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{{ begun }}{% endif %}"
)
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<think>", "</think>", "<tool_call>", "</tool_call>"]
USER = [{"role": "user", "content": "Hi"}]


class ByteTokenizer:
    """A byte-level tokenizer with control tokens, by default those of ChatML."""

    special = SPECIAL

    def __init__(self, template=CHATML, special=SPECIAL, **special_names):
        alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
        self.inner = tokenizers.Tokenizer(tokenizers.models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
        self.inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        self.inner.decoder = tokenizers.decoders.ByteLevel()
        self.inner.add_special_tokens(list(special))
        self.chat_template = template
        self.special_tokens_map = special_names or {"eos_token": "<|endoftext|>"}

    def encode(self, text, add_special_tokens=True):
        return self.inner.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids, skip_special_tokens=False):
        return self.inner.decode(ids, skip_special_tokens=skip_special_tokens)
