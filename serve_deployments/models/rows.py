"""Checks what a model returned for a batch: an answer for each payload, or else answers reach the wrong callers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Generator, Iterator, Mapping, Sequence
from typing import Any

from serve_deployments.endpoint import Payload
from serve_deployments.models.context import ModelError

_REMEDY = "return a list, one result for each payload"


def checked(what: str, payloads: Sequence[Payload], results: Any) -> list[Any]:
    """The results as a list, in the order of the payloads.

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
    return list(results)


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
