"""When is a level steady, when is it overloaded? Answers counted into windows; no clock, no requests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from serve_deployments.plan import LoadPlan

_PAUSE_S = 0.05  # answers of one batch reach the client within a few ms of each other
_LOOKED_FOR_S = 0.2  # several pauses long: in a flow without any, the cut is then made anyway
_CHANCE = 2.0  # standard errors that windows of the same steady state may lie apart, beyond the tolerance
_KEPT_UP = 0.95  # share of the requested rate that must be achieved


@dataclass(frozen=True)
class Window:
    """What happened between two cuts.

    Args:
        latencies_s: of the requests answered.
        in_flight: requests due and not ended, (at its start, at its end).
        lags_s: how late the client was, each time it was due.
        cpu_share: CPU seconds of the client per second.
    """

    start_s: float
    end_s: float
    latencies_s: tuple[float, ...]
    errors: int
    in_flight: tuple[int, int]
    lags_s: tuple[float, ...]
    cpu_share: float

    @property
    def rate_rps(self) -> float:
        """Answers per second."""
        return len(self.latencies_s) / (self.end_s - self.start_s)

    @property
    def mean_s(self) -> float:
        """Mean latency; 0 if nothing was answered."""
        return math.fsum(self.latencies_s) / max(1, len(self.latencies_s))

    @property
    def standard_error_s(self) -> float:
        """Of the mean latency, as if the requests were independent."""
        count, mean_s = len(self.latencies_s), self.mean_s
        variance = math.fsum((x - mean_s) ** 2 for x in self.latencies_s) / max(1, count - 1)
        return math.sqrt(variance / max(1, count))


@dataclass
class Windows:
    """Cuts a level into windows as its answers come in.

    Warm-up lasts until as many requests have ended as were in flight when the first did: the server has
    then turned over once at the measured load. Whatever windows precede the steady ones are warm-up too.

    A window is cut at a pause between answers, at the last answer before it. A server that batches answers
    in bursts, and a cut through a burst would make its rate jump by a batch from window to window.

    Args:
        plan: lengths and tolerances.
        start_s: when the level began.
        start_cpu_s: CPU seconds that the client had used by then.
        rate_rps: rate of an open level; None: closed.
    """

    plan: LoadPlan
    start_s: float
    start_cpu_s: float = 0.0
    rate_rps: float | None = None
    closed: list[Window] = field(default_factory=list)
    _warmup_left: int | None = None
    _ended: list[tuple[float, float | None]] = field(default_factory=list)
    _lags_s: list[float] = field(default_factory=list)
    _cut: tuple[float, int] | None = None  # time and number in flight where the open window begins
    _read: tuple[float, float] = (0.0, 0.0)  # time and CPU seconds when the last cut was made
    _ready_s: float | None = None

    def lag(self, late_s: float) -> None:
        """The client did something so late."""
        self._lags_s.append(late_s)

    def end(self, now_s: float, latency_s: float | None, in_flight: int) -> None:
        """A request was answered, or failed (None); `in_flight` still counts it."""
        if self._warmup_left is None:
            self._warmup_left = in_flight
        self._warmup_left -= 1
        self._ended.append((now_s, latency_s))

    def tick(self, now_s: float, in_flight: int, cpu_s: float) -> bool:
        """Ends the warm-up or the window if it is due; True if a window was closed.

        To be called every few milliseconds.
        """
        if not self._ended or not self._is_due():
            return False
        self._ready_s = now_s if self._ready_s is None else self._ready_s
        began_s = self._cut[0] if self._cut else self.start_s
        times = [began_s, *(ended_s for ended_s, _ in self._ended)]
        longest_s = max(b - a for a, b in zip(times, times[1:], strict=False))
        paused = now_s - times[-1] >= min(longest_s / 2, _PAUSE_S)
        if not paused and now_s - self._ready_s < _LOOKED_FOR_S:
            return False
        warm = self._cut is not None
        if warm:
            self.closed.append(self.open_window(now_s, in_flight, cpu_s))
        self._begin(times[-1], now_s, in_flight, cpu_s)
        return warm

    def _is_due(self) -> bool:
        if self._cut is None:
            return self._warmup_left is not None and self._warmup_left <= 0
        lasted = self._ended[-1][0] - self._cut[0] >= self.plan.window_s - 1e-9
        return lasted and len(self._ended) >= self.plan.window_requests

    def _begin(self, start_s: float, now_s: float, in_flight: int, cpu_s: float) -> None:
        self._cut, self._read, self._ready_s = (start_s, in_flight), (now_s, cpu_s), None
        self._ended, self._lags_s = [], []

    def open_window(self, now_s: float, in_flight: int, cpu_s: float) -> Window:
        """What has happened since the last cut, up to the last answer; up to now if there was none."""
        start_s, before = self._cut or (self.start_s, 0)
        read_s, read_cpu_s = self._read if self._cut else (self.start_s, self.start_cpu_s)
        answered = [latency_s for _, latency_s in self._ended if latency_s is not None]
        end_s = self._ended[-1][0] if self._ended else now_s
        return Window(
            start_s=start_s,
            end_s=max(end_s, start_s + 1e-9),
            latencies_s=tuple(answered),
            errors=len(self._ended) - len(answered),
            in_flight=(before, in_flight),
            lags_s=tuple(self._lags_s),
            cpu_share=(cpu_s - read_cpu_s) / max(now_s - read_s, 1e-9),
        )

    @property
    def measured(self) -> list[Window]:
        """The closed windows that count: the last few."""
        return self.closed[-self.plan.steady_windows :]

    @property
    def enough(self) -> bool:
        """As many windows as the plan asks for agree in rate and mean latency.

        The allowance for chance keeps small windows of a random load from being taken for a drift: twice
        the standard error of the mean latency, and of a Poisson count for the rate.
        """
        last = self.measured
        if len(last) < self.plan.steady_windows:
            return False
        counts = [len(w.latencies_s) for w in last]
        by_chance = 0.0
        if self.rate_rps is not None and self.plan.arrivals == "poisson":
            by_chance = self.rate_rps / math.sqrt(max(1, min(counts)))
        return self._agree([w.rate_rps for w in last], by_chance) and self._agree(
            [w.mean_s for w in last], max(w.standard_error_s for w in last)
        )

    def _agree(self, values: Sequence[float], standard_error: float) -> bool:
        low, high = min(values), max(values)
        return high - low <= self.plan.tolerance * low + _CHANCE * standard_error

    @property
    def queue_grows(self) -> bool:
        """An open level is beyond the server's capacity: it achieves less than 95 % of what is due.

        That is to say, since the warm-up more than 5 % of what arrived has piled up, beyond one standard
        deviation of what chance adds to a queue at its capacity (the square root of the arrivals).
        """
        if self.rate_rps is None or len(self.closed) < 2:
            return False
        arrived = self.rate_rps * (self.closed[-1].end_s - self.closed[0].start_s)
        piled_up = self.closed[-1].in_flight[1] - self.closed[0].in_flight[0]
        return piled_up > (1 - _KEPT_UP) * arrived + math.sqrt(arrived)

    @property
    def queue_keeps_growing(self) -> bool:
        """It grows, and did so in each of the last windows: no need to wait for it to become steady."""
        return self.queue_grows and all(w.in_flight[1] > w.in_flight[0] for w in self.measured)
