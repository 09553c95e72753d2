"""The final comparison as a dictionary for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping

from raytune_infer.comparing.blocks import CONFIDENCE, Estimate
from raytune_infer.comparing.comparison import Comparison


def as_dict(comparison: Comparison) -> dict[str, object]:
    """Return the comparison for JSON: every contestant, the best first, with intervals (null where there is none)."""
    recommended, first = comparison.recommended, comparison.first
    return {
        "rounds": comparison.rounds,
        "confidence": CONFIDENCE,
        "over_default": as_numbers(comparison.over_default),
        "distinguishable": len(comparison.alike) < 2,
        "configurations": [
            {
                "config": c.trials[0].config,
                "usd_per_hour": None if math.isnan(c.usd_per_hour) else c.usd_per_hour,
                "figure": as_numbers(comparison.mean(c)) if c.counts else None,
                "over_first": as_numbers(comparison.ratio(c, first)) if c.counts and first else None,
                "like_first": c in comparison.alike,
                "rounds": len(c.trials),
                "rounds_kept": c.kept,
                "recommended": c is recommended,
                "default": c.position == comparison.default,
                "answers_differ": None if c.answers is None else c.answers.differs,
            }
            for c in comparison.contestants
        ],
    }


def as_numbers(estimate: Estimate | None) -> Mapping[str, float | None] | None:
    """Return an estimate for JSON; an interval without bounds has null ends."""
    if estimate is None:
        return None
    low, high = (estimate.low, estimate.high) if estimate.bounded else (None, None)
    return {"value": estimate.value, "low": low, "high": high}
