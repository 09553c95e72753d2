"""How far one number of the question can move before the answer changes: the ranking asked again, by bisection.

Each step ranks the run's trials under that number, as `recommend` does, so that the two do not contradict each other,
but for an answer that changes and changes back between two steps. On the
way from the number that it has now there are three stretches: where `recommend` names the same configuration and none
that it surely beats now may be better; where the measurements do not tell; and where another one is named and surely
is better. That no level shows a rate within a limit does not mean that there is none, as the run looked elsewhere: so
of a configuration without a rate the most that its levels leave open counts.
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
_STEPS = 32
"""Steps to that factor. Our choice: each takes a ranking, of some hundredths of a second."""
UNSEEN = FARTHEST ** (1 / _STEPS)
"""Factor of each step, 1.067: an answer that changes and changes back within one is not seen."""
_CLOSE = 1.01
"""Ratio of two numbers that are not told apart. Our choice: limits and prices are rarely given more precisely."""


@dataclass(frozen=True)
class Other:
    """A stretch in which another answer surely is better.

    Args:
        start: the number at which it begins, as seen from the number now.
        end: the number up to which it was found to go; None if as far as was looked.
        config: what `recommend` names there; None if nothing can count.
    """

    start: float
    end: float | None
    config: Config | None


@dataclass(frozen=True)
class Turn:
    """Where the answer changes in one direction.

    Args:
        sure_until: up to here `recommend` names the same, and it surely beats all that it surely beats now.
        at: the first number at which `recommend` names another, or none; None if that is farther than was looked.
        then: what it names there; None if nothing surely counts there, or it names no other.
        other: where another surely is better; None if nowhere, as far as was looked.

    Raises:
        ValueError: the numbers are not in order.
    """

    sure_until: float
    at: float | None = None
    then: Config | None = None
    other: Other | None = None

    def __post_init__(self) -> None:
        other = () if self.other is None else (self.other.start, self.other.end)
        ends = [end for end in (self.sure_until, self.at, *other) if end is not None]
        if ends not in (sorted(ends), sorted(ends, reverse=True)):
            raise ValueError(f"a turn needs its numbers in order, got {ends}")


def turn(ask: Ask, now: float, config: Config, *, upwards: bool) -> Turn | None:
    """Return where the answer changes first if a number rises, or falls, from what it is now; None if surely nowhere.

    Args:
        ask: the ranking by the number's value.
        now: the number now, above 0.
        config: the configuration that is recommended now.
        upwards: the direction.
    """
    at = cache(ask)
    factor = UNSEEN if upwards else 1 / UNSEEN
    steps = [now, *(now * factor**step for step in range(1, _STEPS + 1))]
    # Of those that nothing told apart from it before, no price or limit says from where on they may be better.
    behind = [r.config for r in _all(at(now)) if r.config != config and _is_worse(at(now), r, config)]
    sure = _first(steps, lambda number: _named(at(number)) != config or not _beats(at(number), config, behind))
    if sure is None:
        return None
    turned = _first(steps, lambda number: _named(at(number)) != config)
    if turned is None:
        return Turn(sure[0])
    nearer = min if upwards else max
    beyond = [turned[1], *(number for number in steps if abs(number - now) > abs(turned[1] - now))]
    return Turn(nearer(sure[0], turned[1]), turned[1], _named(at(turned[1])), _other(at, beyond, config))


def _other(at: Ask, steps: Sequence[float], config: Config) -> Other | None:
    """Return the first stretch of the steps in which another answer surely is better than a configuration."""
    start = _first(steps, lambda number: _surely_other(at(number), config))
    if start is None:
        return None
    first, other = start[1], _named(at(start[1]))
    rest = [first, *(number for number in steps if abs(number - steps[0]) > abs(first - steps[0]))]
    end = _first(rest, lambda number: _named(at(number)) != other or not _surely_other(at(number), config))
    return Other(first, None if end is None else end[0], other)


def _first(steps: Sequence[float], holds: Callable[[float], bool]) -> tuple[float, float] | None:
    """Return the last number before it holds and the first at which it does, to a hundredth; None if it holds nowhere.

    The two are the same if it holds at the first step.
    """
    place = next((at for at, number in enumerate(steps) if holds(number)), None)
    if not place:
        return None if place is None else (steps[0], steps[0])
    before, after = steps[place - 1], steps[place]
    while max(before, after) > _CLOSE * min(before, after):
        middle = (before * after) ** 0.5
        before, after = (before, middle) if holds(middle) else (middle, after)
    return before, after


def _named(found: Recommendation) -> Config | None:
    """Return the configuration that `recommend` names; None if it names none."""
    return None if found.best is None else found.best.config


def _all(found: Recommendation) -> Sequence[Ranked]:
    return (*found.ranked, *found.others)


def _of(found: Recommendation, config: Config) -> Ranked | None:
    return next((r for r in _all(found) if r.config == config), None)


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
    """Whether what `recommend` names surely is better than this one, or nothing can count any more."""
    mine, best = _of(found, config), found.best
    if best is None:
        return all(not r.could_be for r in _all(found))
    if best.config == config:
        return False
    if mine is None or mine.value is None:
        return (best.value or 0.0) > (0.0 if mine is None else mine.could_be or 0.0)
    return _better(found, best, mine)


def tied(found: Recommendation, config: Config) -> bool:
    """Whether a configuration that counts is not surely worse than this one."""
    return any(not _is_worse(found, r, config) for r in found.ranked if r.config != config)


def _better(found: Recommendation, one: Ranked, other: Ranked) -> bool:
    return surely_better(one, other, found.objective, found.comparison or Comparison((), (), None, None))
