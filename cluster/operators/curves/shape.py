"""The shape of a curve: how performance follows one resource, fitted and named with its evidence.

With n points of a resource r_i and a performance p_i (payloads per second), x = log2 r, y = log2 p, each shape is a
weighted least-squares fit:

    flat      y = a                      the resource changes nothing
    slope     y = a + b x                each doubling brings the same factor 2^b
    knee      y = a + b min(x, c)        it brings that up to r = 2^c and nothing beyond
    concave   y = a + b x + q x^2, q < 0   each doubling brings less than the one before
    convex    y = a + b x + q x^2, q > 0   each brings more

The one with the smallest Bayesian information criterion counts (Schwarz, Annals of Statistics 6, 1978): chi^2 + k ln n
with k numbers fitted, as the errors of the points are known. How much better it is than a flat one is its evidence.
Falcon (SoCC 2022) names slope, convex and concave; flat and knee are ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np

Name = Literal["flat", "slope", "knee", "concave", "convex"]

LEAST_ERROR = 0.02
"""Relative error that each point has at the least: two measurements of one operator in other processes differ by about
as much, which the interval within one process does not know. Our choice."""

STRONG = 6.0
"""Difference of the criterion from which a curve is not flat: "strong" evidence by Kass and Raftery (Journal of the
American Statistical Association 90, 1995)."""


@dataclass(frozen=True)
class CurveShape:
    """The shape of one curve.

    Args:
        name: its name.
        gain: factor of performance from the first to the last value, as fitted.
        low: lower end of its 95 % interval.
        high: upper end.
        knee: value of the resource at which it bends; None for other shapes than a knee.
        evidence: by how much the information criterion of a flat curve is larger; 0 for a flat one.
    """

    name: Name
    gain: float
    low: float
    high: float
    knee: float | None = None
    evidence: float = 0.0


def shape_of(values: Sequence[float], performance: Sequence[float], errors: Sequence[float]) -> CurveShape:
    """Returns the shape of a curve.

    Args:
        values: `[n]` values of the resource, positive and ascending.
        performance: `[n]` performance there, positive.
        errors: `[n]` half of its 95 % interval, as a part of it.

    Raises:
        ValueError: there are fewer than two points, or they are not as said.
    """
    r, p = np.asarray(values, dtype=float), np.asarray(performance, dtype=float)
    if r.size < 2 or r.size != p.size or np.any(np.diff(r) <= 0) or np.any(r <= 0) or np.any(p <= 0):
        raise ValueError(
            f"a curve needs two or more ascending values with a performance each, got {values}, {performance}"
        )
    sigma = np.maximum(np.asarray(errors, dtype=float), LEAST_ERROR) / 1.96 / math.log(2)
    x, y = np.log2(r), np.log2(p)
    fits = [(name, knee, *_fit(columns, y, sigma, knee is not None)) for name, knee, columns in _candidates(x)]
    flat = next(bic for name, _, bic, _, _ in fits if name == "flat")
    name, knee, bic, fitted, spread = min(fits, key=lambda fit: fit[2])
    if flat - bic < STRONG:
        name, knee, bic, fitted, spread = next(fit for fit in fits if fit[0] == "flat")
    half = 1.96 * spread
    step = float(fitted[-1] - fitted[0])
    shape = name
    if name == "curve":
        # A chord that lies below the curve is that of a concave one.
        middle = np.interp((x[0] + x[-1]) / 2, x, fitted)
        shape = "concave" if (fitted[0] + fitted[-1]) / 2 < middle else "convex"
    bends = 2**knee if knee is not None else None
    return CurveShape(cast(Name, shape), 2**step, 2 ** (step - half), 2 ** (step + half), bends, float(flat - bic))


def _candidates(x: np.ndarray) -> Iterator[tuple[str, float | None, np.ndarray]]:
    """The columns `[n, k]` of each shape that so many points can tell."""
    one = np.ones_like(x)
    yield "flat", None, one[:, None]
    yield "slope", None, np.stack([one, x], 1)
    if x.size < 4:
        return  # as many numbers as points fit anything
    for c in x[1:-1]:
        yield "knee", float(c), np.stack([one, np.minimum(x, c)], 1)
    yield "curve", None, np.stack([one, x, x**2], 1)


def _fit(columns: np.ndarray, y: np.ndarray, sigma: np.ndarray, has_knee: bool) -> tuple[float, np.ndarray, float]:
    """The criterion, the fitted values `[n]`, and the standard error of the last minus the first of them."""
    weighted = columns / sigma[:, None]
    inverse = np.linalg.inv(weighted.T @ weighted)
    found = inverse @ weighted.T @ (y / sigma)
    fitted = columns @ found
    chi2 = float(np.sum(((y - fitted) / sigma) ** 2))
    # The place of a knee is a number fitted too.
    numbers = columns.shape[1] + has_knee
    across = columns[-1] - columns[0]
    return chi2 + numbers * math.log(y.size), fitted, math.sqrt(max(0.0, float(across @ inverse @ across)))
