"""Preparation of tasks: tokenises prompts and validates parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import attrs

from tinkex._validation.values import whole
from tinkex.bulk._input.task import FOR_MESSAGES, OPTIONS, PARAMS, InputError, InvalidRowError, Row, Task
from tinkex.bulk._models import Model, Models
from tinkex.chat import unread_variables
from tinkex.text.scores import split_choices
from tinkex.tokenizers import ChatTemplateError
from tinkex.types import ModelInput, SamplingParams

PICKS: Final = ("mean_logprob", "logprob")
"""By what the best of several answers is picked: its mean log-probability per token, or their sum."""

_NOT_VARIABLES: Final = frozenset({"tools", "add_generation_prompt", "chat_template", "continue_final_message"})
"""What `ModelInput.from_messages` takes besides variables of the template."""


class MissingMaxTokensError(InvalidRowError):
    """Neither the row nor the run says how many tokens may be sampled."""


@attrs.frozen
class Wanted:
    """Validated sampling parameters of a task."""

    params: SamplingParams
    options: dict[str, Any]
    """Further keywords of `sample()`."""
    chat: dict[str, Any]
    """Keywords of `ModelInput.from_messages`, where the prompt is a conversation."""
    most_tokens: int
    """Most tokens that may be sampled for one row."""
    kept: int | None = None
    """How many of the sequences are kept, the best first; None for all, as they come."""
    pick: str = PICKS[0]
    """One of `PICKS`."""


@attrs.frozen
class Continuation:
    """A choice to be scored: its text, if it was given as one, its tokens, and the prompt with them at its end."""

    text: str | None
    tokens: Sequence[int]
    prompt: ModelInput


@attrs.define
class Prepared:
    """A task that is ready to be submitted."""

    model: Model
    prompt: ModelInput
    """What is sampled from; what stands before every continuation."""
    wanted: Wanted
    date: str | None = None
    """The date that the prompt was made with; None where its chat template writes none, or the row pins it."""
    continuations: Sequence[Continuation] = ()
    """What is to be scored instead of the prompt being sampled."""

    @property
    def most_tokens(self) -> int:
        """Most tokens that it may use, those of the prompt included."""
        if self.continuations:
            return sum((each.prompt.known_length or 0) + 1 for each in self.continuations)
        return (self.prompt.known_length or 0) + self.wanted.most_tokens


class Preparer:
    """Prepares tasks; used by one thread. Rows without parameters of their own share one `SamplingParams`."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._last: tuple[Mapping[str, Any], bool, Wanted] | None = None

    def prepare(self, task: Task) -> Prepared:
        """Make a task ready; any exception is the row's own fault, and says what is wrong with it."""
        row = task.row
        if row.problem is not None:
            raise InvalidRowError(row.problem)
        if problem := _needless(row, task.parameters):
            raise InvalidRowError(problem)
        scored = bool(row.choices)
        if self._last is None or self._last[0] is not task.parameters or self._last[1] is not scored:
            # of a choice every token counts, and how many that are differs
            parameters = (
                {**task.parameters, "score": True, "prompt_logprobs_last_n": None} if scored else task.parameters
            )
            self._last = (task.parameters, scored, check_parameters(parameters))
        wanted = self._last[2]
        model = self._models.get(task.model)
        prompt, date = self._model_input(task, model, wanted.chat)
        if not scored:
            return Prepared(model, prompt, wanted, date)
        split = split_choices(row.prompt if isinstance(row.prompt, str) else prompt, row.choices, model.codec)
        continuations = list(map(Continuation, split.texts, split.tokens, split.prompts()))
        return Prepared(model, split.prompt, wanted, date, continuations)

    def _model_input(self, task: Task, model: Model, variables: Mapping[str, Any]) -> tuple[ModelInput, str | None]:
        """Tokenise the prompt of a task; text and messages need the model's tokenizer. The date is as in `Prepared`."""
        prompt, messages = task.row.prompt, task.row.messages
        if isinstance(prompt, ModelInput):
            return prompt, None
        if isinstance(prompt, str):
            return ModelInput.from_text(prompt, model.tokenizer()), None
        if messages is None:
            return ModelInput.from_ints(cast("Sequence[int]", prompt)), None
        chat, tokenizer = self._read_by(model, variables), model.tokenizer()
        pinned = "date" in chat or "date_string" in chat
        date = None if pinned or unread_variables(["date"], tokenizer) else task.date
        if date is not None:
            chat["date"] = date
        return ModelInput.from_messages(messages, tokenizer, **chat), date

    def _read_by(self, model: Model, chat: Mapping[str, Any]) -> dict[str, Any]:
        """Leave out the template variables that other models of the run read, and this one does not."""
        names = [name for name in chat if name not in _NOT_VARIABLES]
        unread = unread_variables(names, model.tokenizer())
        if unread:
            others = [self._models.get(name).try_tokenizer() for name in self._models.names]
            unread_by_all = unread_variables(unread, *filter(None, others))
            unread = [name for name in unread if name not in unread_by_all]
        return {name: value for name, value in chat.items() if name not in unread}


