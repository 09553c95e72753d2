"""What a replay comes to: times, hits, conversions, cold starts and bytes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from benchmarks.transform.replay.simulation import Served


@dataclass(frozen=True)
class Outcome:
    """A replay in figures; times are NaN where no request counts.

    Args:
        requests: number of requests that count.
        mean_s: mean service time, from arrival to answer.
        p99_s: its 99th percentile, linear between the nearest two.
        hits: requests whose replica held the model.
        conversions: requests for which a replica became the model.
        cold_starts: requests for which a replica was started.
        bytes_moved: bytes of weights that were read or copied.
    """

    requests: int
    mean_s: float
    p99_s: float
    hits: int
    conversions: int
    cold_starts: int
    bytes_moved: int

    @classmethod
    def of(cls, served: Iterable[Served], from_s: float = -math.inf) -> Self:
        """The outcome of the requests that came at `from_s` or later."""
        counted = [each for each in served if each.arrived_s >= from_s]
        times = np.array([each.service_s for each in counted])
        kinds = Counter(each.kind for each in counted)
        mean_s, p99_s = (float(times.mean()), float(np.percentile(times, 99))) if counted else (math.nan, math.nan)
        moved = sum(each.bytes_moved for each in counted)
        return cls(len(counted), mean_s, p99_s, kinds["hit"], kinds["convert"], kinds["start"], moved)
