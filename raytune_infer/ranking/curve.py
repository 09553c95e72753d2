"""The latency-rate curve of a configuration: the levels of load that were held, in the order of what was asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from serve_deployments.metrics.level_result import LevelResult, Mode


def in_order(levels: Iterable[LevelResult], mode: Mode) -> tuple[LevelResult, ...]:
    """The levels of one mode by what was asked of them, one for each.

    Of those that asked the same, as when a configuration was measured again, the one of the middle rate stands
    for all. The highest of several would be the luckiest.
    """
    same: dict[float, list[LevelResult]] = {}
    for level in levels:
        if level.mode == mode:
            same.setdefault(level.asked, []).append(level)
    return tuple(middle(same[asked]) for asked in sorted(same))


def middle(levels: Sequence[LevelResult]) -> LevelResult:
    """The one of the middle rate; of two the lower."""
    return sorted(levels, key=lambda level: level.rate_rps)[(len(levels) - 1) // 2]
