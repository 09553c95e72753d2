"""How far one number of the question can move before the answer changes: the ranking asked again, by bisection.

Each step ranks the run's trials under that number, as `recommend` does. The answer turns where a configuration that
was behind the recommended one comes before it, or that one keeps the limits no more. How sure that is follows from the
intervals of the two: between the number up to which no other may be better and the one from which on another surely
is, the measurements do not tell. `recommend` asks for more than that: it keeps the default until another is surely
better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from raytune_infer.comparing.comparison import Comparison
from raytune_infer.ranking.ranked import Ranked, surely_better
from raytune_infer.ranking.recommendation import Recommendation
from searchers.space import Config

Ask = Callable[[float], Recommendation]
"""The ranking when the number has this value."""

FARTHEST = 8.0
"""Factor by which a number is moved at most, up or down. Our choice: beyond it levels of load say nothing any more."""
_STEPS = 12
"""Steps to that factor, of 1.19 each: an answer that changes and changes back within one is not seen. Our choice."""
_CLOSE = 1.01
"""Ratio of two numbers that are not told apart. Our choice: limits and prices are rarely given more precisely."""


@dataclass(frozen=True)
class Turn:
    """Where the answer changes in one direction.

    Args:
        at: the number at which another comes first, as it was measured; None if that is farther than was looked.
        sure_until: up to here it is surely better than all that it is surely better than now.
        other_from: from here on another surely is better; None if that is farther than was looked.
        then: what comes first beyond; None if nothing counts there, or it does not change.

    Raises:
        ValueError: the three are not in order.
    """

    at: float | None
    sure_until: float
    other_from: float | None
    then: Config | None

    def __post_init__(self) -> None:
        ends = [end for end in (self.sure_until, self.at, self.other_from) if end is not None]
        if ends not in (sorted(ends), sorted(ends, reverse=True)):
            raise ValueError(f"a turn needs its three numbers in order, got {ends}")


def turn(ask: Ask, now: float, config: Config, *, upwards: bool) -> Turn | None:
    """Return where the answer changes first if a number rises, or falls, from what it is now; None if surely nowhere.

    Args:
        ask: the ranking by the number's value.
        now: the number now, above 0.
        config: the configuration that is recommended now.
        upwards: the direction.
    """
    at = cache(ask)
    factor = FARTHEST ** ((1 if upwards else -1) / _STEPS)
    steps = [now, *(now * factor**step for step in range(1, _STEPS + 1))]
    # Those that were ahead all along, by what the final comparison has shown to be luck, change nothing.
    ahead = [other for number in (now, now * factor**0.01) for other in _ahead(at(number), config, ())]
    # Of those that nothing told apart from it before, no price or limit says from where on they may be better.
    behind = [r.config for r in _all(at(now)) if r.config != config and _is_worse(at(now), r, config)]
    turned = _from(steps, lambda number: bool(_ahead(at(number), config, ahead)) or _is_out(at(number), config))
    sure = _from(steps, lambda number: not _beats(at(number), config, behind))
    if turned is None:
        return None if sure is None else Turn(None, sure, None, None)
    then = max(at(turned).ranked, key=lambda r: r.value or 0.0, default=None)
    if then is not None and then.config not in behind:
        sure = now
    other = _from(steps, lambda number: _surely_other(at(number), config))
    nearer, farther = (min, max) if upwards else (max, min)
    return Turn(
        turned, turned if sure is None else nearer(sure, turned), None if other is None else farther(other, turned),
        None if then is None else then.config,
    )  # fmt: skip


def _from(steps: Sequence[float], holds: Callable[[float], bool]) -> float | None:
    """Return the number from which on it holds, to within a hundredth; None if it holds at none of the steps."""
    place = next((at for at, number in enumerate(steps) if holds(number)), None)
    if not place:
        return None if place is None else steps[0]
    before, after = steps[place - 1], steps[place]
    while max(before, after) > _CLOSE * min(before, after):
        middle = (before * after) ** 0.5
        before, after = (before, middle) if holds(middle) else (middle, after)
    return after


def _all(found: Recommendation) -> Sequence[Ranked]:
    return (*found.ranked, *found.others)


def _of(found: Recommendation, config: Config) -> Ranked | None:
    return next((r for r in _all(found) if r.config == config), None)


def _possible(r: Ranked | None) -> float:
    """Return the value as it was measured; where no rate surely keeps the limits, the largest that levels leave open.

    That no level shows a rate within a limit does not mean that there is none: the run looked elsewhere.
    """
    return 0.0 if r is None else r.could_be or 0.0 if r.value is None else r.value


def _ahead(found: Recommendation, config: Config, known: Sequence[Config]) -> list[Config]:
    """Return the configurations that are better than this one, as they were measured, but for those that are known."""
    value = _possible(_of(found, config))
    return [r.config for r in found.ranked if (r.value or 0.0) > value and r.config not in known]


def _is_out(found: Recommendation, config: Config) -> bool:
    """Whether it cannot count any more."""
    return _possible(_of(found, config)) == 0.0


def _is_worse(found: Recommendation, other: Ranked, config: Config) -> bool:
    """Whether another is surely worse than this one: by the intervals of both, or by the most that it could be."""
    mine = _of(found, config)
    if mine is None or mine.value is None:
        return False
    return (other.could_be or 0.0) < mine.value if other.value is None else _better(found, mine, other)


def _beats(found: Recommendation, config: Config, behind: Sequence[Config]) -> bool:
    """Whether it counts and none of these may be better, as far as the intervals tell."""
    mine = _of(found, config)
    if mine is None or mine.value is None:
        return False
    return all(_is_worse(found, r, config) for r in _all(found) if r.config in behind)


def _surely_other(found: Recommendation, config: Config) -> bool:
    """Whether another is surely better, or it cannot count any more."""
    mine = _of(found, config)
    if mine is None or mine.value is None:
        most = _possible(mine)
        return most == 0.0 or any((r.value or 0.0) > most for r in found.ranked)
    return any(_better(found, r, mine) for r in found.ranked if r is not mine)


def _better(found: Recommendation, one: Ranked, other: Ranked) -> bool:
    return surely_better(one, other, found.objective, found.comparison or Comparison((), (), None, None))
