"""Plain transfer: a network trained on the sources, then fine-tuned on this service."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from searchers.base import History, Problem, Searcher, largest_free
from searchers.baselines.ernest import Ernest
from searchers.baselines.from_sources.source_values import learnt_once, sources_of, unit_cube
from searchers.morphling.maml import unit_of
from searchers.morphling.mlp import initial_weights, predict, squared_error

_STEPS, _STEP_SIZE = 1000, 0.003  # of pretraining; our choice: the training error has levelled off by then
_TUNING_STEPS, _TUNING_STEP_SIZE = 50, 0.001  # our choice; a third of pretraining's step size, as is usual
_BATCH = 256  # our choice: every source in nearly every step, a millisecond each


@learnt_once
def pretrained_on_sources(problem: Problem) -> dict[str, Tensor] | None:
    """The network of `mlp`, trained to predict every source's values as fractions of its best; None without sources."""
    sources = sources_of(problem)
    if not sources:
        return None
    x = torch.from_numpy(np.concatenate([s.x for s in sources])).float()
    y = torch.from_numpy(np.concatenate([s.values / s.values.max() for s in sources])).float()
    # A seed of its own: what is learnt from sources must not depend on which search asked first.
    generator = torch.Generator().manual_seed(0)
    start = initial_weights(x.shape[1], generator)
    return trained(start, x, y, steps=_STEPS, step_size=_STEP_SIZE, generator=generator)


def trained(
    weights: dict[str, Tensor], x: Tensor, y: Tensor, *, steps: int, step_size: float, generator: torch.Generator
) -> dict[str, Tensor]:
    """Weights after Adam steps on the squared error for `[m, d]` features and `[m]` values, in random batches."""
    theta = {name: value.detach().clone().requires_grad_() for name, value in weights.items()}
    optimizer = torch.optim.Adam(theta.values(), lr=step_size)
    for _ in range(steps):
        batch = torch.randperm(len(y), generator=generator)[:_BATCH]
        optimizer.zero_grad()
        squared_error(theta, x[batch], y[batch], torch.ones(len(batch))).backward()
        optimizer.step()
    return {name: value.detach() for name, value in theta.items()}


class FineTuning:
    """The Morphling paper's baseline of that name (SoCC 2021, section 5): pretrain, fine-tune, measure the argmax.

    Pretraining minimises the prediction error on the sources, not the error after adaptation: the difference to
    `morphling` is the meta-training. Every suggestion fine-tunes the pretrained weights anew on all
    measurements, divided by `maml.unit_of`. Without sources it is `ernest`.

    Args:
        problem: the space to search, the objective, and the sources.
    """

    def __init__(self, problem: Problem) -> None:
        weights = pretrained_on_sources(problem)
        self._alone: Searcher | None = Ernest(problem) if weights is None else None
        self._weights = weights or {}
        self._problem = problem
        self._x = torch.from_numpy(unit_cube(problem, problem.space.features)).float()

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The free position of the largest prediction."""
        if self._alone is not None:
            return self._alone.suggest(history, rng)
        weights = self._weights
        if history.observed:
            x = self._x[[o.position for o in history.observed]]
            y = torch.from_numpy(self._problem.values(history)).float()
            y = y / unit_of(predict(weights, x), y)
            generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
            weights = trained(weights, x, y, steps=_TUNING_STEPS, step_size=_TUNING_STEP_SIZE, generator=generator)
        with torch.no_grad():
            return largest_free(predict(weights, self._x).numpy(), history, rng)
