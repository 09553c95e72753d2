"""What the sources together say about each metric, and about whether a configuration runs.

Notation:
    s, n    sources that measured a quantity, and configurations of the problem's space
    y       `[s, n]` the quantity as it is modelled (`MetricModel.measured`); NaN where a source did not measure it
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from searchers.base import Problem
from searchers.baselines.from_sources.source_values import learnt_once, observed_here
from searchers.meta.metric_model import FEASIBLE, metric_model_of

_LEAST = 0.03
"""Least spread. Our choice: the noise of a measurement as a problem has it by default, in logarithms."""


@dataclass(frozen=True, eq=False)
class QuantityMean:
    """The sources' mean of one quantity, and how far a service may be from it.

    Args:
        mean: `[n]` the mean of every configuration.
        spread: standard deviation of a service around the mean at one configuration, once its level is known.
        level_spread: standard deviation of the services' levels.
    """

    mean: np.ndarray
    spread: float
    level_spread: float


@learnt_once
def quantity_means(problem: Problem) -> Mapping[str, QuantityMean]:
    """The mean of each quantity of the problem's metric model that two or more sources measured in this space."""
    model, _ = metric_model_of(problem)
    sources = observed_here(problem)
    out = {}
    for quantity in model.quantities:
        y = np.full((len(sources), len(problem.space)), np.nan)
        for row, observed in zip(y, sources, strict=True):
            at, values = model.measured(observed, quantity)
            row[at] = values
        y = y[~np.isnan(y).all(axis=1)]
        if len(y) > 1:
            # Whether a configuration runs has no level: it is 1 or -1 for every service.
            out[quantity] = _as_it_is(y) if quantity == FEASIBLE else standardised_mean(y)
    return out


def standardised_mean(y: np.ndarray) -> QuantityMean:
    """The mean over sources of (y - level) / unit, in the median unit and at the mean level.

    A source's level and unit are its mean and standard deviation. The spread is what a source's own values, given its
    level, are off the mean of the others (root mean square). A configuration that no source has is an average one.
    """
    levels = np.nanmean(y, axis=1)
    units = np.nanstd(y, axis=1)
    unit = float(np.median(units[units > 1e-9])) if (units > 1e-9).any() else 1.0
    shapes = (y - levels[:, None]) / np.where(units > 1e-9, units, 1.0)[:, None]
    return QuantityMean(
        levels.mean() + unit * _filled(shapes), unit * _left_out_error(shapes), float(levels.std(ddof=1))
    )


def _as_it_is(y: np.ndarray) -> QuantityMean:
    return QuantityMean(_filled(y), _left_out_error(y), 0.0)


def _filled(y: np.ndarray) -> np.ndarray:
    """`[n]` the mean of each column, and the mean of these where it has no value."""
    known = ~np.isnan(y)
    mean = np.nansum(y, axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(known.any(axis=0), mean, mean[known.any(axis=0)].mean())


def _left_out_error(y: np.ndarray) -> float:
    """Root mean square of a source's distance to the mean of the others, where one of them has a value."""
    known = ~np.isnan(y)
    others = known.sum(axis=0) - known
    there = known & (others > 0)
    if not there.any():
        return 1.0
    values = np.nan_to_num(y)
    apart = (values - (values.sum(axis=0) - values) / np.maximum(others, 1))[there]
    return max(float(np.sqrt(np.mean(apart**2))), _LEAST)
