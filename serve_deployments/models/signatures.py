"""What a builder or loader takes, by its signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from serve_deployments.models.context import ModelContext, ModelError, UnexpectedArgument


def accepted(function: Callable[..., Any], context: ModelContext) -> dict[str, Any]:
    """The fields of the context that the function's signature names.

    `**kwargs` names none: it may be a decorator's, which hands them on to a function that takes others.
    """
    parameters = signature_of(function).parameters.values()
    names = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return {name: value for name, value in asdict(context).items() if name in names}


def bind(what: str, function: Callable[..., Any], args: Mapping[str, Any], *first: Any) -> None:
    """Check that a function takes these arguments.

    Args:
        what: the function's name in errors.
        function: the function.
        args: arguments by keyword.
        first: arguments by position, before these.

    Raises:
        UnexpectedArgument: one of `args` is not taken.
        ModelError: one that is needed is missing.
    """
    signature = signature_of(function)
    try:
        signature.bind(*first, **args)
    except TypeError as error:
        parameters = list(signature.parameters.values())[len(first) :]
        said = f"{what}: {error}; it takes {', '.join(map(_as_written, parameters)) or 'no arguments'}"
        named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        odd = next((name for name in args if name not in named), None)
        if odd is not None and not any(p.kind is p.VAR_KEYWORD for p in parameters):
            raise UnexpectedArgument(said, odd) from None
        raise ModelError(said) from None


def _as_written(parameter: inspect.Parameter) -> str:
    """A parameter as shown in errors: without its type, and with its default only if that is a plain value."""
    default = parameter.default
    if default is parameter.empty:
        return str(parameter.replace(annotation=parameter.empty))
    return f"{parameter.name}={default!r}" if isinstance(default, str | int | float) else f"{parameter.name}=…"


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """The signature of a function or class; raises ModelError if Python does not know it."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # raised for many functions that are written in C
        name = getattr(function, "__qualname__", repr(function))
        raise ModelError(f"cannot read the signature of {name}; wrap it in a Python function of your own") from None
