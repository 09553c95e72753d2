"""Counts of what was done for requests, and times to the first output, as data."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Literal

Done = Literal["hit", "conversion", "cold start"]
"""A replica held the model; one became it; or a process that had held none loaded it."""

_NONE = (0, 0.0, 0.0)


@dataclass
class Tally:
    """What was done so far.

    Args:
        done: (model, what) → number of requests.
        bytes_moved: bytes of weights that were read or copied.
        first_output_s: what → count, sum and maximum of the seconds from a request to its output.
        lost: requests whose replica was lost, each time; they are tried again.
        failed_loads: loads that failed.
        ways: way of loading a model → how often it was taken.
    """

    done: Counter[tuple[str, Done]] = field(default_factory=Counter)
    bytes_moved: int = 0
    first_output_s: dict[Done, tuple[int, float, float]] = field(
        default_factory=lambda: defaultdict(lambda: (0, 0.0, 0.0))
    )
    lost: int = 0
    failed_loads: int = 0
    ways: Counter[str] = field(default_factory=Counter)

    def answered(self, model: str, what: Done, seconds: float) -> None:
        """Notes a request that was answered."""
        self.done[model, what] += 1
        count, total_s, most_s = self.first_output_s[what]
        self.first_output_s[what] = count + 1, total_s + seconds, max(most_s, seconds)

    def total(self, what: Done) -> int:
        """Number of requests for which this was done."""
        return sum(count for (_, done), count in self.done.items() if done == what)

    def as_dict(self) -> dict[str, Any]:
        """The counts as plain values for JSON."""
        models = sorted({model for model, _ in self.done})
        return {
            "hits": self.total("hit"),
            "conversions": self.total("conversion"),
            "cold_starts": self.total("cold start"),
            "bytes_moved": self.bytes_moved,
            "requests_of_lost_replicas": self.lost,
            "failed_loads": self.failed_loads,
            "ways": dict(self.ways),
            "time_to_first_output_s": {
                what: {"mean": total_s / count, "max": most_s}
                for what, (count, total_s, most_s) in self.first_output_s.items()
            },
            "requests": {model: {what: n for (m, what), n in self.done.items() if m == model} for model in models},
        }
