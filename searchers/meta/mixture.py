"""Priors for a service: from its knobs, a surface model, what is expected; `source_prior` makes those from sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from searchers.base import Problem
from searchers.meta import kernel
from searchers.meta.gaussian import Gaussian
from searchers.meta.joint_grid import JointGrid
from searchers.meta.metric_model import FEASIBLE
from searchers.quantities import role
from searchers.surfaces.belief import SurfaceModel

Beliefs = Mapping[str, Gaussian]
"""Prior of each quantity, by name: the logarithm of each metric, and `FEASIBLE`."""

_LEVEL = 3.0
"""Prior mean of a logarithm about which nothing is known; its standard deviation, `kernel.generic`'s level, is six
e-folds."""

_SURFACES = 128
_WIDER = 1.5
"""Factor on the variance of a model's surfaces, as no formula has been tested on a real service. Our choice."""
_UNTOLD = 0.5
"""Standard deviation of what a model's surfaces leave unexplained, in e-folds for each knob. Our choice."""

_RUNS_STD = 0.5
"""Standard deviation of 1 for what runs and -1 for what does not, where it is said: Φ(1 / 0.5) = 0.98. Our choice."""


def generic(grid: JointGrid, quantities: Sequence[str], noise: float) -> Beliefs:
    """Prior when only the knobs are known: smooth curves about an unknown level; most configurations run.

    `noise` is the variance of a measurement's logarithm, here and in all other priors.
    """
    own, scales = grid.ranks[: grid.n], kernel.generic(grid.axes)
    out: dict[str, Gaussian] = {}
    if metrics := [q for q in quantities if q != FEASIBLE]:
        surface = Gaussian(np.full(grid.n, _LEVEL), kernel.variance(grid.axes, own, scales), noise, floating=True)
        out |= dict.fromkeys(metrics, surface)
    if FEASIBLE in quantities:
        runs = replace(kernel.scaled(scales, 0.6), level=0.5)
        out[FEASIBLE] = Gaussian(np.full(grid.n, 0.8), kernel.variance(grid.axes, own, runs), noise)
    return out


def from_surfaces(model: SurfaceModel, problem: Problem, grid: JointGrid, metrics: Sequence[str]) -> Beliefs | None:
    """Prior from the surfaces that services like this could have; None if the model knows none of the columns."""
    surfaces = model.sample(problem.space, _positive(problem.facts), _SURFACES, np.random.default_rng(0))
    if not surfaces.known:
        return None
    noise = problem.noise**2
    scales = replace(kernel.generic(grid.axes), joint=_UNTOLD, main=np.full(len(grid.axes), _UNTOLD))
    rest = kernel.variance(grid.axes, grid.ranks[: grid.n], scales)
    roles = dict.fromkeys(map(role, metrics))
    of = {each: replace(_ensemble(_LEVEL + surfaces.log[each], rest, noise), floating=True) for each in roles}
    out = {q: of[role(q)] for q in metrics}
    runs = replace(kernel.scaled(scales, 0.8), level=0.2)
    chances = np.tanh(surfaces.runs / 2)  # 2 p - 1: on the scale of FEASIBLE
    return {**out, FEASIBLE: _ensemble(chances, kernel.variance(grid.axes, grid.ranks[: grid.n], runs), noise)}


def from_expected(problem: Problem, grid: JointGrid, quantities: Sequence[str]) -> Beliefs | None:
    """Prior from what the problem expects of its metrics; None if it expects nothing of any of the quantities.

    Its error is as smooth as `generic` curves, and as wide as is said; where the level is unknown, it is free. What is
    not expected has the generic prior.
    """
    expected, own, noise = problem.expected, grid.ranks[: grid.n], problem.noise**2
    if expected is None or not (set(quantities) & expected.log_mean.keys()):
        return None
    alike = kernel.variance(grid.axes, own, kernel.unit(grid.axes))
    out = dict(generic(grid, quantities, noise))
    for quantity in quantities:
        if quantity in expected.log_mean:
            level_std = expected.level_std.get(quantity, np.inf)
            std, unknown = expected.log_std[quantity], bool(np.isinf(level_std))
            covariance = alike * np.outer(std, std) + (kernel.generic(grid.axes).level if unknown else level_std) ** 2
            out[quantity] = Gaussian(expected.log_mean[quantity], covariance, noise, floating=unknown)
    if expected.runs is not None and FEASIBLE in quantities:
        out[FEASIBLE] = Gaussian(2 * expected.runs - 1, _RUNS_STD**2 * alike, noise)
    return out


def _ensemble(surfaces: np.ndarray, rest: np.ndarray, noise: float) -> Gaussian:
    """Gaussian with mean and widened covariance of `[M, n]` surfaces, plus the covariance `rest` of what they miss."""
    mean = surfaces.mean(axis=0)
    directions = np.sqrt(_WIDER / len(surfaces)) * (surfaces - mean)
    return Gaussian(mean, rest, noise, directions=directions)


def _positive(facts: Mapping[str, float]) -> dict[str, float]:
    return {name: fact for name, fact in facts.items() if fact > 0}
