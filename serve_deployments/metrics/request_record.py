"""The record of a request: when it was due, sent, first and fully answered, its sizes, and its error if it failed.

A request is stored as a record and not as a latency: every metric is computed from these columns, in one place
(`metric_table`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import numpy as np


class RequestRecord(NamedTuple):
    """One request that has ended; times are in seconds of its sender's clock.

    Args:
        due_s: when its schedule, or its client, wanted it sent.
        sent_s: when it was sent.
        last_s: when the last part of its answer arrived, or when it failed.
        error: description of the failure, such as the exception's type and message; None if it was answered.
        first_s: when the first part of its answer arrived; NaN if the answer came in one part, or the request failed.
        parts: number of parts that the answer came in; 0: none came, as the request was dropped, and was waited for
            until `last_s`.
        size_in: size of the request in the endpoint's unit, such as tokens; NaN where the endpoint does not count.
        size_out: size of the answer in the same unit; NaN likewise.
        sample: place of its payload among the payloads; None where it is not known.
    """

    due_s: float
    sent_s: float
    last_s: float
    error: str | None = None
    first_s: float = math.nan
    parts: int = 1
    size_in: float = math.nan
    size_out: float = math.nan
    sample: int | None = None

    def earlier(self, by_s: float) -> Self:
        """The same record with all times `by_s` seconds earlier: by a clock that is so far behind."""
        return self._replace(
            due_s=self.due_s - by_s, sent_s=self.sent_s - by_s, last_s=self.last_s - by_s, first_s=self.first_s - by_s
        )


@dataclass(frozen=True)
class Requests:
    """Requests that have ended, in the order of their ends; a column for each field of `RequestRecord` but the sample.

    Args:
        due_s: `[n]` when each was due.
        sent_s: `[n]` when each was sent.
        last_s: `[n]` when each ended, ascending.
        failed: `[n]` whether each failed.
        first_s: `[n]` when the first part of the answer arrived; NaN where the answer came in one part.
        parts: `[n]` number of parts of the answer; 0 where the request was dropped.
        size_in: `[n]` size of the request; NaN where it is not known.
        size_out: `[n]` size of the answer; NaN where it is not known.
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
        """The last `count` requests; all of them for 0."""
        return Requests(**{field.name: getattr(self, field.name)[-count:] for field in fields(self)})

    def where(self, which: np.ndarray) -> Requests:
        """Those of the requests that a mask `[n]` selects."""
        return Requests(**{field.name: getattr(self, field.name)[which] for field in fields(self)})

    def and_then(self, later: Requests) -> Requests:
        """These requests and later ones."""
        columns = [field.name for field in fields(self)]
        return Requests(**{name: np.concatenate([getattr(self, name), getattr(later, name)]) for name in columns})

    @property
    def latency_s(self) -> np.ndarray:
        """`[n]` seconds from when each was due, not sent, lest a stalled sender hide a queue. NaN where it failed.

        Of one that was dropped, how long it was waited for: its answer would have taken longer.
        """
        return np.where(self.failed & ~self.dropped, np.nan, self.last_s - self.due_s)

    @property
    def dropped(self) -> np.ndarray:
        """`[n]` which were dropped: they failed, as no part of an answer came while they were waited for."""
        return self.failed & (self.parts == 0)
