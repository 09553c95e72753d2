"""Beliefs about a new service: from nothing, and from surfaces that such services have. `lessons` adds sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from searchers import kernel
from searchers.atlas import Atlas
from searchers.base import Observation, Problem
from searchers.gaussian import Gaussian
from searchers.objective import Objective
from searchers.quantities import role
from searchers.surfaces import SurfaceModel

RUNS = "can run"
"""The quantity that is 1 for a trial that ran and -1 for one that could not; where it is above 0, a trial runs."""

NOISE = 0.05**2
"""Variance of a measurement's logarithm: what a load test of a few seconds repeats to. Our choice."""

Beliefs = Mapping[str, Gaussian]
"""For the logarithm of each quantity, and for RUNS, what it may be."""

_LEVEL = 3.0
"""Mean of a logarithm of which nothing is known; `kernel.generic`'s level leaves it six e-folds either way."""

_SURFACES = 128
_WIDER = 1.5
"""Variance of the shipped surfaces is multiplied by this: no formula has met a real service. Our choice."""
_UNTOLD = 0.5
"""What the shipped surfaces leave unexplained, in e-folds for each knob. Our choice."""


def quantities_of(objective: Objective) -> tuple[str, ...]:
    """The metrics that an objective depends on, modelled apart: a limit broken by 3 % tells much, a zero nothing."""
    return tuple(sorted((objective.goal.names | set(objective.limited)) - {"usd_per_hour"}))


def measured(observed: Iterable[Observation], quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """`[k]` positions where the quantity was measured, each once, and the means of what was measured."""
    found: dict[int, list[float]] = {}
    for each in observed:
        if quantity == RUNS:
            found.setdefault(each.position, []).append(-1.0 if each.metrics is None else 1.0)
        elif each.metrics is not None and 0 < each.metrics.get(quantity, 0) < np.inf:
            found.setdefault(each.position, []).append(float(np.log(each.metrics[quantity])))
    return np.array(list(found), dtype=int), np.array([np.mean(values) for values in found.values()])


def generic(grid: Atlas, quantities: Sequence[str]) -> Beliefs:
    """Before anything is known but the knobs: smooth curves about an unknown level; most configurations run."""
    own, scales = grid.ranks[: grid.n], kernel.generic(grid.axes)
    surface = Gaussian(np.full(grid.n, _LEVEL), kernel.variance(grid.axes, own, scales), NOISE, floating=True)
    runs = replace(kernel.scaled(scales, 0.6), level=0.5)
    can_run = Gaussian(np.full(grid.n, 0.8), kernel.variance(grid.axes, own, runs), NOISE)
    return {**dict.fromkeys(quantities, surface), RUNS: can_run}


def from_surfaces(model: SurfaceModel, problem: Problem, grid: Atlas, quantities: Sequence[str]) -> Beliefs | None:
    """What surfaces of services like this say of such a space; None where they know none of its columns."""
    surfaces = model.sample(problem.space, _positive(problem.facts), _SURFACES, np.random.default_rng(0))
    if not surfaces.known:
        return None
    scales = replace(kernel.generic(grid.axes), joint=_UNTOLD, main=np.full(len(grid.axes), _UNTOLD))
    rest = kernel.variance(grid.axes, grid.ranks[: grid.n], scales)
    out = {q: replace(_ensemble(_LEVEL + surfaces.log[role(q)], rest), floating=True) for q in quantities}
    runs = replace(kernel.scaled(scales, 0.8), level=0.2)
    chances = np.tanh(surfaces.runs / 2)  # 2 p - 1: on the scale of RUNS
    return {**out, RUNS: _ensemble(chances, kernel.variance(grid.axes, grid.ranks[: grid.n], runs))}


def _ensemble(surfaces: np.ndarray, rest: np.ndarray) -> Gaussian:
    """Mean and covariance of `[M, n]` samples, plus what they leave unexplained."""
    mean = surfaces.mean(axis=0)
    apart = surfaces - mean
    return Gaussian(mean, _WIDER * apart.T @ apart / len(surfaces) + rest, NOISE)


def _positive(facts: Mapping[str, float]) -> dict[str, float]:
    return {name: fact for name, fact in facts.items() if fact > 0}
