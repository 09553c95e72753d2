"""The record of a request: when it was due, sent, first and fully answered, its sizes, and its error if it failed.

A request is stored as a record and not as a latency: every metric is computed from these columns, in one place
(`metric_table`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from serve_deployments.metrics.part_gaps import PartGaps
from serve_deployments.metrics.request_limits import RequestLimits


class RequestRecord(NamedTuple):
    """One request that has ended; times are in seconds of its sender's clock.

    Args:
        due_s: when its schedule, or its client, wanted it sent.
        sent_s: when it was sent.
        last_s: when the last part of its answer arrived, or when it failed.
        error: description of the failure, such as the exception's type and message; None if it was answered.
        first_s: when the first part of its answer arrived; NaN if the answer was not streamed, or the request failed.
        parts: number of parts that the answer came in; 0: none came, as the request was dropped, and was waited for
            until `last_s`.
        size_in: size of the request in the endpoint's unit, such as tokens; NaN where the endpoint does not count.
        size_out: size of the answer in the same unit; NaN likewise.
        sample: place of its payload among the payloads; None where it is not known.
        gaps_s: seconds between its parts, in order: one less than there are parts; empty where they have no times.
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
    gaps_s: Sequence[float] = ()

    def earlier(self, by_s: float) -> Self:
        """The same record with all times `by_s` seconds earlier: by a clock that is so far behind."""
        return self._replace(
            due_s=self.due_s - by_s, sent_s=self.sent_s - by_s, last_s=self.last_s - by_s, first_s=self.first_s - by_s
        )


COLUMNS = ("due_s", "sent_s", "last_s", "failed", "first_s", "parts", "size_in", "size_out")
"""The first fields of `Requests`, in their order: those that have a number for each request."""


@dataclass(frozen=True)
class Requests:
    """Requests that have ended, in the order of their ends; a column for each field of `RequestRecord` but the sample.

    Args:
        due_s: `[n]` when each was due.
        sent_s: `[n]` when each was sent.
        last_s: `[n]` when each ended, ascending.
        failed: `[n]` whether each failed.
        first_s: `[n]` when the first part of the answer arrived; NaN where the answer was not streamed.
        parts: `[n]` number of parts of the answer; 0 where the request was dropped.
        size_in: `[n]` size of the request; NaN where it is not known.
        size_out: `[n]` size of the answer; NaN where it is not known.
        gaps: the gaps between the parts of each answer; None: of none of them is one known.
        limits: the limits that each request has to keep by itself; None: there are none.
    """

    due_s: np.ndarray
    sent_s: np.ndarray
    last_s: np.ndarray
    failed: np.ndarray
    first_s: np.ndarray
    parts: np.ndarray
    size_in: np.ndarray
    size_out: np.ndarray
    gaps: PartGaps | None = None
    limits: RequestLimits | None = None

    def __len__(self) -> int:
        return int(self.last_s.size)

    def last(self, count: int) -> Requests:
        """The last `count` requests; all of them for 0."""
        return self.where(np.arange(len(self)) >= (len(self) - count if count else 0))

    def where(self, which: np.ndarray) -> Requests:
        """Those of the requests that a mask `[n]` selects."""
        columns = {name: getattr(self, name)[which] for name in COLUMNS}
        return self._with(columns, None if self.gaps is None else self.gaps.where(which))

    def and_then(self, later: Requests) -> Requests:
        """These requests and later ones, which have the same limits."""
        columns = {name: np.concatenate([getattr(self, name), getattr(later, name)]) for name in COLUMNS}
        some = self.gaps is not None or later.gaps is not None
        return self._with(columns, self._all_gaps.and_then(later._all_gaps) if some else None)

    def _with(self, columns: Mapping[str, np.ndarray], gaps: PartGaps | None) -> Requests:
        rest: dict[str, Any] = {**columns, "gaps": gaps, "limits": self.limits}
        return Requests(**rest)

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

    @property
    def gaps_s(self) -> np.ndarray:
        """`[m]` all gaps between parts, of the first request first; more or fewer than there are requests."""
        return self._all_gaps.seconds

    @property
    def longest_gap_s(self) -> np.ndarray:
        """`[n]` the longest gap of each request; NaN where it has none."""
        return self._all_gaps.longest_s

    @property
    def tokens_out(self) -> np.ndarray:
        """`[n]` tokens of each answer: as the endpoint counts them, else its parts; NaN where it was not streamed."""
        streamed = np.where(np.isnan(self.first_s), np.nan, self.parts)
        return np.where(np.isnan(self.size_out), streamed, self.size_out)

    @property
    def _all_gaps(self) -> PartGaps:
        return PartGaps.none(len(self)) if self.gaps is None else self.gaps
