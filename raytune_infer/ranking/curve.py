"""The latency-rate curve of a configuration: the levels of load that were held, in the order of what was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import TypeVar

from serve_deployments.metrics.level_result import LevelResult, Mode

T = TypeVar("T")


def in_order(levels: Iterable[LevelResult], mode: Mode) -> tuple[LevelResult, ...]:
    """The levels of one mode by what was asked of them, one for each.

    Of those that asked the same, as when a configuration was measured again, the one of the middle rate stands
    for all. The highest of several would be the luckiest.
    """
    same: dict[float, list[LevelResult]] = {}
    for level in levels:
        if level.mode == mode:
            same.setdefault(level.asked, []).append(level)
    return tuple(middle(same[asked], attrgetter("rate_rps")) for asked in sorted(same))


def middle(of: Sequence[T], rate_rps: Callable[[T], float]) -> T:
    """The one of the middle rate; of two the lower."""
    return sorted(of, key=rate_rps)[(len(of) - 1) // 2]
