"""Standardised data of the sources, to which their Gaussian processes are fitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from searchers.baselines.from_sources.source_values import Source, log_values

POINTS = 150  # of a source, at most; our choice: exact inference takes time of their cube


@dataclass(frozen=True, eq=False)
class StandardisedSource:
    """Data that one process is fitted to: x, `[m, d]` points, and z, `[m]` ln(value), standardised by source."""

    x: np.ndarray
    z: np.ndarray


def standardised(sources: Sequence[Source]) -> tuple[tuple[StandardisedSource, ...], float]:
    """The sources whose values differ, at most POINTS random points of each, and their median unit.

    The unit is the standard deviation of ln(value) that a source's values were divided by.
    """
    rng = np.random.default_rng(0)  # Results must not depend on which search came first.
    studies, units = [], []
    for source in sources:
        y = log_values(source.values)
        if y.std() < 1e-9:
            continue
        units.append(float(y.std()))
        some = rng.permutation(len(y))[:POINTS]
        studies.append(StandardisedSource(source.x[some], ((y - y.mean()) / y.std())[some]))
    return tuple(studies), float(np.median(units)) if units else 1.0
