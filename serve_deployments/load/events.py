"""What happens in a level, in order: all that a decision about it rests on, wherever the load was sent from."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np

from serve_deployments.metrics.request_record import RequestRecord, Requests

_COLUMNS = ("due_s", "sent_s", "last_s", "first_s", "parts", "size_in", "size_out")


@dataclass(frozen=True)
class Span:
    """The requests that ended after `start_s`, up to `end_s`, and how the client did meanwhile.

    Args:
        requests: they, in the order of their ends.
        in_flight: `[n]` how many requests were due and had not ended, just before each did.
        lag_s: how late the client was, each time it was due.
        cpu_share: CPU seconds of the client per second; of several senders, of the busiest.
    """

    start_s: float
    end_s: float
    requests: Requests
    in_flight: np.ndarray
    lag_s: np.ndarray
    cpu_share: float

    @property
    def duration_s(self) -> float:
        """Its length."""
        return max(self.end_s - self.start_s, 1e-9)

    @property
    def ended_s(self) -> np.ndarray:
        """`[n]` when each ended, ascending."""
        return self.requests.last_s

    @property
    def answered(self) -> np.ndarray:
        """`[n]` which requests were answered."""
        return ~self.requests.failed


@dataclass
class Events:
    """The record of one level, written as it is held.

    Args:
        start_s: when the level began.
        first_error: what the first request that failed did so with; None if none has.
    """

    start_s: float
    first_error: str | None = None
    in_flight: array[float] = field(default_factory=lambda: array("d"))
    late: tuple[array[float], array[float]] = field(default_factory=lambda: (array("d"), array("d")))
    cpu: dict[int, tuple[array[float], array[float]]] = field(default_factory=dict)  # of each sender
    _columns: dict[str, array[float]] = field(default_factory=lambda: {name: array("d") for name in _COLUMNS})
    _failed: array[int] = field(default_factory=lambda: array("b"))
    _new: list[RequestRecord] = field(default_factory=list)  # not in the columns yet

    @property
    def count(self) -> int:
        """How many requests have ended."""
        return len(self.in_flight)

    def end(self, request: RequestRecord, in_flight: int) -> None:
        """A request was answered, or failed; `in_flight` still counts it."""
        self._new.append(request)
        self.in_flight.append(in_flight)
        if request.error is not None and self.first_error is None:
            self.first_error = request.error

    def requests(self, first: int = 0, last: int | None = None) -> Requests:
        """The requests that have ended, from number `first` (0, 1, …) to before number `last`; all unless given."""
        columns = {name: np.array(column[first:last]) for name, column in self._filled().items()}
        return Requests(failed=np.array(self._failed[first:last], dtype=bool), **columns)

    def _filled(self) -> dict[str, array[float]]:
        """The columns with all that has happened: rows are put in together, which costs less than one by one."""
        if self._new:
            for name, column in self._columns.items():
                column.extend([getattr(request, name) for request in self._new])
            self._failed.extend([request.error is not None for request in self._new])
            self._new.clear()
        return self._columns

    def lag(self, now_s: float, late_s: float) -> None:
        """The client did something so late."""
        self.late[0].append(now_s)
        self.late[1].append(late_s)

    def read_cpu(self, now_s: float, cpu_s: float, sender: int = 0) -> None:
        """A sender's process has used so many CPU seconds by now."""
        times_s, used_s = self.cpu.setdefault(sender, (array("d"), array("d")))
        times_s.append(now_s)
        used_s.append(cpu_s)

    @property
    def turned_over(self) -> int:
        """How many requests ended until as many had as were in flight when the first did; 0: not so far.

        The server has then turned over once under the level's load.
        """
        first = int(self.in_flight[0]) if self.in_flight else 1
        return first if self.count >= first else 0

    def span(self, first: int = 0, last: int | None = None, *, until_s: float | None = None) -> Span:
        """From the end of request number `first` (1, 2, …; 0: from the start) to that of number `last`.

        Args:
            first: its own end is not in the span.
            last: the last whose end is; the newest unless given.
            until_s: the span's end where it is not that of a request.
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
            cpu_share=max((_cpu_share(*readings, start_s, end_s) for readings in self.cpu.values()), default=0.0),
        )


def _cpu_share(times: array[float], used: array[float], start_s: float, end_s: float) -> float:
    times_s, used_s = np.array(times), np.array(used)
    inside = np.flatnonzero((times_s >= start_s) & (times_s <= end_s))
    # Readings stand up to a tick beside the span's ends; of a span shorter than that, the level's own.
    at = inside[[0, -1]] if inside.size > 1 else np.array([0, -1]) if times_s.size > 1 else None
    if at is None:
        return 0.0
    return float(np.diff(used_s[at])[0] / max(np.diff(times_s[at])[0], 1e-9))
