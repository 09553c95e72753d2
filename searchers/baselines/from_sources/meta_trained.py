"""Morphling as in its paper: its meta-model is trained on the services that were studied before, over this space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from searchers.base import Problem
from searchers.baselines.from_sources.source_values import Source, learnt_once, sources_of
from searchers.morphling.maml import Tasks, meta_train_for_search
from searchers.morphling.meta_model import MetaModel
from searchers.morphling.morphling import Morphling, inputs_of

_EPISODES = 400
"""Outer steps. Our choice, as the paper gives none: seconds, once for each tuple of sources and objective."""
_STEP_SIZE = 0.01
"""α. Our choice: a fifth of the shipped model's, with which the inner loop diverges in the first of few episodes."""
_META_STEP_SIZE, _SHOTS, _TASKS_PER_EPISODE = 3e-3, 20, 16
"""β, K at most, and the size of a batch: those of the shipped model's recipe."""


@learnt_once
def meta_model_of_sources(problem: Problem) -> MetaModel | None:
    """The meta-model trained on all sources by second-order MAML (the paper's Algorithm 1); None without sources."""
    sources = sources_of(problem)
    if not sources:
        return None
    inputs, columns = inputs_of(problem)
    spread = inputs.std(axis=0)
    mean, scale = inputs.mean(axis=0), np.where(spread > 1e-12, spread, 1.0)
    tasks = tasks_of(sources, (inputs - mean) / scale, columns, problem)
    weights = meta_train_for_search(
        tasks,
        step_size=_STEP_SIZE,
        meta_step_size=_META_STEP_SIZE,
        shots=min(_SHOTS, tasks.y.shape[1]),
        episodes=_EPISODES,
        tasks_per_episode=_TASKS_PER_EPISODE,
        # A seed of its own: what is learnt from sources must not depend on which search asked first.
        generator=torch.Generator().manual_seed(0),
    )
    return MetaModel(weights, columns, mean, scale, _STEP_SIZE)


def tasks_of(sources: Sequence[Source], inputs: np.ndarray, columns: tuple[str, ...], problem: Problem) -> Tasks:
    """The sources as tasks of as many points each; the points of a source that has fewer occur more than once.

    Args:
        sources: the sources.
        inputs: `[n, c]` standardised inputs of this problem's configurations: its d features, and a price if the goal
            names it.
        columns: names of the c inputs.
        problem: the problem at hand.
    """
    most, d = max(len(s.values) for s in sources), problem.space.features.shape[1]
    low, high = inputs.min(axis=0), inputs.max(axis=0)
    x, y = np.zeros((len(sources), most, len(columns))), np.zeros((len(sources), most))
    for i, source in enumerate(sources):
        rows = np.resize(np.random.default_rng(0).permutation(len(source.values)), most)
        # Source.x spans 0 to 1 where this space's inputs span low to high.
        x[i, :, :d] = low[:d] + source.x[rows] * (high - low)[:d]
        # Elsewhere the price column has its mean, 0.
        x[i, :, d:] = np.where(source.positions[rows, None] >= 0, inputs[source.positions[rows], d:], 0.0)
        y[i] = source.values[rows] / source.values.max()
    return Tasks(torch.from_numpy(x).float(), torch.from_numpy(y).float(), columns)


def morphling(problem: Problem) -> Morphling:
    """Morphling with a meta-model of the problem's sources; with the shipped one if there are none."""
    return Morphling(problem, meta_model_of_sources(problem))
