"""Calls whose arguments do not fit: errors that say what to write, where Python's own only say what is wrong."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_ELSEWHERE: Final = {  # what other libraries call it
    "apikey": "api_key", "endpoint": "base_url", "max_completion_tokens": "max_tokens",
    "max_new_tokens": "max_tokens", "model": "base_model", "model_id": "base_model", "model_name": "base_model",
    "n": "num_samples", "params": "sampling_params", "top_logprobs": "topk_sample_logprobs", "url": "base_url",
}  # fmt: skip


def unexpected(call: str, option: str, known: Collection[str], fields: Mapping[str, Collection[str]]) -> TypeError:
    """Return the error of a keyword that a call does not know, with what may be meant.

    `fields` has the arguments that take an object, written as a call, and the fields of that object.
    """
    import difflib  # slow to load, for the few that are mistaken

    words = f"{call}() got an unexpected keyword argument {option!r}"
    name = _ELSEWHERE.get(option, option)
    for holder, names in fields.items():
        if name in names and name not in known:
            return TypeError(f"{words}: write {holder.replace('...', f'{name}=...')}")
    near = [name] if name in known else difflib.get_close_matches(name, known, 1)
    return TypeError(f"{words}: did you mean {near[0]}?" if near else words)


def explained(
    *,
    fields: Mapping[str, Collection[str]] | None = None,
    misplaced: Callable[[object], TypeError | None] | None = None,
    **missing: str,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a method so that arguments that do not fit it are told with what to write.

    `missing` says of an argument that must be given what it is. `fields` is that of `unexpected`. `misplaced` returns
    the error of a first argument that is for another call, which goes before what is wrong with the others.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*arguments: P.args, **options: P.kwargs) -> R:
            try:
                return function(*arguments, **options)
            except TypeError as error:
                if error.__traceback__ is None or error.__traceback__.tb_next is not None:  # of the call's own checks
                    raise
                misfit = misplaced(_first(function, arguments, options)) if misplaced is not None else None
                misfit = misfit or _misfit(function, arguments, options, fields or {}, missing) or error
            raise misfit

        code: Any = function.__code__
        arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        if any(name.startswith("_") for name in arguments):  # else what help() shows is right already
            signature = inspect.signature(function)
            shown = [each for each in signature.parameters.values() if not each.name.startswith("_")]
            call.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
        return call

    return decorate


def _first(function: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]) -> object:
    """Return the first argument of a method, by place or by name; None where there is none."""
    return arguments[1] if len(arguments) > 1 else options.get(list(inspect.signature(function).parameters)[1])


def _misfit(
    function: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any],
    fields: Mapping[str, Collection[str]], missing: Mapping[str, str],
) -> TypeError | None:  # fmt: skip
    """Return the error of arguments that do not fit; None where Python's own says all there is to say."""
    _, *parameters = inspect.signature(function).parameters.values()
    name = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]
    known = [each.name for each in parameters if not each.name.startswith("_")]
    by_place = [each.name for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    for option in options if parameters[-1].kind is not inspect.Parameter.VAR_KEYWORD else ():
        if option not in known:
            return unexpected(name, option, known, fields)
    if len(arguments) - 1 > len(by_place):
        first = next(each for each in known if each not in by_place)
        takes = (
            f"takes {' and '.join(by_place)} by place, and the others by name"
            if by_place
            else "takes its arguments by name"
        )
        return TypeError(f"{name}() {takes}, as in {name}({', '.join([*by_place, f'{first}=...'])})")
    for lacking in by_place[len(arguments) - 1 :]:
        if lacking not in options and lacking in missing:
            import difflib

            for option in difflib.get_close_matches(lacking, [each for each in options if each not in known], 1):
                return unexpected(name, option, [lacking], fields)
            return TypeError(f"{lacking} must be given: {missing[lacking]}")
    return None


def with_explained_init(cls: type[T]) -> type[T]:
    """Have a class that is made from the wrong arguments say what to write."""
    changed: Any = cls
    changed.__init__ = explained()(changed.__init__)
    return cls
