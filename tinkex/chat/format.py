"""ChatFormat: prompts from messages and messages from answers, for one model."""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

import attrs

from tinkex._validation.public_names import with_public_names
from tinkex.chat._extension import role_colon_continuation, text_behind_turn, turn_before
from tinkex.chat._layout import LayoutProbe, TurnLayout, role_colon_layout
from tinkex.chat._marks import ControlMarks
from tinkex.chat._syntax.base import ParsedCall, ParsedTurn, ToolSchemas
from tinkex.chat._turn import openai_call, parse_turn, without_beginning
from tinkex.chat.answer import Answer, Ended, UnparsedToolCall
from tinkex.tokenizers import ChatTemplateError, Tokenizer, get_tokenizer
from tinkex.tokenizers._adapters import adapt
from tinkex.tokenizers._chat_template.prompt import PromptOptions, choose_template
from tinkex.tokenizers._chat_template.role_colon import ROLE_COLON
from tinkex.tokenizers._chat_template.variables import check_variables, template_variables
from tinkex.types import Chunk, EncodedTextChunk, ModelInput, SampledSequence, SamplingParams
from tinkex.types._forms.tokens import token_tuple
from tinkex.types.chunks import chat_chunks

_ID_LENGTH = 9  # letters and digits, as Mistral's templates want them
_PROMPT_OPTIONS = frozenset(field.name for field in attrs.fields(PromptOptions))
_LONGEST_BEGINNING = 20_000  # tokens of a prompt that are searched for the beginning of an answer


