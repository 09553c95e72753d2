"""Checks what a model returned for a batch: an answer for each payload, or else answers reach the wrong callers.

The next batch starts before the answers of this one are serialised. So what a model may write to again, such as a
buffer for its outputs that it has once and for all, is copied first; as are rows that are views of a whole batch, which
a tensor would be sent with.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from serve_deployments.endpoint import Payload, Sizes
from serve_deployments.models.context import ModelError

_REMEDY = "return a list, one result for each payload"

_UNCHANGING = frozenset({type(None), bool, int, float, complex, str, bytes})
"""Types of what a model cannot write to."""


def checked(what: str, payloads: Sequence[Payload], results: Any) -> list[Any]:
    """The results as a list, in the order of the payloads, which what the model does later does not change.

    To be called where the model is, before it is called again.

    Args:
        what: name of the model, for errors.
        payloads: the payloads of the batch.
        results: what the model returned for them: a list, a tuple, an array or a tensor, by rows.

    Raises:
        ModelError: they are not in rows, or not as many as the payloads.
    """
    if (odd := _unfit(results)) is not None:
        raise ModelError(f"{what} returned {odd}; {_REMEDY}")
    if len(results) != len(payloads):
        raise ModelError(f"{what} returned {len(results)} results for {len(payloads)} payloads; one each is needed")
    return [owned(row) for row in results]


def owned(result: Any) -> Any:
    """A result that shares no memory with the model: arrays and plain containers are copied, whatever is inside.

    Nothing is known of other objects, which are handed on as they are.
    """
    with suppress(Exception):  # one that contains itself, or cannot be copied: whoever sends it says so
        return _copied(result)
    return result


def _copied(value: Any) -> Any:
    if type(value) in _UNCHANGING:
        return value
    if isinstance(value, list | tuple):
        return _sequence(value)
    if isinstance(value, dict):
        made = copy.copy(value)
        if not _UNCHANGING.issuperset(map(type, value.values())):
            made.update((key, _copied(part)) for key, part in value.items())
        return made
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, bytearray):
        return value.copy()
    if hasattr(value, "shape"):  # an array or a tensor of any library; NumPy's record, which is a view
        return _array(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        mine = copy.copy(value)
        for field in dataclasses.fields(value):
            object.__setattr__(mine, field.name, _copied(getattr(value, field.name)))  # it may be frozen
        return mine
    return value


def _sequence(value: list[Any] | tuple[Any, ...]) -> Any:
    if _UNCHANGING.issuperset(map(type, value)):
        return copy.copy(value)
    parts = map(_copied, value)
    return value._make(parts) if hasattr(value, "_make") else type(value)(parts)  # a named tuple


def _array(value: Any) -> Any:
    if _holds_objects(value):
        with suppress(Exception):  # what cannot be serialised cannot be sent either, and whoever sends it says so
            return pickle.loads(pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL))
    if callable(getattr(value, "detach", None)):  # torch's, which are sent with all memory that they are a part of
        return value.detach().clone()
    return value.copy() if callable(getattr(value, "copy", None)) else value


def _holds_objects(value: Any) -> bool:
    """Whether an array or a table has objects as its elements, which its own copy would share."""
    kinds = [value.dtype] if hasattr(value, "dtype") else [*getattr(value, "dtypes", ())]
    return any(getattr(kind, "hasobject", False) for kind in kinds)


def with_article(kind: type) -> str:
    """A type's name with its article."""
    name = kind.__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _unfit(results: Any) -> str | None:
    """What results are that are not in rows, even where their number happens to be right; None for rows."""
    named = with_article(type(results))
    if isinstance(results, Awaitable):
        return f"{named} instead of what it would give; make the function itself `async def`"
    if isinstance(results, Iterator | AsyncIterator):
        return f"{named}, as a function with `yield` does" if isinstance(results, Generator | AsyncGenerator) else named
    # Iterating over a table gives the names of its columns (pandas) or the columns (polars, pyarrow), not its rows.
    if isinstance(results, Mapping) or hasattr(results, "columns") or hasattr(results, "column_names"):
        return f"{named}, which has columns instead of rows"
    if isinstance(results, str | bytes | bytearray):
        return f"{named} for the whole batch"
    in_order = hasattr(results, "__len__") and hasattr(results, "__getitem__") and getattr(results, "shape", None) != ()
    return None if in_order else named


def streams(built: Any) -> bool:
    """Whether what a builder returned answers a request in parts: an asynchronous generator function, or its like."""
    return callable(built) and any(map(inspect.isasyncgenfunction, (built, type(built).__call__)))


async def gathered(parts: AsyncIterator[Any]) -> Any:
    """A streamed answer as a whole: the text if all parts are texts, else the list of parts."""
    found = [part async for part in parts if not isinstance(part, Sizes)]
    return "".join(found) if found and all(isinstance(part, str) for part in found) else found
