"""A cost that grows with a number of things and with their bytes, and how it is fitted to measured times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls


@dataclass(frozen=True)
class Line:
    """Seconds = `each_s` · number of things + `byte_s` · their bytes.

    Args:
        each_s: seconds for each thing.
        byte_s: seconds for each byte.

    Raises:
        ValueError: one of them is negative or no number.
    """

    each_s: float
    byte_s: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.each_s) and math.isfinite(self.byte_s) and self.each_s >= 0 and self.byte_s >= 0):
            raise ValueError(f"a cost is 0 s or more for each thing and byte, got {self.each_s} and {self.byte_s}")

    def seconds(self, count: int, size_bytes: int = 0) -> float:
        """Seconds for so many things with so many bytes together."""
        return self.each_s * count + self.byte_s * size_bytes


@dataclass(frozen=True)
class Timed:
    """A measured time.

    Args:
        count: number of things.
        size_bytes: their bytes together.
        seconds: time that they took.
    """

    count: int
    size_bytes: int
    seconds: float


def fitted(times: Sequence[Timed]) -> Line:
    """The line with the least squared *relative* error among those without a negative part.

    Relative, as times of small and of large tensors differ by 10^4 and all of them are to be predicted.

    Raises:
        ValueError: there is no time above 0.
    """
    used = [each for each in times if each.seconds > 0]
    if not used:
        raise ValueError("a cost cannot be fitted without a measured time")
    # Bytes in MiB, so that both columns are of one size.
    rows = np.array([[each.count / each.seconds, each.size_bytes / 2**20 / each.seconds] for each in used])
    (each_s, mib_s), _ = nnls(rows, np.ones(len(used)))
    return Line(float(each_s), float(mib_s) / 2**20)
