"""Preparation of tasks: tokenises prompts and validates parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import attrs

from tinkex.bulk._input.task import OPTIONS, PARAMS, InvalidRowError, Prompt, Task
from tinkex.bulk._models import Model, Models
from tinkex.chat import unread_variables
from tinkex.types import ModelInput, SamplingParams

_NOT_VARIABLES: Final = frozenset({"tools", "add_generation_prompt", "chat_template", "continue_final_message"})
"""What `ModelInput.from_messages` takes besides variables of the template."""


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


@attrs.frozen
class Prepared:
    """A task that is ready to be submitted."""

    model: Model
    prompt: ModelInput
    wanted: Wanted
    date: str | None = None
    """The date that the prompt was made with; None where its chat template writes none, or the row pins it."""

    @property
    def most_tokens(self) -> int:
        """Most tokens that it may use, those of the prompt included."""
        return (self.prompt.known_length or 0) + self.wanted.most_tokens


class Preparer:
    """Prepares tasks; used by one thread. Rows without parameters of their own share one `SamplingParams`."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._last: tuple[Mapping[str, Any], Wanted] | None = None

    def prepare(self, task: Task) -> Prepared:
        """Make a task ready; any exception is the row's own fault, and says what is wrong with it."""
        if task.row.problem is not None:
            raise InvalidRowError(task.row.problem)
        if self._last is None or self._last[0] is not task.parameters:
            self._last = (task.parameters, check_parameters(task.parameters))
        wanted = self._last[1]
        model = self._models.get(task.model)
        if not is_chat(task.row.prompt):
            return Prepared(model, _model_input(task.row.prompt, model), wanted)
        chat, tokenizer = self._read_by(model, wanted.chat), model.tokenizer()
        date = None if "date" in chat or unread_variables(["date"], tokenizer) else task.date
        if date is not None:
            chat["date"] = date
        messages = cast("Sequence[Mapping[str, Any]]", task.row.prompt)
        return Prepared(model, ModelInput.from_messages(messages, tokenizer, **chat), wanted, date)

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
        given |= {"max_tokens": 1, "num_samples": 1, "include_prompt_logprobs": True}
    if given.get("max_tokens") is None:
        raise InvalidRowError("max_tokens is missing: give it in the row or for the whole run.")
    params = SamplingParams(**{name: given[name] for name in PARAMS if name in given})
    options: dict[str, Any] = {name: given[name] for name in OPTIONS if name in given}
    count = options.get("num_samples", 1)
    most = (params.max_tokens or 0) * (count if isinstance(count, int) else 1)
    return Wanted(params, options, _chat(given), most)


def _chat(given: Mapping[str, Any]) -> dict[str, Any]:
    variables = given.get("template_variables") or {}
    if not isinstance(variables, Mapping):
        raise InvalidRowError(f"template_variables must be a JSON object, not {variables!r}.")
    return {"tools": given.get("tools"), **variables}


def is_chat(prompt: Prompt) -> bool:
    """Whether a prompt is a conversation."""
    return bool(prompt and not isinstance(prompt, str) and isinstance(prompt[0], Mapping))


def _model_input(prompt: Prompt, model: Model) -> ModelInput:
    if isinstance(prompt, str):
        return ModelInput.from_text(prompt, model.tokenizer())
    return ModelInput.from_ints(cast("Sequence[int]", prompt))
