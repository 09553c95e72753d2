"""The record of a level's events, in order: the input of every decision about it, whichever process sent the load."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np

from serve_deployments.metrics.part_gaps import PartGaps
from serve_deployments.metrics.request_limits import RequestLimits
from serve_deployments.metrics.request_record import COLUMNS, RequestRecord, Requests

_NAMED = 20  # largest number of failing samples that a level names (our choice)
_COLUMNS = tuple(name for name in COLUMNS if name != "failed")


@dataclass(frozen=True)
class Span:
    """The requests that ended after `start_s`, up to `end_s`, and the load of the client meanwhile.

    Args:
        start_s: start of the span, in seconds of the record's clock.
        end_s: end of the span.
        requests: the requests, in the order of their ends.
        in_flight: `[n]` number of requests that were due and had not ended, just before each one ended.
        lag_s: `[k]` how late the client was, each time that it had something to do.
        cpu_share: CPU seconds of the client per second; with several senders, those of the busiest.
        first: number of requests of the level that ended before them.
    """

    start_s: float
    end_s: float
    requests: Requests
    in_flight: np.ndarray
    lag_s: np.ndarray
    cpu_share: float
    first: int = 0

    @property
    def duration_s(self) -> float:
        """Length of the span in seconds."""
        return max(self.end_s - self.start_s, 1e-9)

    @property
    def ended_s(self) -> np.ndarray:
        """`[n]` when each request ended, ascending."""
        return self.requests.last_s

    @property
    def answered(self) -> np.ndarray:
        """`[n]` which requests were answered."""
        return ~self.requests.failed


@dataclass
class Events:
    """The record of one level, written while it is held.

    Args:
        start_s: when the level began.
        first_error: error of the first request that failed; None if none has.
        errors_of: sample → the first error of a request with it, or None if one was answered.
        in_flight: for each request that has ended, how many were in flight just before.
        late: times, and how late the client was at each of them.
        cpu: sender → times, and CPU seconds that its process had used by each of them.
        limits: the limits that each request has to keep by itself; None: there are none.
    """

    start_s: float
    first_error: str | None = None
    errors_of: dict[int, str | None] = field(default_factory=dict)
    in_flight: array[float] = field(default_factory=lambda: array("d"))
    late: tuple[array[float], array[float]] = field(default_factory=lambda: (array("d"), array("d")))
    cpu: dict[int, tuple[array[float], array[float]]] = field(default_factory=dict)
    limits: RequestLimits | None = None
    _columns: dict[str, array[float]] = field(default_factory=lambda: {name: array("d") for name in _COLUMNS})
    _failed: array[int] = field(default_factory=lambda: array("b"))
    # The gaps between parts, four bytes each, which is all that grows with the length of answers; and where those of
    # each request end.
    _gaps: array[float] = field(default_factory=lambda: array("f"))
    _gaps_end: array[int] = field(default_factory=lambda: array("q"))
    _new: list[RequestRecord] = field(default_factory=list)  # not in the columns yet

    @property
    def count(self) -> int:
        """Number of requests that have ended."""
        return len(self.in_flight)

    def end(self, request: RequestRecord, in_flight: int) -> None:
        """Records that a request was answered, or failed; `in_flight` still counts it."""
        self._new.append(request)
        self.in_flight.append(in_flight)
        if request.error is not None and self.first_error is None:
            self.first_error = request.error
        if request.sample is not None:
            if request.error is None:
                self.errors_of[request.sample] = None
            else:
                self.errors_of.setdefault(request.sample, request.error)

    @property
    def failed_samples(self) -> tuple[tuple[int, str], ...]:
        """Samples of which no request was answered, with the first error of each; empty if that is so of all."""
        failed = [(sample, error) for sample, error in sorted(self.errors_of.items()) if error is not None]
        return tuple(failed[:_NAMED]) if len(failed) < len(self.errors_of) else ()

    def requests(self, first: int = 0, last: int | None = None) -> Requests:
        """The requests that have ended, from number `first` (0, 1, …) up to but without `last`; all by default."""
        columns = {name: np.array(column[first:last]) for name, column in self._filled().items()}
        failed = np.array(self._failed[first:last], dtype=bool)
        return Requests(failed=failed, **columns, gaps=self._gaps_of(first, failed.size), limits=self.limits)

    def _gaps_of(self, first: int, count: int) -> PartGaps | None:
        """The gaps of `count` requests from number `first` on; None where no request of the level has any."""
        if not self._gaps:
            return None
        if not count:
            return PartGaps.none(0)
        ends = np.array(self._gaps_end[first : first + count], dtype=int)
        before = int(self._gaps_end[first - 1]) if first else 0
        seconds = np.array(self._gaps[before : int(ends[-1])], dtype=np.float32)
        return PartGaps(seconds, np.diff(ends, prepend=before))

    def dropped_after(self, count: int) -> Requests:
        """Those of the requests after the first `count` to end that were dropped: they were under way already."""
        later = self.requests(count)
        return later.where(later.dropped)

    def _filled(self) -> dict[str, array[float]]:
        """The columns with all requests so far; new ones are added together, which is cheaper than one by one."""
        if self._new:
            for name, column in self._columns.items():
                column.extend([getattr(request, name) for request in self._new])
            self._failed.extend([request.error is not None for request in self._new])
            for request in self._new:
                self._gaps.extend(request.gaps_s)
                self._gaps_end.append(len(self._gaps))
            self._new.clear()
        return self._columns

    def lag(self, now_s: float, late_s: float) -> None:
        """Records that the client acted `late_s` seconds late."""
        self.late[0].append(now_s)
        self.late[1].append(late_s)

    def read_cpu(self, now_s: float, cpu_s: float, sender: int = 0) -> None:
        """Records how many CPU seconds a sender's process has used by now."""
        times_s, used_s = self.cpu.setdefault(sender, (array("d"), array("d")))
        times_s.append(now_s)
        used_s.append(cpu_s)

    @property
    def turned_over(self) -> int:
        """Number of requests in flight when the first one ended, once as many have ended; 0 before that.

        The server has then turned over its requests once under the level's load: the minimum warm-up.
        """
        first = int(self.in_flight[0]) if self.in_flight else 1
        return first if self.count >= first else 0

    def span(self, first: int = 0, last: int | None = None, *, until_s: float | None = None) -> Span:
        """The span from the end of request number `first` (1, 2, …; 0: from the start) to the end of number `last`.

        Args:
            first: the request at whose end the span begins; it is not part of the span.
            last: the last request of the span; the newest by default.
            until_s: end of the span, if it is not the end of a request.
        """
        last = self.count if last is None else last
        ended_s = self._filled()["last_s"]
        start_s = ended_s[first - 1] if first else self.start_s
        end_s = until_s if until_s is not None else ended_s[last - 1] if last > first else start_s
        late_s, lag_s = (np.array(column) for column in self.late)
        return Span(
            start_s=start_s,
            end_s=end_s,
            requests=self.requests(first, last),
            in_flight=np.array(self.in_flight[first:last]),
            lag_s=lag_s[(late_s >= start_s) & (late_s <= end_s)],
            first=first,
            cpu_share=max((_cpu_share(*readings, start_s, end_s) for readings in self.cpu.values()), default=0.0),
        )


def _cpu_share(times: array[float], used: array[float], start_s: float, end_s: float) -> float:
    times_s, used_s = np.array(times), np.array(used)
    inside = np.flatnonzero((times_s >= start_s) & (times_s <= end_s))
    # Readings lie up to a tick away from the span's ends; for a span shorter than that, those of the whole level count.
    at = inside[[0, -1]] if inside.size > 1 else np.array([0, -1]) if times_s.size > 1 else None
    if at is None:
        return 0.0
    return float(np.diff(used_s[at])[0] / max(np.diff(times_s[at])[0], 1e-9))
