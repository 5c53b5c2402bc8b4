"""The calls of a sampling client that take text."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import attrs

from tinkex._runtime.task import Coroutine, FutureWait
from tinkex._sampling.stream import cancel_all
from tinkex._validation.calls import explained
from tinkex._validation.public_names import with_public_names
from tinkex._validation.values import shown
from tinkex.future import ClientFuture, SampleFuture
from tinkex.queue_state import QueueStateObserver
from tinkex.types import ModelInput, SampledSequence, SampleRequest, SampleResponse, SamplingParams

if TYPE_CHECKING:  # loaded with the first call that needs them: most programs that sample tokens do without
    from tinkex._sampling._text.options import CallArguments, CallOptions, SampleOptions
    from tinkex.text.codec import TextCodec
    from tinkex.text.responses import ChatResponse, SampledText, TextResponse
    from tinkex.text.scores import ScoreResponse, SplitChoices
    from tinkex.tokenizers import Tokenizer

T = TypeVar("T")
Messages = str | Iterable[Mapping[str, Any]] | ModelInput
_ONE_TOKEN = SamplingParams(max_tokens=1)


def _gather(
    split: SplitChoices, futures: Mapping[tuple[int, ...], SampleFuture[SampleResponse]]
) -> Coroutine[ScoreResponse]:
    """Wait for the samples of all choices; the first that fails ends the others."""
    from tinkex.text.scores import ScoreResponse, scored_choices, scored_response

    failed = list[Future[SampleResponse]]()

    def end(future: Future[SampleResponse]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None and scored_response(error) is None:
            failed.append(future)
            cancel_all(futures.values())

    for future in futures.values():
        future._listen(end)  # noqa: SLF001
    for future in futures.values():
        yield FutureWait(future)
    if failed:
        failed[0].result()
    responses = {tokens: scored_response(future.exception()) or future.result() for tokens, future in futures.items()}
    return ScoreResponse(scored_choices(split, responses), split.prompt, split.tail, tuple(responses.values()))


@with_public_names
class TextSampling:
    """Text level of a sampling client: the text is made tokens, and the tokens text, by the model's own tokenizer.

    It is the client's `get_tokenizer()`, or the `tokenizer` given: a name, a path or an object. The first call loads
    it, perhaps over the network, in the thread that calls; later ones only encode. What is wrong with a text or with
    the tokenizer is raised there, and nothing is sent.
    """

    _codec: tuple[object, TextCodec] | None = None  # that of the tokenizer used last

    @explained(prompt='a text, as in complete("The sky is", max_tokens=16)')
    def complete(
        self,
        prompt: str | ModelInput,
        sampling_params: SamplingParams | None = None,
        *,
        tokenizer: object = None,
        **options: Unpack[SampleOptions],
    ) -> SampleFuture[TextResponse]:
        """Begin to sample what follows a text, and return the future of a `TextResponse`, with the text.

        Args:
            prompt: The text, or a prompt that is tokens already.
            sampling_params: How to sample; or its fields as keywords, which go before it. `max_tokens` is required.
                The text ends in front of the first `stop`.
            tokenizer: A name, a path or an object, instead of the model's own.
            options: `max_tokens`, `temperature`, `top_p`, `top_k`, `stop` and `seed`, as in `SamplingParams`; and those
                of `sample`: `num_samples` for several texts, `timeout`, `on_full` and the others.

        Raises:
            TokenizerError: There is no tokenizer to be had.
            TypeError, ValueError, QueueFullError, ClientClosedError: As `sample` does.

        The future raises what that of `sample` raises. Safe in any thread. It blocks while it loads the tokenizer, and
        asks the server for the name of a base model that this client does not know, for `timeout` seconds at most.
        """
        if not isinstance(prompt, str | ModelInput):
            raise TypeError(
                f"prompt must be a text, got {shown(prompt)}: sample() takes token ids, chat() messages, and"
                " sample_many(texts, call=client.complete) many texts"
            )
        from tinkex._sampling._text.options import TextCall

        asked = TextCall.read("complete", sampling_params, options)
        codec = self._codec_of(tokenizer, asked.call)
        from tinkex.text.codec import stop_items
        from tinkex.text.responses import SampledText, TextResponse

        made = codec.prompt(prompt) if isinstance(prompt, str) else prompt
        stop = stop_items(asked.params.stop)

        def read(each: SampledSequence) -> SampledText:
            return SampledText(codec.completion(each.tokens, stop)[0], each, codec=codec)

        def finish(response: SampleResponse) -> TextResponse:
            return TextResponse(response, made, read)

        return self._begin(asked.sample_request(made), *asked.call, finish)

    @explained(messages='a text or messages, as in chat("Why is the sky blue?", max_tokens=256)')
    def chat(
        self,
        messages: Messages,
        sampling_params: SamplingParams | None = None,
        *,
        tools: Iterable[Mapping[str, Any]] | None = None,
        template_variables: Mapping[str, Any] | None = None,
        tokenizer: object = None,
        **options: Unpack[SampleOptions],
    ) -> SampleFuture[ChatResponse]:
        """Begin to sample the answer to messages, and return the future of a `ChatResponse`, with the message.

        The messages are written in the model's own chat format, and the answer is read in it: thinking and tool calls
        stand apart. It ends where the model's turn ends.

        Args:
            messages: Mappings with `role` and `content`, as `ModelInput.from_messages` takes them; or a text, which is
                one message of the user; or a prompt that is tokens already, such as `SampledAnswer.extend` makes.
            sampling_params: As for `complete`. A `stop` ends the answer besides the end of the turn; an empty list
                leaves out both.
            tools: JSON schemas of functions that the model may call.
            template_variables: Variables of the chat template, such as `{"enable_thinking": False}`, and further
                keywords of `ModelInput.from_messages`: `chat_template`, `date`, `documents`, `continue_final_message`.
            tokenizer: A name, a path or an object, instead of the model's own.
            options: As for `complete`.

        Raises:
            ChatTemplateError: (a `ValueError`) As `ModelInput.from_messages` does: there is no template, or it refuses
                the messages.
            TokenizerError, TypeError, ValueError, QueueFullError, ClientClosedError: As `complete` does.

        The future, threads and blocking are as with `complete`.
        """
        from tinkex._sampling._text.options import TextCall

        asked = TextCall.read("chat", sampling_params, options)
        codec = self._codec_of(tokenizer, asked.call)
        from tinkex.text.codec import stop_items
        from tinkex.text.responses import ChatResponse, sampled_answer
        from tinkex.tokenizers._chat_template.messages import read_tools

        schemas = read_tools(tools)
        chat, made = codec.conversation(messages, schemas, template_variables)
        stop = stop_items(asked.params.stop)
        params = asked.params
        if params.stop != ():
            params = attrs.evolve(params, stop=chat.stop_with(stop) or None)
        read = functools.partial(sampled_answer, chat=chat, prompt=made, tools=schemas, stop=stop)
        request = asked.sample_request(made, params)
        return self._begin(request, *asked.call, lambda response: ChatResponse(response, made, read))

    @explained(
        prompt='what goes before the choices, as in score("The sky is", [" blue", " green"])',
        choices='the texts to score, as in score("The sky is", [" blue", " green"])',
    )
    def score(
        self,
        prompt: str | Iterable[Mapping[str, Any]] | Iterable[int] | ModelInput,
        choices: str | Iterable[str] | Iterable[int] | Iterable[Sequence[int]],
        *,
        tools: Iterable[Mapping[str, Any]] | None = None,
        template_variables: Mapping[str, Any] | None = None,
        tokenizer: object = None,
        **options: Unpack[CallOptions],
    ) -> ClientFuture[ScoreResponse]:
        """Begin to score how likely texts are to follow a prompt, and return the future of a `ScoreResponse`.

        `score(prompt, [" Paris", " Rome"]).result().best` is the index of the likelier one.

        Behind a text, each choice is encoded together with it, as the model has read such texts, and a space between
        the two belongs to the choice. Where tokens reach across the end of the prompt, that end is scored with every
        choice alike (`ScoreResponse.tail`). Behind messages and tokens, a choice is encoded by itself. Every choice is
        one sample of one token, which is thrown away; all begin at once, and share the server's cache of the prompt.

        Args:
            prompt: A text; messages, which the choices answer; token ids; or a `ModelInput`.
            choices: One text or several, each as text or as token ids.
            tools: As for `chat`; for messages alone.
            template_variables: As for `chat`; for messages alone.
            tokenizer: A name, a path or an object, instead of the model's own; not loaded for tokens alone.
            options: `timeout` in seconds for each sample, `on_full` and `queue_state_observer`, as for `sample`.

        Raises:
            ValueError: No token stands before the choices, or one of them has none.
            TokenizerError, ChatTemplateError, TypeError, QueueFullError, ClientClosedError: As `chat` does.

        The future raises what that of `sample` raises, for the first of them that fails; the others are cancelled
        then, as they are when it is cancelled. Safe in any thread; blocks as `complete` does.
        """
        from tinkex._sampling._text.options import CALL, call_arguments, check_names

        check_names("score", options, CALL)
        call = call_arguments(options)
        from tinkex.text.scores import read_choices, split_choices

        given = read_choices(choices)
        codec = functools.cache(lambda: self._codec_of(tokenizer, call))
        begun: Any = list(prompt) if isinstance(prompt, Iterator) else prompt
        if isinstance(begun, Sequence) and not isinstance(begun, str) and begun and isinstance(begun[0], Mapping):
            begun = codec().conversation(begun, tools, template_variables)[1]
        elif tools is not None or template_variables is not None:
            name = "template_variables" if tools is None else "tools"
            raise ValueError(f"{name} is for messages, and prompt has none: {shown(prompt)}")
        elif not isinstance(begun, str | ModelInput):
            begun = ModelInput.from_ints(begun)
        return self._scored(split_choices(begun, given, codec), call)

    def _scored(self, split: SplitChoices, call: CallArguments) -> ClientFuture[ScoreResponse]:
        """Begin a sample for each choice that has tokens of its own, and gather them."""
        futures: dict[tuple[int, ...], SampleFuture[SampleResponse]] = {}
        try:
            for tokens, prompt in zip(split.tokens, split.prompts(), strict=True):
                if tokens not in futures:
                    request = SampleRequest(
                        prompt, _ONE_TOKEN, include_prompt_logprobs=True, prompt_logprobs_last_n=len(tokens)
                    )
                    futures[tokens] = self._begin(request, *call, None)
            gathered = self._run(functools.partial(_gather, split, futures))
            gathered._listen(lambda _: cancel_all(futures.values()))  # noqa: SLF001
        except BaseException:  # also a Ctrl-C: the caller has no future of it
            cancel_all(futures.values())
            raise
        return gathered

    def _codec_of(self, tokenizer: object, call: CallArguments) -> TextCodec:
        """Return the codec of the tokenizer given, or of the client's own."""
        from tinkex.text.codec import TextCodec
        from tinkex.tokenizers import get_tokenizer

        if tokenizer is None:
            tokenizer = self.get_tokenizer(timeout=call[0])
        elif isinstance(tokenizer, str | os.PathLike):
            tokenizer = get_tokenizer(tokenizer)
        kept = self._codec
        if kept is None or kept[0] is not tokenizer:
            kept = self._codec = (tokenizer, TextCodec(tokenizer))
        return kept[1]

    def get_tokenizer(self, *, timeout: float | None = None) -> Tokenizer:
        """Return the model's tokenizer."""
        raise NotImplementedError

    def _begin(
        self, request: SampleRequest, timeout: float | None, on_full: str | None, observer: QueueStateObserver | None,
        finish: Callable[[SampleResponse], Any] | None,
    ) -> SampleFuture[Any]:  # fmt: skip
        raise NotImplementedError

    def _run(self, coroutine: Callable[[], Coroutine[T]]) -> ClientFuture[T]:
        raise NotImplementedError
