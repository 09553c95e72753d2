"""How far one number of the question can move before the answer changes: the ranking asked again, by bisection.

Each step ranks the run's trials under that number, as `recommend` does, so that the two do not contradict each other,
but for an answer that changes and changes back between two steps; computed places (`price_places`) leave no room for
that. On the way from the number that it has now there are three stretches: where `recommend` names the same
configuration and none that it surely beats now may be better; where the measurements do not tell; and where another one
is named and surely is better. That no level shows a rate within a limit does not mean that there is none, as the run
looked elsewhere: so of a configuration without a rate the most that its levels leave open counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from raytune_infer.ranking.recommendation import Recommendation
from raytune_infer.report.whole.moving.certainty import beats, everything, is_worse, surely_other
from searchers.space import Config

Ask = Callable[[float], Recommendation]
"""The ranking when the number has this value."""

FARTHEST = 8.0
"""Factor by which a number is moved at most, up or down. Our choice: beyond it levels of load say nothing any more."""
_STEPS = 32
"""Steps to that factor where nothing says at which numbers to look. Our choice: each takes a ranking, of some
hundredths of a second."""
UNSEEN = FARTHEST ** (1 / _STEPS)
"""Factor of each step, 1.067: an answer that changes and changes back within one is not seen."""
_CLOSE = 1.01
"""Ratio of two numbers that are not told apart. Our choice: limits and prices are rarely given more precisely."""

_BESIDE = 1e-4
"""Relative distance from a computed place at which is looked. Our choice: far more than rounding, far less than what
prices are given to."""


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


def turn(ask: Ask, now: float, config: Config, *, upwards: bool, places: Sequence[float] | None = None) -> Turn | None:
    """Return where the answer changes first if a number rises, or falls, from what it is now; None if surely nowhere.

    Args:
        ask: the ranking by the number's value.
        now: the number now, above 0.
        config: the configuration that is recommended now.
        upwards: the direction.
        places: the only numbers at which anything can change, where they are known; None where it may be anywhere.
    """
    at = cache(ask)
    at = cache(ask)
    steps = _evenly(now, upwards=upwards) if places is None else _around(places, now, upwards=upwards)
    # Of those that nothing told apart from it before, no price or limit says from where on they may be better.
    behind = [r.config for r in everything(at(now)) if r.config != config and is_worse(at(now), r, config)]
    sure = _first(steps, lambda number: _named(at(number)) != config or not beats(at(number), config, behind))
    if sure is None:
        return None
    turned = _first(steps, lambda number: _named(at(number)) != config)
    if turned is None:
        return Turn(sure[0])
    nearer = min if upwards else max
    beyond = [turned[1], *(number for number in steps if abs(number - now) > abs(turned[1] - now))]
    return Turn(nearer(sure[0], turned[1]), turned[1], _named(at(turned[1])), _other(at, beyond, config))


def _evenly(now: float, *, upwards: bool) -> list[float]:
    factor = UNSEEN if upwards else 1 / UNSEEN
    return [now, *(now * factor**step for step in range(1, _STEPS + 1))]


def _around(places: Sequence[float], now: float, *, upwards: bool) -> list[float]:
    """Return the number now, those right before and right after each place in one direction, and the farthest one."""
    farthest = now * FARTHEST if upwards else now / FARTHEST
    low, high = sorted((now * (1 + _BESIDE) if upwards else now / (1 + _BESIDE), farthest))
    beside = {place * by for place in places for by in (1 / (1 + _BESIDE), 1 + _BESIDE)}
    return [now, *sorted({farthest, *(at for at in beside if low < at < high)}, reverse=not upwards)]


def _other(at: Ask, steps: Sequence[float], config: Config) -> Other | None:
    """Return the first stretch of the steps in which another answer surely is better than a configuration."""
    start = _first(steps, lambda number: surely_other(at(number), config))
    if start is None:
        return None
    first, other = start[1], _named(at(start[1]))
    rest = [first, *(number for number in steps if abs(number - steps[0]) > abs(first - steps[0]))]
    end = _first(rest, lambda number: _named(at(number)) != other or not surely_other(at(number), config))
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
