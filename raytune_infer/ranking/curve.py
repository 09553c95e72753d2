"""The latency-rate curve of a configuration: its load levels in the order of the requested load."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import TypeVar

from serve_deployments.metrics.level_result import LevelResult, Mode

T = TypeVar("T")


def in_order(levels: Iterable[LevelResult], mode: Mode) -> tuple[LevelResult, ...]:
    """Return the levels of one mode in the order of the requested load, one for each load.

    Of several levels with the same requested load, as when a configuration was measured again, the one with the median
    rate is taken: the highest would be biased upwards by chance.
    """
    same: dict[float, list[LevelResult]] = {}
    for level in levels:
        if level.mode == mode:
            same.setdefault(level.asked, []).append(level)
    return tuple(middle(same[asked], attrgetter("rate_rps")) for asked in sorted(same))


def middle(of: Sequence[T], rate_rps: Callable[[T], float]) -> T:
    """Return the element with the median rate; of an even number the lower of the middle two."""
    return sorted(of, key=rate_rps)[(len(of) - 1) // 2]
