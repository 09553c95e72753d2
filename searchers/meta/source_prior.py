"""Priors from sources: which sources are credible, how facts are standardised, and what is cached between problems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from searchers.base import Observation, Problem, Task
from searchers.meta.gaussian import Gaussian
from searchers.meta.joint_grid import JointGrid, grid_over
from searchers.meta.metric_model import Bounds, MetricModel
from searchers.meta.mixture import Beliefs, generic
from searchers.meta.transfer import SourcePrior, TaskMeasurements, belief, coherence, fit

COHERENT = 0.25
"""A source is ignored if its own knobs explain less than this fraction of its variance. Our choice."""
_ENOUGH = 12
"""Minimum number of measurements by which a source can be judged not credible."""


def credible(sources: tuple[Task, ...], metric_model: MetricModel) -> tuple[Task, ...]:
    """The sources whose measurements follow from their knobs; others were measured on something else, or mixed up.

    If all are credible, the same tuple is returned, as results are cached under it.
    """
    believed = tuple(task for task in sources if _coherent(task, metric_model))
    return sources if len(believed) == len(sources) else believed


def from_sources(problem: Problem, sources: tuple[Task, ...], metric_model: MetricModel) -> Beliefs:
    """The prior of each quantity over the problem's configurations, learned from the sources.

    Args:
        problem: the space, and the facts about the service.
        sources: the sources to learn from. Results are cached for each tuple of them.
        metric_model: the quantities to model; one that no source measured has the generic prior.
    """
    grid = grid_over(problem.space, sources)
    facts, noise = standardised([*(task.facts for task in sources), problem.facts]), problem.noise**2
    evidence = {q: _evidence(grid, sources, facts[:-1], metric_model, q) for q in metric_model.quantities}
    unknown = generic(grid, [q for q, tasks in evidence.items() if not tasks], noise)
    return {
        q: _by_source(
            belief(grid, [*tasks.values()], _source_prior(sources, metric_model.shares, q, noise), facts[-1], noise),
            list(tasks), len(sources),
        )
        if tasks
        else unknown[q]
        for q, tasks in evidence.items()
    }  # fmt: skip


def _by_source(prior: Gaussian, measured: list[int], sources: int) -> Gaussian:
    """The prior with a direction for each source: of length 0 where a source did not measure the quantity.

    The i-th direction is then the same service in every quantity.
    """
    directions = np.zeros((sources, len(prior.mean)))
    directions[measured] = prior.directions
    return replace(prior, directions=directions)


def standardised(facts: Sequence[Mapping[str, float]]) -> np.ndarray:
    """`[t, p]` logarithms of facts, each column standardised over all but the last row; 0, the mean, where unknown.

    Facts are sizes and lengths: positive, and acting by ratios. One that is not positive counts as unknown.
    """
    names = sorted({name for known in facts[:-1] for name in known})
    raw = np.array([[known.get(name, 0.0) for name in names] for known in facts]).reshape(len(facts), len(names))
    logs = np.log(raw, where=raw > 0, out=np.full(raw.shape, np.nan))
    logs = logs[:, (~np.isnan(logs[:-1])).any(axis=0)]
    spread = np.nanstd(logs[:-1], axis=0)
    return np.nan_to_num((logs - np.nanmean(logs[:-1], axis=0)) / np.where(spread > 1e-9, spread, np.inf))


@lru_cache(maxsize=1024)
def _coherent(task: Task, metric_model: MetricModel) -> bool:
    grid = _own_grid((task,))
    found = [_evidence(grid, [task], np.zeros((1, 0)), metric_model, metric) for metric in metric_model.metrics]
    scores = [coherence(grid, evidence) for each in found for evidence in each.values() if len(evidence.y) >= _ENOUGH]
    return not scores or float(np.mean(scores)) >= COHERENT


def _evidence(
    grid: JointGrid, sources: Sequence[Task], facts: np.ndarray, metric_model: MetricModel, quantity: str
) -> dict[int, TaskMeasurements]:
    """What each source measured of a quantity, by its number; those that did not measure it are left out."""
    out = {}
    for number, (task, rows, known) in enumerate(zip(sources, grid.rows, facts, strict=True)):
        on_grid = (Observation(int(row), each.metrics) for row, each in zip(rows, task.observed, strict=True))
        at, y = metric_model.measured(on_grid, quantity)
        if len(at):
            out[number] = TaskMeasurements(at, y, known, task.group)
    return out


@lru_cache(maxsize=64)
def _source_prior(sources: tuple[Task, ...], shares: Bounds, quantity: str, noise: float) -> SourcePrior:
    """What is learned about one quantity, independent of the problem; cached, as sources are compared by identity."""
    grid = _own_grid(sources)
    facts = standardised([*(task.facts for task in sources), {}])[:-1]
    evidence = _evidence(grid, sources, facts, MetricModel((), shares), quantity)
    return fit(grid, [*evidence.values()], noise)


def _own_grid(sources: tuple[Task, ...]) -> JointGrid:
    """The grid of the sources' measured configurations only, however large their spaces are."""
    first = sources[0]
    return grid_over(first.space.subset(np.array([o.position for o in first.observed[:1]] or [0])), sources)
