"""The verdict of the final comparison, as sentences for people and as a dictionary for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping

from raytune_infer.comparing.blocks import CONFIDENCE, Estimate
from raytune_infer.comparing.comparison import Comparison, Contestant
from searchers.objective import Objective


def verdict(comparison: Comparison, objective: Objective) -> list[str]:
    """Return the conclusions of the comparison, one sentence each; empty if no configuration counts."""
    recommended = comparison.recommended
    if recommended is None:
        return []
    said = [_against_default(comparison, objective), _first_against_second(comparison)]
    if objective.limited:
        said.append(f"its limits were kept in {_rounds(recommended)}")
    return [sentence for sentence in said if sentence is not None]


def _against_default(comparison: Comparison, objective: Objective) -> str | None:
    default, over = comparison.of(comparison.default), comparison.over_default
    if default is None:
        return None
    if comparison.recommended is default:
        return "the default is recommended"
    if over is None:
        return f"no ratio to the default, which kept its limits in {_rounds(default)}"
    tied = ", so they cannot be told apart" if over.bounded and over.contains(1) else ""
    return f"{objective.goal.text} is {over.value:.2f}× the default's ({_interval(over)}){tied}"


def _first_against_second(comparison: Comparison) -> str | None:
    if len(comparison.counting) < 2:
        return None
    first, second, *_ = comparison.counting
    recommended, ratio = comparison.recommended, comparison.ratio(first, second)
    assert recommended is not None, "somebody counts"
    named = "the second, the default" if second.position == comparison.default else "the second"
    said = f"the first is {ratio.value:.2f}× {named} ({_interval(ratio)})"
    if len(comparison.alike) < 2:
        # The sentence on the default already says this.
        return None if second.position == comparison.default else said
    # A third one with fewer rounds may be indistinguishable from the first although the second is not.
    tied = "so they cannot be told apart" if second in comparison.alike else "but not all can be told apart from it"
    if recommended is first:
        return f"{said}, {tied}; none of these is cheaper than the first, which is recommended"
    prices = f"{recommended.usd_per_hour:.4g} against {first.usd_per_hour:.4g} USD per hour"
    return f"{said}, {tied}; the cheaper is recommended ({prices})"


def bounds(estimate: Estimate | None, digits: str = ".4g") -> str:
    """Format an interval as `1690 to 1820`, or a dash where there is none."""
    if estimate is None or not estimate.bounded:
        return "–"
    return f"{estimate.low:{digits}} to {estimate.high:{digits}}"


def as_dict(comparison: Comparison) -> dict[str, object]:
    """Return the comparison for JSON: every contestant, the best first, with intervals (null where there is none)."""
    recommended, first = comparison.recommended, comparison.first
    return {
        "rounds": comparison.rounds,
        "confidence": CONFIDENCE,
        "over_default": _as_numbers(comparison.over_default),
        "distinguishable": len(comparison.alike) < 2,
        "configurations": [
            {
                "config": c.trials[0].config,
                "usd_per_hour": None if math.isnan(c.usd_per_hour) else c.usd_per_hour,
                "figure": _as_numbers(comparison.mean(c)) if c.counts else None,
                "over_first": _as_numbers(comparison.ratio(c, first)) if c.counts and first else None,
                "like_first": c in comparison.alike,
                "rounds": len(c.trials),
                "rounds_kept": c.kept,
                "recommended": c is recommended,
                "default": c.position == comparison.default,
            }
            for c in comparison.contestants
        ],
    }


def _as_numbers(estimate: Estimate | None) -> Mapping[str, float | None] | None:
    if estimate is None:
        return None
    low, high = (estimate.low, estimate.high) if estimate.bounded else (None, None)
    return {"value": estimate.value, "low": low, "high": high}


def _interval(ratio: Estimate) -> str:
    return f"{100 * CONFIDENCE:g} %: {bounds(ratio, '.2f')}" if ratio.bounded else "no interval: too few rounds"


def _rounds(contestant: Contestant) -> str:
    return f"{contestant.kept} of {_count(len(contestant.trials), 'round')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
