"""Which rate to try next, given what passed, what failed, and how far off each was."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_STRIDE = 4  # precisions that a step up takes at least while nothing has failed: small ones never arrive (our choice)


@dataclass
class Bracket:
    """Between the highest rate that passed and the lowest that failed.

    Rates are doubled or halved until there is one of each, then the bracket is narrowed where the boundary probably
    is: in an M/M/1 queue any percentile of the latency is a constant over (capacity - rate), so 1 / latency falls
    along a straight line that reaches 0 at the capacity, and two levels tell where it crosses 1 / limit. Where they
    do not, or the guess has been wrong too often, the bracket is halved in logarithms. A ceiling is tried before
    anything above it, since it probably fails and then closes the bracket at once.

    Args:
        first_rps: tried first.
        ceiling_rps: what the server probably cannot do.
        floor_rps: no lower rate is tried.
        precision: done when failed / passed is at most 1 + precision.
        capacity_rps: what it answered when it was asked for all it can; infinity where that is not known.
    """

    first_rps: float
    ceiling_rps: float
    floor_rps: float
    precision: float
    capacity_rps: float = math.inf
    passed_rps: float | None = None
    failed_rps: float | None = None
    _room: dict[float, float] = field(default_factory=dict)  # rate → limit / latency: above 1 where it passes
    _guesses: int = 0

    def tell(self, rate_rps: float, passed: bool, room: float | None = None, achieved_rps: float | None = None) -> None:
        """The outcome of a rate. One that passes above one that failed (chance) is not believed.

        Args:
            rate_rps: that was tried.
            passed: kept every limit.
            room: smallest limit / latency there; None where it says nothing.
            achieved_rps: of an overloaded level: what the server could do.
        """
        if room is not None:
            self._room[rate_rps] = room
        if achieved_rps:
            self.capacity_rps = min(self.capacity_rps, achieved_rps)
        if not passed:
            self.failed_rps = min(rate_rps, self.failed_rps or math.inf)
        elif self.failed_rps is None or rate_rps < self.failed_rps:
            self.passed_rps = max(rate_rps, self.passed_rps or 0.0)

    def next_rate(self) -> float | None:
        """The next rate to try; None when nothing is left to find."""
        passed, failed, margin = self.passed_rps, self.failed_rps, 1 + self.precision
        if passed is None and failed is None:
            return max(self.first_rps, self.floor_rps)
        guess = self._guess()
        if failed is None:
            assert passed is not None
            if guess is not None and passed < guess:
                return min(max(guess, passed * margin**_STRIDE), 2 * passed)
            near = passed * margin < self.ceiling_rps < 2 * passed
            return self.ceiling_rps if near else 2 * passed
        if passed is None:
            if failed <= self.floor_rps * margin:
                return None
            below = failed / 2 if guess is None else min(max(guess, failed / 2), failed / margin)
            return max(below, self.floor_rps)
        if failed <= passed * margin * (1 + 1e-9):
            return None
        middle = math.sqrt(passed * failed)
        if guess is None or self._guesses > 3:
            return middle
        self._guesses += 1
        # Just beyond the better end: if the guess is right, the bracket closes with this level.
        low, high = passed * margin, failed / margin
        return middle if low >= high else min(max(guess, low), high)

    def _guess(self) -> float | None:
        """Where 1 / latency crosses 1 / limit on the line through the nearest levels, or through the capacity."""
        above = [(rate, room) for rate, room in self._room.items() if room >= 1]
        below = [(rate, room) for rate, room in self._room.items() if room < 1]
        nearest = sorted([*above, *below], key=lambda point: abs(math.log(point[1])))[:1]
        pairs = [(max(above), min(below))] if above and below else []
        pairs += [(point, (self.capacity_rps, 0.0)) for point in nearest if math.isfinite(self.capacity_rps)]
        for (rate, room), (other, its) in pairs:
            if rate < other and its < room:
                return max(rate + (1 - room) * (other - rate) / (its - room), 1e-9)
        return None

    def __str__(self) -> str:
        """For people: "between 90 and 99 requests/s"."""
        low, high = self.passed_rps or 0.0, self.failed_rps or math.inf
        return f"between {low:.3g} and {high:.3g} requests/s"
