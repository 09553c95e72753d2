"""A batch as a profiler has seen it: calls of operators, and the time in which none ran."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cluster.operators.operator_call import OperatorCall


@dataclass(frozen=True)
class Trace:
    """One batch of a model, operator by operator.

    Args:
        batch: number of payloads.
        calls: the calls in order, each with what it calls itself.
        traced_s: seconds of the batch under the profiler, which takes time itself.
        outside_s: seconds of them in which no operator ran.
        dispatch_s: seconds of them that operators took which only call others.
        peak_bytes: largest memory that the batch allocated; what was held before it is not counted.
        device: "cpu" or "cuda": where the time of the calls was spent.

    Raises:
        ValueError: the batch is empty, or a time is negative.
    """

    batch: int
    calls: tuple[OperatorCall, ...]
    traced_s: float
    outside_s: float = 0.0
    dispatch_s: float = 0.0
    peak_bytes: float = 0.0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.batch < 1 or min(self.traced_s, self.outside_s, self.dispatch_s, self.peak_bytes) < 0:
            raise ValueError(f"a trace needs a batch of 1 or more, and times and bytes of 0 or more, got {self}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the calls, in order."""
        return tuple(call.name for call in self.calls)


def median_of(traces: Sequence[Trace]) -> Trace:
    """Returns a trace with the median times of several traces of one batch; the last of them if their calls differ.

    Raises:
        ValueError: there is none.
    """
    if not traces:
        raise ValueError("one or more traces are needed")
    last = traces[-1]
    if any(each.names != last.names for each in traces):
        return last
    times = zip(*([call.time_s for call in each.calls] for each in traces), strict=True)
    calls = tuple(replace(call, time_s=statistics.median(seen)) for call, seen in zip(last.calls, times, strict=True))
    whole = {
        name: statistics.median(getattr(each, name) for each in traces)
        for name in ("traced_s", "outside_s", "dispatch_s")
    }
    return replace(last, calls=calls, **whole)
