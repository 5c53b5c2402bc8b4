"""What the cookbook is given in tests: a tokenizer made here, and environments that worker processes can load."""

from __future__ import annotations

import os
from collections.abc import Sequence

import tinker
from tinker_cookbook.rl.types import Env, EnvGroupBuilder, StepResult

MODEL = "Qwen/Qwen3-8B"


def tokenizer():
    """A tokenizer of bytes with Qwen's control tokens, which needs no download."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    words = Tokenizer(models.BPE(letters, []))
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=words)
    made.add_special_tokens({"eos_token": "<|im_end|>", "additional_special_tokens": ["<|im_start|>", "<|endoftext|>"]})
    return made


class OneTurn(Env):
    """An environment that asks once; its reward is the first sampled token."""

    def __init__(self, first: int) -> None:
        self._prompt = tinker.ModelInput.from_ints([first, 12, 13])

    async def initial_observation(self):
        """The prompt."""
        return self._prompt, []

    async def step(self, action: Sequence[int], *, extra=None):
        """The end."""
        return StepResult(
            reward=float(action[0]),
            episode_done=True,
            next_observation=tinker.ModelInput.empty(),
            next_stop_condition=[],
            metrics={"pid": os.getpid()},
        )


class Group(EnvGroupBuilder):
    """Four environments with prompts of their own."""

    async def make_envs(self):
        """The environments."""
        return [OneTurn(first) for first in range(20, 24)]