def check_parameters(parameters: Mapping[str, Any]) -> Wanted:
    """Check a set of parameters; ValueError or TypeError names the wrong one."""
    given = dict(parameters)
    score = given.pop("score", False)
    if not isinstance(score, bool):
        raise InvalidRowError(f"score must be true or false, not {score!r}.")
    if score:
        given |= {"max_tokens": 1, "num_samples": 1, "best_of": None, "include_prompt_logprobs": True}
    if given.get("max_tokens") is None:
        raise MissingMaxTokensError("max_tokens is missing: give it in the row, or max_tokens= for the whole run.")
    kept = _kept(given)
    params = SamplingParams(**{name: given[name] for name in PARAMS if name in given})
    options: dict[str, Any] = {name: given[name] for name in OPTIONS if given.get(name) is not None}
    count = options.get("num_samples", 1)
    most = (params.max_tokens or 0) * (count if isinstance(count, int) else 1)
    return Wanted(params, options, _chat(given), most, kept, given.get("best_of_by", PICKS[0]))


def _kept(given: dict[str, Any]) -> int | None:
    """Return how many sequences are kept, and have as many sampled as the best are picked from; None for all."""
    pick = given.get("best_of_by", PICKS[0])
    if pick not in PICKS:
        raise InvalidRowError(f"best_of_by must be {' or '.join(PICKS)}, not {pick!r}.")
    if given.get("best_of") is None:
        return None
    kept = whole("num_samples", given.get("num_samples", 1), 1)
    given["num_samples"] = whole("best_of", given["best_of"], 1)
    if given["num_samples"] < kept:
        raise InvalidRowError(f"best_of must be at least num_samples, which is {kept}, not {given['num_samples']}.")
    return kept


def _chat(given: Mapping[str, Any]) -> dict[str, Any]:
    variables = given.get("template_variables") or {}
    if not isinstance(variables, Mapping):
        raise InvalidRowError(f"template_variables must be a JSON object, not {variables!r}.")
    for name in ("messages", "tokenizer", "tools"):
        if name in variables:
            raise InvalidRowError(f"template_variables must not have {name}, which is no variable of a template.")
    tools = given.get("tools")
    if tools is not None and not (isinstance(tools, list) and all(isinstance(each, Mapping) for each in tools)):
        raise InvalidRowError(f"tools must be a list of JSON objects, not {tools!r:.60}.")
    return {"tools": tools, **variables}


def _needless(row: Row, parameters: Mapping[str, Any]) -> str | None:
    """Return what is wrong where the run has something for a chat template and the row has nothing for it; or None."""
    if row.messages is None:
        for name in FOR_MESSAGES:
            if parameters.get(name):
                return f"{name} is for messages, and this row has none: leave it out of the run, or give messages."
    return None


def find_obstacle(row: Row, parameters: Mapping[str, Any], model: str, models: Models) -> Exception | None:
    """Return what keeps a row, and every one like it, from being sampled with the run's parameters; None if it can be.

    That is a missing `max_tokens`, tools for rows without messages, a model of the run that cannot be opened, a
    tokenizer that is not there, and a chat template that is broken, missing, or does not read what the run gives it.
    Raises what is wrong with this row alone.
    """
    if row.problem is not None:
        raise InvalidRowError(row.problem)
    task = Task(0, row, model, {**parameters, **row.parameters}, "")
    if problem := _needless(row, task.parameters):
        return InputError(problem)
    if not row.choices:
        try:
            check_parameters(task.parameters)
        except MissingMaxTokensError as error:
            return InputError(error.message)
    try:
        opened = models.get(model)
        texts = isinstance(row.prompt, str) or any(isinstance(each, str) for each in row.choices)
        if texts or row.messages is not None:
            opened.tokenizer()
    except Exception as error:
        if row.model is not None:
            raise
        return error
    return None if row.messages is None else _template_obstacle(task, parameters, models)


def _template_obstacle(task: Task, parameters: Mapping[str, Any], models: Models) -> Exception | None:
    try:
        Preparer(models).prepare(task)
    except (ChatTemplateError, TypeError, ValueError):
        greeting = Row(1, "greeting", [{"role": "user", "content": "Hello"}])
        try:
            Preparer(models).prepare(attrs.evolve(task, row=greeting, parameters={**parameters, "max_tokens": 1}))
        except ChatTemplateError as error:
            return error
        except (TypeError, ValueError) as error:
            return InputError(f"{str(error).rstrip('.')}.")
        raise
    return None
