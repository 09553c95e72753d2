"""Measures the time of one batch until the median is precise enough, and rules out batches that are too long."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Value = str | int | float
Row = Mapping[str, Value]
BATCH = "max_batch_size"


@dataclass(frozen=True)
class Patience:
    """The rule for when a point has been measured long enough. Our choice, for twelve models in twelve minutes.

    Args:
        within: half-width of the median's 95 % interval, as a fraction of the median, at which to stop.
        least_s: least seconds to measure.
        most_s: seconds after which to stop, whatever the interval.
        least_batches: least number of batches, even beyond `most_s`.
        batch_limit_s: a batch that is expected to take longer than these seconds is not tried.
    """

    within: float = 0.05
    least_s: float = 0.25
    most_s: float = 1.5
    least_batches: int = 3
    batch_limit_s: float = 2.0

    def __post_init__(self) -> None:
        if not (0 < self.least_s <= self.most_s and self.within > 0 and self.batch_limit_s > 0):
            raise ValueError(f"patience needs 0 < least_s <= most_s and positive limits, got {self}")
        if self.least_batches < 1:
            raise ValueError(f"a point needs 1 batch or more, got {self.least_batches}")


@dataclass(frozen=True)
class Timing:
    """The measured time of a batch: the median, its precision, and the number of batches.

    Args:
        median_s: median seconds per batch.
        spread: half-width of the median's 95 % interval as a fraction of it; infinite for fewer than 6 batches.
        batches: batches measured, without the warm-up.
    """

    median_s: float
    spread: float
    batches: int


def interval(ordered: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the median for any distribution; its ends are two of the values.

    The number of values below the median is binomial(n, 1/2), so ranks n/2 ± 1.96 sqrt(n)/2, rounded outwards, contain
    it (David & Nagaraja 2003, "Order statistics", section 7.1). With fewer than 6 values even the extremes contain it
    too rarely: the interval is the whole line.

    Args:
        ordered: the values, ascending.
    """
    n = len(ordered)
    if n < 6:
        return -math.inf, math.inf
    rank = max(1, math.floor(n / 2 - 0.98 * math.sqrt(n)))
    return ordered[rank - 1], ordered[n - rank]


def timing(times: Sequence[float]) -> Timing:
    ordered = sorted(times)
    n = len(ordered)
    median, (low, high) = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2, interval(ordered)
    return Timing(median, (high - low) / 2 / median, n)


def measure(run: Callable[[], object], clock: Callable[[], float], patience: Patience) -> Timing:
    """Runs batches until the median is precise enough or the time is up; the warm-up is not counted.

    Args:
        run: runs one batch and returns when its result is there.
        clock: monotonic clock in seconds.
        patience: the rule for when to stop.
    """
    # The first batch of a shape prepares its kernels; a few more, where they are short, fill the caches.
    warm_until = clock() + patience.least_s / 5
    run()
    while clock() < warm_until:
        run()
    times: list[float] = []
    start = now = clock()
    look = patience.least_s
    while True:
        run()
        before, now = now, clock()
        times.append(now - before)
        if len(times) < patience.least_batches or now - start < look:
            continue
        if now - start >= patience.most_s or timing(times).spread <= patience.within:
            return timing(times)
        # Sorting takes time, so not after each batch; the clock is read again so that no batch includes that time.
        look = min(patience.most_s, now - start + patience.least_s / 2)
        start += (after := clock()) - now
        now = after


def expected_s(config: Row, rows: Sequence[Row]) -> float | None:
    """Seconds that a batch is expected to take if each item is as fast as in the fastest smaller batch.

    The fastest rather than the nearest one, so that one disturbed point does not rule out all larger batches.

    Args:
        config: the configuration, with its batch size.
        rows: measured rows, of which only those with the same other knobs are used. A failed row has no `latency_ms`.

    Returns:
        The seconds; None where no smaller batch was measured.
    """
    others = {name: value for name, value in config.items() if name != BATCH}
    seconds_an_item = [
        float(row["latency_ms"]) / 1e3 / float(row[BATCH])
        for row in rows
        if "latency_ms" in row and float(row[BATCH]) < float(config[BATCH]) and others.items() <= row.items()
    ]
    return min(seconds_an_item) * float(config[BATCH]) if seconds_an_item else None


def left_out(config: Row, rows: Sequence[Row], patience: Patience) -> bool:
    """Whether a configuration is not tried because a batch would take too long."""
    expected = expected_s(config, rows)
    return expected is not None and expected > patience.batch_limit_s
