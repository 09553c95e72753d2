"""The comparison at the end in words, as a table and for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich.markup import escape
from rich.table import Table

from raytune_infer.blocks import CONFIDENCE, Estimate
from raytune_infer.comparison import Comparison, Contestant
from searchers.objective import Objective


def interval(estimate: Estimate, digits: str = ".4g") -> str:
    """`1754 (95 %: 1690 to 1820)`."""
    if not estimate.bounded:
        return f"{estimate.value:{digits}} (no interval: too few rounds)"
    low, high = (format(bound, digits) for bound in (estimate.low, estimate.high))
    return f"{estimate.value:{digits}} ({100 * CONFIDENCE:g} %: {low} to {high})"


def verdict(comparison: Comparison, objective: Objective) -> list[str]:
    """What the rounds say, a sentence each; none where nobody counts."""
    recommended = comparison.recommended
    if recommended is None:
        return []
    return [*_against_default(comparison, objective), *_first_and_second(comparison), *_kept(recommended, objective)]


def _against_default(comparison: Comparison, objective: Objective) -> list[str]:
    goal, default = objective.goal.text, comparison.of(comparison.default)
    if default is None:
        return []
    if comparison.recommended is default:
        return ["the default is recommended"]
    over = comparison.over_default
    if over is None:
        return [f"no ratio to the default, which kept its limits in {_rounds(default)}"]
    tied = ", not distinguishable from it" if over.contains(1) else ""
    return [f"{goal} is {_times(over)} the default's{tied}"]


def _first_and_second(comparison: Comparison) -> list[str]:
    first, recommended = comparison.first, comparison.recommended
    assert first is not None and recommended is not None, "somebody counts"
    if len(comparison.counting) < 2:
        return []
    second = comparison.counting[1]
    ratio = comparison.ratio(first, second)
    said = f"first over second ({_spelled(second, comparison)}): {_times(ratio)}"
    if len(comparison.alike) < 2:
        # The second may be told apart while a third, measured in fewer rounds, is not.
        return [f"{said}, so the first is better"]
    tied = "first and second cannot be told apart" if second in comparison.alike else "the first is not alone"
    if recommended is not first:
        prices = f"{recommended.usd_per_hour:.4g} against {first.usd_per_hour:.4g} USD per hour"
        return [f"{said}; {tied}; the cheaper is recommended ({prices})"]
    return [f"{said}; {tied}; none of those alike is cheaper, so the first is recommended"]


def _kept(recommended: Contestant, objective: Objective) -> list[str]:
    return [f"its limits were kept in {_rounds(recommended)}"] if objective.limited else []


def standings(comparison: Comparison, objective: Objective) -> Table:
    """Everyone who took part, a line each."""
    table = Table(title=f"Measured side by side, {_count(comparison.rounds, 'round')}", title_justify="left")
    for heading in (objective.goal.text, "of the recommended", "limits kept", "USD per hour", "configuration", ""):
        table.add_column(heading, overflow="fold")
    recommended = comparison.recommended
    for c in comparison.contestants:
        counts = recommended is not None and c.counts
        table.add_row(
            interval(comparison.mean(c)) if counts else "–",
            _times(comparison.ratio(c, recommended)) if counts and recommended and c is not recommended else "–",
            _rounds(c), "–" if math.isnan(c.usd_per_hour) else f"{c.usd_per_hour:.4f}",
            escape(_spelled(c)), ", ".join(_marks(c, comparison)),
            style="bold green" if c is recommended else None,
        )  # fmt: skip
    return table


def as_dict(comparison: Comparison) -> dict[str, object]:
    """For JSON: every contestant, the best first, with intervals; null where there is none."""
    recommended, first = comparison.recommended, comparison.first
    return {
        "rounds": comparison.rounds,
        "confidence": CONFIDENCE,
        "over_default": _bounds(comparison.over_default),
        "distinguishable": len(comparison.alike) < 2,
        "configurations": [
            {
                "config": c.trials[0].config,
                "usd_per_hour": None if math.isnan(c.usd_per_hour) else c.usd_per_hour,
                "figure": _bounds(comparison.mean(c)) if c.counts else None,
                "over_first": _bounds(comparison.ratio(c, first)) if c.counts and first else None,
                "like_first": c in comparison.alike,
                "rounds": len(c.trials),
                "rounds_kept": c.kept,
                "recommended": c is recommended,
                "default": c.position == comparison.default,
            }
            for c in comparison.contestants
        ],
    }


def _bounds(estimate: Estimate | None) -> Mapping[str, float | None] | None:
    if estimate is None:
        return None
    low, high = (estimate.low, estimate.high) if estimate.bounded else (None, None)
    return {"value": estimate.value, "low": low, "high": high}


def _times(ratio: Estimate) -> str:
    return interval(ratio, ".2f").replace(" (", "× (", 1)


def _rounds(contestant: Contestant) -> str:
    return f"{contestant.kept} of {_count(len(contestant.trials), 'round')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _spelled(contestant: Contestant, comparison: Comparison | None = None) -> str:
    if comparison is not None and contestant.position == comparison.default:
        return "the default"
    return "  ".join(f"{name}={value}" for name, value in contestant.trials[0].config.items())


def _marks(contestant: Contestant, comparison: Comparison) -> list[str]:
    marks = ["default"] if contestant.position == comparison.default else []
    if contestant is comparison.recommended:
        return [*marks, "recommended"]
    if not contestant.counts:
        return [*marks, contestant.trials[-1].outcome.reason and "could not run" or "does not count"]
    return [*marks, "like the first"] if contestant in comparison.alike else marks