@with_public_names
class ChatFormat:
    """How one model writes conversations: prompts, the tokens that end a turn, answers as messages, next turns.

    Found out from the model's chat template when first needed. Immutable; safe to share between threads; pickles where
    its tokenizer does.

    Args:
        tokenizer: A model's name, a path, or a tokenizer, as `ModelInput.from_messages` takes it.
        chat_template: A template to use instead, as text or by name; None means the model's.
        date: What the template takes for today; None means today.
        template_variables: Variables of the template, such as `enable_thinking=False`.

    Raises:
        ChatTemplateError: There is no template, or it reads no variable of a name given.
    """

    def __init__(
        self,
        tokenizer: str | PathLike[str] | object,
        *,
        chat_template: str | None = None,
        date: dt.date | str | None = None,
        **variables: Any,
    ) -> None:
        self._tokenizer = adapt(get_tokenizer(tokenizer))
        self._given = {"chat_template": chat_template, "date": date, **variables}
        self._template = None
        for name in ("messages", "tools"):
            if name in variables:
                raise ChatTemplateError(f"{name}: is an argument of prompt() and no variable of the template")
        if chat_template != ROLE_COLON:
            self._template = choose_template(self._tokenizer, chat_template)
            check_variables([*variables, *(["date"] if date is not None else ())], [self._template])
            self._variables = template_variables(variables, self._template, date)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, with what the format needs of it."""
        return self._tokenizer

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(ChatFormat, **self._given), (self._tokenizer,)

    def __repr__(self) -> str:
        return f"ChatFormat({self._tokenizer!r})"

    def prompt(
        self, messages: Iterable[Mapping[str, Any]], tools: Iterable[Mapping[str, Any]] | None = None, **options: Any
    ) -> ModelInput:
        """Make the prompt for the next answer: `ModelInput.from_messages` with this format's template and variables.

        *options* are further arguments of that, such as `continue_final_message=True`.
        """
        return ModelInput.from_messages(messages, self._tokenizer, tools=tools, **{**self._given, **options})

    @property
    def stop(self) -> tuple[int, ...] | tuple[str, ...]:
        """What ends an answer, for `SamplingParams`: the tokens that end a turn, and those that end a text.

        A model that was tuned from a base model does not stop at the end of a turn unless it is told to.

        Raises:
            ChatTemplateError: The template writes no control token behind an answer.
        """
        if self._layout.stop_text:
            return (self._layout.stop_text,)
        ends = [*self._turn_ends, *self._text_ends]
        if not ends:
            raise ChatTemplateError(
                f"tokenizer: the chat template of {self._tokenizer!r} writes no control token behind an answer:"
                " say in SamplingParams(stop=...) what ends one"
            )
        return tuple(ends)

    def stop_with(self, stops: Iterable[str] | Iterable[int]) -> tuple[str, ...] | tuple[int, ...]:
        """Return what ends an answer, and stops besides: all of them texts, or all of them token ids.

        A chat template that writes no control token behind an answer adds none.

        Raises:
            ValueError: The stops are token ids, and the end of a turn is a text.
        """
        given: list[Any] = list(stops)
        try:
            ends: list[Any] = list(self.stop)
        except ChatTemplateError:
            ends = []
        if any(isinstance(stop, str) for stop in given):
            texts = [end if isinstance(end, str) else self._tokenizer.decode_exactly([end]) for end in ends]
            return tuple(dict.fromkeys([*given, *filter(None, texts)]))
        if given and any(isinstance(end, str) for end in ends):
            raise ValueError("stop must be texts, not token ids: this model's chat format ends a turn with a text")
        return tuple(dict.fromkeys([*given, *ends]))

    def sampling_params(self, max_tokens: int, **others: Any) -> SamplingParams:
        """Return `SamplingParams` that stop where the model's turn ends; *others* are its further fields."""
        return SamplingParams(max_tokens=max_tokens, stop=self.stop, **others)

    def parse(
        self,
        sequence: SampledSequence | Sequence[int],
        prompt: ModelInput | Sequence[int] | None = None,
        tools: Iterable[Mapping[str, Any]] | None = None,
        stop: Iterable[str] | Iterable[int] = (),
    ) -> Answer:
        """Return a sampled sequence as a message.

        Args:
            sequence: What was sampled, or its token ids.
            prompt: What it was sampled from: tells whether the prompt has begun the answer, such as with `<think>`.
                None means a prompt that ends with the header of an answer.
            tools: The tools of the prompt: where the model writes arguments without their types, as in XML, the
                schemas tell them.
            stop: Stops of the caller's own, texts or token ids: the answer ends in front of the first of them.
        """
        tokens, stops = _tokens(sequence), set(stop)
        length, ended = self._end(tokens)
        if ended == "cut_off" and tokens and tokens[-1] in stops:
            answer = self.parse(tokens[:-1], prompt, tools)
            return attrs.evolve(answer, ended="stop", num_tokens=length)
        if ended == "cut_off" and isinstance(sequence, SampledSequence) and sequence.stop_reason == "stop":
            ended = "stop"
        beginning = self._beginning(prompt)
        sampled = tokens[:length] if ended in ("cut_off", "stop") else tokens[: length - 1]
        said = self._marks.decode(sampled, continues=bool(beginning))
        if self._layout.stop_text and self._layout.stop_text in said:
            said, ended = said.partition(self._layout.stop_text)[0], "turn_end"
        schemas = ToolSchemas(list(tools) if tools is not None else None)
        turn = parse_turn(beginning + said, self._layout, self._marks, schemas)
        if beginning:
            turn = without_beginning(turn, parse_turn(beginning, self._layout, self._marks, schemas))
        return _answer(turn, ended, tokens[:length]).before_stop(stops)

    def extend(
        self,
        prompt: ModelInput | Sequence[int],
        sequence: SampledSequence | Sequence[int],
        messages: Iterable[Mapping[str, Any]],
        tools: Iterable[Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> ModelInput:
        """Make the prompt for the answer after next: the prompt, the answer's tokens as sampled, and new messages.

        Rendering the whole conversation anew gives other tokens where the template strips thinking from history, or
        where the text of an answer is cut into tokens in another way than it was sampled. Extended, the prompt begins
        with what was sampled, so that the log-probabilities of a rollout stay true.

        Args:
            prompt: What the answer was sampled from.
            sequence: The answer, or its token ids. One that was cut off gets the token that ends a turn.
            messages: What follows the answer: results of tools, or what the user says next.
            tools: The tools of the prompt.
            options: Further arguments of `ModelInput.from_messages`.

        Raises:
            ChatTemplateError: The template refuses the messages, does not write them behind an answer, writes no
                control token behind an answer, or begins them with another one than the model has ended its answer
                with, where that begins what follows (GLM).
        """
        tools = None if tools is None else list(tools)
        answer = self.parse(sequence, prompt, tools)
        tokens = _tokens(sequence)[: answer.num_tokens]
        new = list(messages) if isinstance(messages, Iterator) else messages
        given = {"tools": tools, **self._given, **options}
        variables = {name: given.pop(name) for name in list(given) if name not in _PROMPT_OPTIONS}

        def following(pieces: list[str]) -> list[str]:
            if self._template is None:
                return role_colon_continuation(pieces, self._marks.decode(tokens))
            end, behind = text_behind_turn("".join(pieces), self._layout.history_ends, repr(self._tokenizer))
            return self._from_end(answer.ended, tokens, end, behind)

        def rendered(calls: Sequence[dict[str, Any]]) -> list[Chunk]:
            before = turn_before(calls)
            return chat_chunks(new, self._tokenizer, before=before, kept=following, **given, variables=variables)

        try:
            added = rendered(answer.tool_calls)
        except ChatTemplateError:
            if len(answer.tool_calls) < 2:
                raise
            added = rendered(answer.tool_calls[:1])  # Llama's template takes one call only; the model may make more
        begun = prompt if isinstance(prompt, ModelInput) else ModelInput.from_ints(prompt)
        return _joined([*begun.chunks, EncodedTextChunk(tokens), *added])

    def _from_end(self, ended: Ended, tokens: Sequence[int], end: str, behind: str) -> list[str]:
        """Return what of the end token and the text behind it is to follow the tokens of an answer."""
        if ended == "turn_end" and self._layout.ends_with_next and tokens[-1] != self._id(end):
            raise ChatTemplateError(
                f"messages[0].role: the answer ended with {self._tokenizer.decode_exactly(tokens[-1:])}, which begins"
                f" what follows, and the chat template of {self._tokenizer!r} begins this message with {end}"
            )
        is_there = ended == "turn_end" or (ended == "end_of_text" and not self._layout.ends_with_next)
        return [behind] if is_there else [end, behind]

    def _end(self, tokens: Sequence[int]) -> tuple[int, Ended]:
        """Return how many tokens the answer has, its end token included, and how it ended."""
        for index, token in enumerate(tokens):
            if token in self._turn_ends:
                return index + 1, "turn_end"
            if token in self._text_ends:
                return index + 1, "end_of_text"
        return len(tokens), "cut_off"

    def _beginning(self, prompt: ModelInput | Sequence[int] | None) -> str:
        """Return what the prompt has begun of the answer, as text with marks."""
        tail = () if prompt is None else _last_tokens(prompt)
        for index in range(len(tail) - 1, max(-1, len(tail) - _LONGEST_BEGINNING), -1):
            if tail[index] in self._boundaries:
                return self._marks.decode(tail[index + 1 :]).removeprefix(self._layout.role_name)
        return self._marks.mark(self._layout.begun)

    @functools.cached_property
    def _layout(self) -> TurnLayout:
        if self._template is None:
            return role_colon_layout(self._tokenizer.chat_files.special_tokens.get("eos_token"))
        return LayoutProbe(self._template, self._variables, lambda name: self._id(name) is not None).layout()

    @functools.cached_property
    def _marks(self) -> ControlMarks:
        return ControlMarks(self._tokenizer, self._layout.control_tokens)

    @functools.cached_property
    def _turn_ends(self) -> tuple[int, ...]:
        return self._ids(self._layout.turn_ends)

    @functools.cached_property
    def _text_ends(self) -> tuple[int, ...]:
        return tuple(token for token in self._ids(self._layout.text_ends) if token not in self._turn_ends)

    @functools.cached_property
    def _boundaries(self) -> frozenset[int]:
        return frozenset(self._ids(self._layout.boundaries))

    def _ids(self, names: Iterable[str]) -> tuple[int, ...]:
        return tuple(token for name in names if (token := self._id(name)) is not None)

    def _id(self, name: str) -> int | None:
        """Return the token of a control token's name; None where it is not one token."""
        tokens = self._tokenizer.encode_rendered(name)
        return tokens[0] if len(tokens) == 1 else None


def _tokens(sequence: SampledSequence | Sequence[int]) -> list[int]:
    return sequence.tokens if isinstance(sequence, SampledSequence) else list(token_tuple("sequence", sequence))


def _joined(chunks: Iterable[Chunk]) -> ModelInput:
    """Make a prompt of chunks in which no text stands beside another."""
    joined: list[Chunk] = []
    for chunk in chunks:
        last = joined[-1] if joined else None
        if isinstance(chunk, EncodedTextChunk) and isinstance(last, EncodedTextChunk):
            joined[-1] = EncodedTextChunk((*last.tokens, *chunk.tokens))
        elif not isinstance(chunk, EncodedTextChunk) or chunk.tokens:
            joined.append(chunk)
    return ModelInput(joined)


def _last_tokens(prompt: ModelInput | Sequence[int]) -> Sequence[int]:
    if not isinstance(prompt, ModelInput):
        return token_tuple("prompt", prompt)
    last = prompt.chunks[-1] if prompt.chunks else None
    return last.tokens if isinstance(last, EncodedTextChunk) else ()


def _answer(turn: ParsedTurn, ended: Ended, tokens: Sequence[int]) -> Answer:
    seed = hashlib.blake2b(repr(tokens).encode(), digest_size=8)
    calls = []
    for index, call in enumerate(turn.calls):
        if isinstance(call, ParsedCall):
            calls.append(openai_call(call, _call_id(seed.hexdigest(), index)))
    return Answer(
        content=turn.content,
        ended=ended,
        num_tokens=len(tokens),
        reasoning_content=turn.reasoning or None,
        tool_calls=tuple(calls),
        unparsed_tool_calls=tuple(call for call in turn.calls if isinstance(call, UnparsedToolCall)),
    )


def _call_id(seed: str, index: int) -> str:
    return hashlib.blake2b(f"{seed}{index}".encode(), digest_size=8).hexdigest()[:_ID_LENGTH]
