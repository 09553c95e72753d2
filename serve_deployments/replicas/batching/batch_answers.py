"""The answers of one batch, request by request: a payload that the model refuses fails alone, not with its whole batch.

A model that raises says nothing of which payload it was. So a batch that failed is halved until the payloads that fail
by themselves are known; one of n takes 2 log2(n) further calls. Without this, one refused request in twenty makes most
batches of sixteen fail, in trials and in production alike.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

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

    Args:
        call: runs one batch; returns one result for each payload, in order.
        payloads: the batch.
        is_of_payload: whether an error may be due to one payload alone; a batch that fails otherwise fails as a whole.
    """
    answers: list[Any] = [None] * len(payloads)
    most_calls = 1 + 2 * _SOUGHT * math.ceil(math.log2(max(1, len(payloads))))
    parts: deque[tuple[int, int, Exception | None]] = deque([(0, len(payloads), None)])
    calls = 0
    while parts:
        first, last, error = parts.popleft()
        if error is None or calls < most_calls:
            calls += 1
            batch = list(payloads[first:last])
            try:
                answers[first:last] = _one_each(await call(batch), batch)
                continue
            except Exception as raised:
                error = raised
            if last - first > 1 and is_of_payload(error):
                middle = (first + last) // 2
                parts += [(first, middle, error), (middle, last, error)]
                continue
        answers[first:last] = [Failed(error)] * (last - first)
    return answers


def _one_each(rows: list[Any], payloads: Sequence[Any]) -> list[Any]:
    """The results, or as many failures: with another number of results nobody knows whose each one is."""
    if len(rows) == len(payloads):
        return rows
    said = f"the model returned {len(rows)} results for {len(payloads)} payloads; one each is needed"
    return [Failed(ValueError(said))] * len(payloads)
