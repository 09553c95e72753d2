"""The gaps between the parts of streamed answers, of many requests, in one array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PartGaps:
    """The gaps of requests, those of the first request first. A single-precision number each: exact to 1e-7.

    Args:
        seconds: `[m]` the gaps, in the order of the requests, and of each in the order in which its parts came.
        counts: `[n]` number of gaps of each request; one less than its parts, and 0 where its parts have no times.

    Raises:
        ValueError: the counts do not add up to the gaps.
    """

    seconds: np.ndarray
    counts: np.ndarray

    def __post_init__(self) -> None:
        if int(self.counts.sum()) != self.seconds.size:
            raise ValueError(f"{self.seconds.size} gaps do not belong to requests that have {int(self.counts.sum())}")

    @classmethod
    def none(cls, requests: int) -> PartGaps:
        """No gaps of any of so many requests."""
        return cls(np.empty(0, dtype=np.float32), np.zeros(requests, dtype=int))

    @classmethod
    def of(cls, each: Sequence[Sequence[float]]) -> PartGaps:
        """The gaps of requests, given one after the other."""
        seconds = [np.asarray(gaps, dtype=np.float32) for gaps in each]
        counts = np.array([gaps.size for gaps in seconds], dtype=int)
        return cls(np.concatenate([np.empty(0, dtype=np.float32), *seconds]), counts)

    def where(self, which: np.ndarray) -> PartGaps:
        """Those of the requests that a mask `[n]` selects."""
        return PartGaps(self.seconds[np.repeat(which, self.counts)], self.counts[which])

    def and_then(self, later: PartGaps) -> PartGaps:
        """These and those of later requests."""
        return PartGaps(np.concatenate([self.seconds, later.seconds]), np.concatenate([self.counts, later.counts]))

    @property
    def longest_s(self) -> np.ndarray:
        """`[n]` the longest gap of each request; NaN where it has none."""
        longest = np.full(self.counts.size, np.nan)
        some = self.counts > 0
        if some.any():
            starts = np.concatenate([[0], np.cumsum(self.counts[some])[:-1]])
            longest[some] = np.maximum.reduceat(self.seconds, starts)
        return longest
