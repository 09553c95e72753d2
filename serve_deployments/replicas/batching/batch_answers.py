"""The answers of one batch, request by request: a payload that the model refuses fails alone, not with its whole batch.

A model that raises says nothing of which payload it was. So a batch that failed is halved until the payloads that fail
by themselves are known; one of n takes 2 log2(n) further calls. Without this, one refused request in twenty makes most
batches of sixteen fail, in trials and in production alike.

A model may write to its payloads, so those of a further call are as they were before the first one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from serve_deployments.models.sendable import kept

Call = Callable[[list[Any]], Awaitable[list[Any]]]

_SOUGHT = 2
"""Number of failing payloads in a batch that are found at least. Our choice: if there are more, the model probably
fails whatever it is given, and each further call would keep the other requests waiting."""


class Failed(NamedTuple):
    """The answer to a payload that failed."""

    error: Exception


async def answer_each(
    call: Call, payloads: Sequence[Any], *, is_of_payload: Callable[[Exception], bool] = lambda error: True
) -> list[Any]:
    """The answer to each payload, in order: the model's, or `Failed`.

    A batch with a payload that cannot be copied is run once, and fails as a whole.

    Args:
        call: runs one batch; returns one result for each payload, in order.
        payloads: the batch; they are the model's own, which it may write to.
        is_of_payload: whether an error may be due to one payload alone; a batch that fails otherwise fails as a whole.
    """
    answers: list[Any] = [None] * len(payloads)
    again = _kept(payloads)
    most_calls = 1 + 2 * _SOUGHT * math.ceil(math.log2(max(1, len(again))))
    parts: deque[tuple[int, int, Exception | None]] = deque([(0, len(payloads), None)])
    calls = 0
    while parts:
        first, last, error = parts.popleft()
        if error is None or calls < most_calls:
            calls += 1
            try:
                batch = list(payloads) if error is None else [payload() for payload in again[first:last]]
                answers[first:last] = _one_each(await call(batch), last - first)
                continue
            except Exception as raised:
                error = raised
            if last - first > 1 and is_of_payload(error):
                middle = (first + last) // 2
                parts += [(first, middle, error), (middle, last, error)]
                continue
        answers[first:last] = [Failed(error)] * (last - first)
    return answers


def _kept(payloads: Sequence[Any]) -> list[Callable[[], Any]]:
    """What gives each payload again; empty if there is nothing to halve, or one of them cannot be copied."""
    try:
        return [kept(payload) for payload in payloads] if len(payloads) > 1 else []
    except Exception:  # whatever a class's own serialisation raises
        return []


def _one_each(rows: list[Any], payloads: int) -> list[Any]:
    """The results, or as many failures: with another number of results nobody knows whose each one is."""
    if len(rows) == payloads:
        return rows
    said = f"the model returned {len(rows)} results for {payloads} payloads; one each is needed"
    return [Failed(ValueError(said))] * payloads
