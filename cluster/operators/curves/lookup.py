"""What measured points say of a call: measured, between measured batches, beyond them, or as of similar operators."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cluster.operators.curves.point import Point, Resources
from cluster.operators.operator_call import Work
from cluster.operators.scaling import OperatorClass

How = Literal["measured", "interpolated", "extrapolated", "similar"]

_BETWEEN = 0.05
"""Relative error that an interpolated time has on top of that of its neighbours. Our choice."""
_OCTAVE = 0.15
"""Relative error for each doubling of the batch beyond the last that was measured. Our choice."""
_SLOPES = (0.0, 1.2)
"""Least and largest power of the batch with which time is taken to grow beyond what was measured."""
_NEIGHBOURS = 3
_FEWEST = 4
"""Fewest points of a kind from which the error of similar operators can be told."""
_UNKNOWN = 1.0
"""Relative error where it cannot: a factor of two."""


@dataclass(frozen=True)
class Estimate:
    """A call's time as the points have it.

    Args:
        seconds: the time.
        error: half of its 95 % interval, as a part of it.
        how: where it comes from.
    """

    seconds: float
    error: float
    how: How


class Curves:
    """Points of resource curves, and what they say of any call.

    Args:
        points: the points; of two of the same the later counts.
    """

    def __init__(self, points: Iterable[Point] = ()) -> None:
        self._curves: dict[Hashable, dict[int, Point]] = {}
        self._kinds: dict[Hashable, list[tuple[float, float, float]]] = {}
        latest = {(point.operator, point.resources): point for point in points}
        self.points: tuple[Point, ...] = tuple(latest.values())
        for point in self.points:
            self._curves.setdefault(_curve(point.operator, point.resources), {})[point.resources.batch] = point
            if (amount := _amount(_work(point.operator, point.resources))) is not None:
                of_kind = self._kinds.setdefault(_kind(point.operator, point.resources), [])
                of_kind.append((*amount, math.log2(point.time.mean_s)))

    def time(self, operator: OperatorClass, resources: Resources) -> Estimate | None:
        """Returns what is known of a call; None if no point of its kind has these resources."""
        curve = self._curves.get(_curve(operator, resources))
        if curve is None:
            return self._similar(operator, resources)
        if (point := curve.get(resources.batch)) is not None:
            return Estimate(point.time.mean_s, point.time.error, "measured")
        batches = sorted(curve)
        if len(batches) < 2:
            return self._similar(operator, resources)
        x = np.log2(batches)
        y = np.log2([curve[batch].time.mean_s for batch in batches])
        error = max(curve[batch].time.error for batch in batches)
        at = math.log2(resources.batch)
        if x[0] <= at <= x[-1]:
            return Estimate(2 ** float(np.interp(at, x, y)), error + _BETWEEN, "interpolated")
        end, inner = (0, 1) if at < x[0] else (-1, -2)
        slope = float(np.clip((y[end] - y[inner]) / (x[end] - x[inner]), *_SLOPES))
        distance = at - float(x[end])
        return Estimate(2 ** (float(y[end]) + slope * distance), error + _OCTAVE * abs(distance), "extrapolated")

    def _similar(self, operator: OperatorClass, resources: Resources) -> Estimate | None:
        """What operators of the same kind with about as much work took, each in proportion to its work."""
        points = self._kinds.get(_kind(operator, resources))
        amount = _amount(_work(operator, resources))
        if not points or amount is None:
            return None
        table = np.array(points)
        seconds = 2 ** _in_proportion(table, amount)
        if len(points) < _FEWEST:
            return Estimate(seconds, _UNKNOWN, "similar")
        # How far each point lies from what the others say of it.
        off = [
            float(row[2]) - _in_proportion(np.delete(table, at, 0), (row[0], row[1])) for at, row in enumerate(table)
        ]
        spread = float(np.sqrt(np.mean(np.square(off))))
        return Estimate(seconds, 2 ** (1.96 * spread) - 1, "similar")


def _in_proportion(table: np.ndarray, amount: Sequence[float]) -> float:
    """log2 of the seconds: the nearest points, each in proportion to its work, the nearer the more.

    Args:
        table: `[n, 3]` log2 of work, of bytes and of seconds.
        amount: log2 of the work and the bytes that are asked for.
    """
    distance = np.hypot(table[:, 0] - amount[0], table[:, 1] - amount[1])
    nearest = np.argsort(distance, kind="stable")[:_NEIGHBOURS]
    # Work is what takes the time of large operators, bytes that of those without any.
    scaled = table[nearest, 2] + (amount[0] - table[nearest, 0] + amount[1] - table[nearest, 1]) / 2
    weight = 1 / (distance[nearest] + 0.1)
    return float(np.sum(weight * scaled) / np.sum(weight))


def _work(operator: OperatorClass, resources: Resources) -> Work:
    return operator.work(resources.batch, resources.precision)


def _amount(work: Work) -> tuple[float, float] | None:
    """log2 of work and bytes; what has no work of its own counts its bytes twice."""
    if work.moved_bytes <= 0:
        return None
    return math.log2(work.flops if work.flops > 0 else work.moved_bytes), math.log2(work.moved_bytes)


def _without_batch(resources: Resources) -> Hashable:
    return resources.precision, resources.cpu_cores, resources.threads, resources.placement


def _curve(operator: OperatorClass, resources: Resources) -> Hashable:
    return operator, _without_batch(resources)


def _kind(operator: OperatorClass, resources: Resources) -> Hashable:
    return operator.kind, _without_batch(resources)
