"""TinkexLM: a model of lm-eval that scores and samples through tinkex."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from tinkex.chat import ChatFormat
from tinkex.errors import MissingFeatureError
from tinkex.plugins.in_process import InProcessGateway
from tinkex.serve.models import ModelVocabulary
from tinkex.service_client import ServiceClient
from tinkex.types import SampleResponse, SamplingParams

T = TypeVar("T")
logger = logging.getLogger("tinkex.lm_eval")
_UNKNOWN_LENGTH: Final = 2048  # tokens of a context of which the server says nothing, as lm-eval's models have it
_SAMPLING: Final = ("temperature", "top_p", "top_k", "seed")
_WITHOUT_EFFECT: Final = ("do_sample", "until", "max_gen_toks")  # read already, or told by the temperature

Scored = tuple[tuple[str, str] | None, list[int], list[int]]
"""What lm-eval asks a score of: the texts for its cache, the tokens of the context, those of the continuation."""


@register_model("tinkex")
class TinkexLM(TemplateLM):
    """A model for lm-eval, as object or by ``--model tinkex``: its numbers are those of `compute_logprobs`.

    Requests are in flight together, whatever the batch size. Of a request for scores only those of the continuation
    come back. Continuations count as greedy where each of their tokens is the likeliest, by its id.

    Args:
        model: What to sample from: a base model, ``tinker://...``, or ``BASE;tinker://...``.
        service: Where it is; None: a service of the server and the key that the environment names.
        base_url: The server of that service; None: ``TINKER_BASE_URL``, or the official one.
        tokenizer: A name, a path or an object; None: the model's own.
        max_length: Most tokens of prompt and answer together; None: what the server says, or 2,048.
        max_gen_toks: Most tokens of an answer, where a task does not say.
        num_concurrent: Most requests in flight.
        add_bos_token: Whether prompts begin with the tokenizer's special tokens; lm-eval's models behind an API do not.
        prefix_token_id: What stands before a text that is scored from its first token on; None: BOS, or EOS where
            there is none.
        prompt_logprobs_last_n: Whether the server is asked for the scores of the continuation alone; False for
            servers that do not know how.
        seed: Seed of samples, where a task does not say.
        batch_size, max_batch_size, device: What lm-eval passes to every model; without effect.

    Raises:
        ValueError: `max_length` is too small for a context, a continuation and the token that is sampled.
        GatewayError, TinkexError: There is no such model, or no tokenizer for it.
    """

    def __init__(
        self, model: str, *, service: ServiceClient | None = None, base_url: str | None = None,
        tokenizer: object = None, max_length: int | None = None, max_gen_toks: int = 256, num_concurrent: int = 1000,
        add_bos_token: bool = False, prefix_token_id: int | None = None, prompt_logprobs_last_n: bool = True,
        seed: int = 1234, batch_size: object = None, max_batch_size: object = None, device: object = None,
    ) -> None:  # fmt: skip
        if max_length is not None and max_length < 3:
            raise ValueError(f"max_length must be at least 3, not {max_length}")
        super().__init__()
        gateway = InProcessGateway(service or ServiceClient(base_url=base_url), tokenizer=tokenizer)
        opened = gateway.open(model).result()
        self.model = model
        self.client = opened.client
        self.vocabulary: ModelVocabulary = gateway.vocabulary(model).result()
        self.max_length = (max_length or opened.max_context_length or _UNKNOWN_LENGTH) - 1
        """Most tokens of a prompt: servers sample one behind it, also where only scores are wanted."""
        self.max_gen_toks = max_gen_toks
        self._num_concurrent = num_concurrent
        self._add_bos_token = add_bos_token
        self._prefix_token_id = prefix_token_id
        self._last_n = prompt_logprobs_last_n
        self._seed = seed
        self._is_chat = False

    @functools.cached_property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        found = self._special_token("eos_token")
        if found is None:
            raise ValueError(f"tokenizer: {self.vocabulary.tokenizer!r} has no EOS token: pass prefix_token_id")
        return found

    @functools.cached_property
    def prefix_token_id(self) -> int:
        """What stands before a text that is scored from its first token on."""
        if self._prefix_token_id is not None:
            return self._prefix_token_id
        found = self._special_token("bos_token")
        return self.eot_token_id if found is None else found

    def _special_token(self, name: str) -> int | None:
        text = self.vocabulary.special_tokens().get(name)
        ids = self.vocabulary.encode(text, add_special_tokens=False) if text else []
        return ids[0] if len(ids) == 1 else None

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Turn text into token ids."""
        adds = self._add_bos_token if add_special_tokens is None else add_special_tokens
        bos = self.vocabulary.special_tokens().get("bos_token")
        if add_special_tokens is None and bos and string.startswith(bos):
            adds = False  # a chat template has written it
        return self.vocabulary.encode(string, add_special_tokens=adds)

    # Scores

    def _loglikelihood_tokens(
        self, requests: Sequence[Scored], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        found = [(0.0, True)] * len(requests)
        asked = [(at, self._fitted(*tokens), len(tokens[1])) for at, (_, *tokens) in enumerate(requests) if tokens[1]]
        for (at, prompt, count), response in self._sampled(asked, self._score_item, disable_tqdm):
            found[at] = _score(response, prompt, count)
            if (texts := requests[at][0]) is not None:
                self.cache_hook.add_partial("loglikelihood", texts, found[at])
        return found

    def _fitted(self, context: list[int], continuation: list[int]) -> list[int]:
        """Return a prompt that fits, with as much of the context as there is room for."""
        if len(continuation) >= self.max_length:
            raise ValueError(
                f"max_length: a continuation of {len(continuation)} tokens does not fit behind a token of context in"
                f" {self.max_length}"
            )
        return _cut([*context, *continuation], self.max_length)

    def _score_item(self, asked: tuple[int, list[int], int]) -> dict[str, Any]:
        _, prompt, count = asked
        return {
            "prompt": prompt,
            "sampling_params": SamplingParams(max_tokens=1, temperature=0.0, seed=self._seed),
            "include_prompt_logprobs": True,
            "topk_prompt_logprobs": 1,
            "prompt_logprobs_last_n": count if self._last_n else None,
        }

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Score whole texts, the first token of each behind the prefix token; a long one in windows."""
        texts = [request.args[0] for request in requests]
        windows = [list(self._windows(text)) for text in texts]
        scores = iter(self._loglikelihood_tokens([each for found in windows for each in found], disable_tqdm))
        sums = []
        for text, found in zip(texts, windows, strict=True):
            sums.append(sum(next(scores)[0] for _ in found))
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), sums[-1])
        return sums

    def _windows(self, text: str) -> Iterator[Scored]:
        for window in get_rolling_token_windows(
            token_list=self.tok_encode(text), prefix_token=self.prefix_token_id, max_seq_len=self.max_length - 1,
            context_len=1,
        ):  # fmt: skip
            yield None, *make_disjoint_window(window)

    # Answers

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Sample answers up to a stop of the task, or the token that ends a text; neither is in them."""
        asked = [(request.args, *self._generation(*request.args)) for request in requests]
        texts = []
        for (arguments, _, stops), response in self._sampled(asked, lambda each: each[1], disable_tqdm):
            texts.append(self._text(response.sequences[0].tokens, stops))
            self.cache_hook.add_partial("generate_until", arguments, texts[-1])
        return texts

    def _generation(self, context: str, options: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Return what to sample, and the texts that end it."""
        normal = normalize_gen_kwargs(options, self.max_gen_toks)
        unknown = sorted(set(normal) - {*_SAMPLING, *_WITHOUT_EFFECT})
        if unknown:
            raise ValueError(f"gen_kwargs: {unknown[0]} is not offered")
        stops = list(dict.fromkeys(stop for stop in (*normal["until"], *map(self._spelled, self._ends)) if stop))
        max_tokens, prompt = normal["max_gen_toks"], self.tok_encode(context)
        room = self.max_length + 1 - max_tokens
        if room < 1 or not prompt:
            raise ValueError(f"max_gen_toks: {max_tokens} leaves no room for a prompt, or the prompt has no tokens")
        drawing = {"seed": self._seed, **{name: normal[name] for name in _SAMPLING if name in normal}}
        params = SamplingParams(max_tokens=max_tokens, stop=stops or None, **drawing)
        return {"prompt": _cut(prompt, room), "sampling_params": params}, stops

    def _text(self, tokens: list[int], stops: Iterable[str]) -> str:
        said = list(itertools.takewhile(lambda token: token not in self._ends, tokens))
        return self.vocabulary.completion(said, stops)[0]

    @property
    def _ends(self) -> tuple[int, ...]:
        """The tokens that end an answer; servers may not take their texts for stops."""
        text, turn = self._special_token("eos_token"), self._chat.stop if self._is_chat else ()
        return tuple(end for end in (text, *turn) if isinstance(end, int))

    def _spelled(self, token: int) -> str:
        return str(self.vocabulary.tokenizer.decode_exactly([token]))

    def _sampled(
        self, asked: Sequence[T], item: Callable[[T], dict[str, Any]], disable_tqdm: bool
    ) -> Iterator[tuple[T, SampleResponse]]:
        """Sample for everything that is asked, many at a time, and yield it with its answer, in order."""
        answers = self.client.sample_many(map(item, asked), max_in_flight=self._num_concurrent)
        try:
            yield from zip(asked, tqdm(answers, total=len(asked), desc="Sampling", disable=disable_tqdm), strict=True)
        except MissingFeatureError as error:
            if "prompt_logprobs_last_n" in error.message:
                error.add_note("In lm-eval: --model_args ...,prompt_logprobs_last_n=False")
            raise

    # Chats

    @property
    def tokenizer_name(self) -> str:
        """What requests are cached under."""
        return repr(self.vocabulary.tokenizer).strip("<>").replace("/", "__").replace(" ", "_")

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Return the source of the model's chat template; lm-eval files results under it.

        Raises:
            ValueError: A template is asked for by name.
        """
        if isinstance(chat_template, str) and chat_template:
            raise ValueError(f"apply_chat_template: the model's own is used, none by the name {chat_template!r}")
        if not chat_template:
            return None
        return str(self.vocabulary.tokenizer.chat_template)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Return a conversation as text, in the model's own chat format.

        Without `add_generation_prompt` its last message is the beginning of the answer.
        """
        self._is_chat = True
        tokens = self._chat.prompt(chat_history, continue_final_message=not add_generation_prompt).to_ints()
        text = str(self.vocabulary.tokenizer.decode_exactly(tokens))
        if self.vocabulary.encode(text, add_special_tokens=False) != tokens:
            raise ValueError("apply_chat_template: the tokens of this conversation cannot be written as a text")
        return text

    @functools.cached_property
    def _chat(self) -> ChatFormat:
        return self.vocabulary.chat_format({})


def _cut(prompt: list[int], room: int) -> list[int]:
    """Return as much of the end of a prompt as there is room for."""
    if len(prompt) > room:
        logger.warning("A prompt is cut off on the left: of its %d tokens %d fit.", len(prompt), room)
    return prompt[-room:]


def _score(response: SampleResponse, prompt: list[int], count: int) -> tuple[float, bool]:
    """Return the sum of the last log-probabilities, and whether each of the tokens is the likeliest."""
    plain = response.to_dict()  # numbers as JSON has them, as the gateway gives them
    likeliest = plain["topk_prompt_logprobs"][-count:]
    greedy = all(row[0][0] == token for row, token in zip(likeliest, prompt[-count:], strict=True))
    return sum(plain["prompt_logprobs"][-count:]), greedy
