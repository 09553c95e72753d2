"""A plan: the way in which one model becomes another one, step by step, with a price in seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Way(StrEnum):
    """A way to get a model."""

    RESIDENT = "resident"
    """The process holds it already."""
    DIFFERENCE = "difference"
    """A structure that is there keeps the tensors whose bytes are the same; the others are mapped."""
    REPOINT = "repoint"
    """A structure that is there is pointed at mapped weights."""
    IN_PLACE = "in place"
    """The bytes that differ are copied into the memory that the live model has; addresses stay."""
    SCRATCH = "scratch"
    """A new structure without memory of its own is pointed at mapped weights."""
    REPLICA = "new replica"
    """Another process is started, which loads it from scratch."""
    OPERATORS = "operators"
    """The paper's own: Replace, Reshape, Reduce, Add and Edge, one after the other. Only where it is asked for."""
    NAIVE = "naive"
    """The model's own builder is called. For what has no graph, and where it is asked for."""


@dataclass(frozen=True)
class Step:
    """A part of a plan.

    Args:
        action: what is done, in a word or two.
        what: to what.
        price_s: seconds that it takes, by the costs that the plan was made with.
        count: number of times that it is done.
        size_bytes: bytes that are mapped or copied.

    Raises:
        ValueError: the price is no number of seconds, or a number of something is below 0.
    """

    action: str
    what: str
    price_s: float
    count: int = 1
    size_bytes: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.price_s) and self.price_s >= 0 and self.count >= 0 and self.size_bytes >= 0):
            raise ValueError(f"a step needs a price of 0 s or more, and no negative number of anything; got {self}")


@dataclass(frozen=True)
class Plan:
    """How a process that holds `source` gets `target`.

    Args:
        source: name of the model that is given up; None if there is none.
        target: name of the model that is wanted.
        way: how.
        steps: what is done, in order.
        considered: way → its price in seconds, of all that were possible.
        needs_source: whether the source is needed as it is now, and used up.
    """

    source: str | None
    target: str
    way: Way
    steps: tuple[Step, ...]
    considered: Mapping[Way, float] = field(default_factory=dict)
    needs_source: bool = False

    @property
    def price_s(self) -> float:
        """Seconds until the target can answer, with what its first answer pays for pages of mapped weights."""
        return math.fsum(step.price_s for step in self.steps)

    @property
    def moved_bytes(self) -> int:
        """Bytes that are mapped or copied."""
        return sum(step.size_bytes for step in self.steps)
