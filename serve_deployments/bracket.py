"""Doubling, then bisection: which rate to try next, given what passed and what failed."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Bracket:
    """Between the highest rate that passed and the lowest that failed.

    Rates are halved or doubled until there is one of each, then bisected in logarithms. A ceiling is tried
    before anything above it, since it probably fails and then closes the bracket at once.

    Args:
        first_rps: tried first.
        ceiling_rps: what the server probably cannot do.
        floor_rps: no lower rate is tried.
        precision: done when failed / passed is at most 1 + precision.
    """

    first_rps: float
    ceiling_rps: float
    floor_rps: float
    precision: float
    passed_rps: float | None = None
    failed_rps: float | None = None

    def tell(self, rate_rps: float, passed: bool) -> None:
        """The outcome of a rate. One that passes above one that failed (chance) is not believed."""
        if not passed:
            self.failed_rps = min(rate_rps, self.failed_rps or math.inf)
        elif self.failed_rps is None or rate_rps < self.failed_rps:
            self.passed_rps = max(rate_rps, self.passed_rps or 0.0)

    def next_rate(self) -> float | None:
        """The next rate to try; None when nothing is left to find."""
        passed, failed, margin = self.passed_rps, self.failed_rps, 1 + self.precision
        if passed is None and failed is None:
            return max(self.first_rps, self.floor_rps)
        if failed is None:
            assert passed is not None
            near = passed * margin < self.ceiling_rps < 2 * passed
            return self.ceiling_rps if near else 2 * passed
        if passed is None:
            return max(failed / 2, self.floor_rps) if failed > self.floor_rps * margin else None
        return math.sqrt(passed * failed) if failed > passed * margin else None

    def __str__(self) -> str:
        """For people: "between 90 and 99 requests/s"."""
        low, high = self.passed_rps or 0.0, self.failed_rps or math.inf
        return f"between {low:.3g} and {high:.3g} requests/s"
