"""The record of a request: when it was due, sent, begun to be answered and answered, how much it was, or what failed.

A request is a record and not a latency: whatever is to be known of requests is computed from these columns, at one
place (`metric_table`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import numpy as np


class RequestRecord(NamedTuple):
    """One request that has ended; times in seconds of the clock of whoever sent it.

    Args:
        due_s: when its schedule, or its client, wanted it sent.
        sent_s: when it was.
        last_s: when the last part of its answer came, or it failed.
        error: what failed, in the words of the exception; None: it was answered.
        first_s: when the first part of its answer came; NaN if it came in one part, or failed.
        parts: in how many parts the answer came.
        size_in: of what was sent, in the endpoint's unit, such as tokens; NaN where it does not say.
        size_out: of the answer.
    """

    due_s: float
    sent_s: float
    last_s: float
    error: str | None = None
    first_s: float = math.nan
    parts: int = 1
    size_in: float = math.nan
    size_out: float = math.nan

    def earlier(self, by_s: float) -> Self:
        """The same in the time of a clock that is so far behind."""
        return self._replace(
            due_s=self.due_s - by_s, sent_s=self.sent_s - by_s, last_s=self.last_s - by_s, first_s=self.first_s - by_s
        )


@dataclass(frozen=True)
class Requests:
    """Requests that have ended, in the order in which they did; a column for each field of `RequestRecord`.

    Args:
        due_s: `[n]`.
        sent_s: `[n]`.
        last_s: `[n]` ascending.
        failed: `[n]` whether it failed.
        first_s: `[n]` NaN where the answer came in one part.
        parts: `[n]`.
        size_in: `[n]` NaN where it is not known.
        size_out: `[n]` likewise.
    """

    due_s: np.ndarray
    sent_s: np.ndarray
    last_s: np.ndarray
    failed: np.ndarray
    first_s: np.ndarray
    parts: np.ndarray
    size_in: np.ndarray
    size_out: np.ndarray

    def __len__(self) -> int:
        return int(self.last_s.size)

    def last(self, count: int) -> Requests:
        """The last so many; all of them for 0."""
        return Requests(**{field.name: getattr(self, field.name)[-count:] for field in fields(self)})

    @property
    def latency_s(self) -> np.ndarray:
        """`[n]` from when each was due, not sent: a stalled sender must not hide the queue. NaN where it failed."""
        return np.where(self.failed, np.nan, self.last_s - self.due_s)
