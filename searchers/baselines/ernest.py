"""Search by Morphling's network without meta-training."""

from __future__ import annotations

import numpy as np
import torch

from searchers.base import History, Problem, largest_free
from searchers.morphling.mlp import initial_weights, predict, squared_error

_STEPS, _STEP_SIZE = 100, 0.01
"""Number and size of Adam steps per suggestion. Our choice, as the paper gives none."""
_RANDOM_FIRST = 10
"""Number of random configurations at the start. Our choice."""


def fit(
    x: torch.Tensor, y: torch.Tensor, *, steps: int, step_size: float, generator: torch.Generator
) -> dict[str, torch.Tensor]:
    """Train the network of `mlp` from random weights on `[k, d]` features and `[k]` values, by Adam."""
    start = initial_weights(x.shape[1], generator, dtype=x.dtype)
    weights = {name: value.requires_grad_() for name, value in start.items()}
    optimizer = torch.optim.Adam(weights.values(), lr=step_size)
    everything = torch.ones_like(y)
    for _ in range(steps):
        optimizer.zero_grad()
        squared_error(weights, x, y, everything).backward()
        optimizer.step()
    return {name: value.detach() for name, value in weights.items()}


class Ernest:
    """Trains Morphling's network from scratch on this service's measurements and measures its argmax.

    The Morphling paper's baseline of that name (SoCC 2021, section 5), after Venkataraman et al., "Ernest"
    (NSDI 2016). The first few configurations are random, every fit starts from new random weights, and now
    and then a random configuration is measured: our choice, as the paper gives none. If only the argmax is
    measured, the search stays in the first good region and loses to random search.

    Args:
        problem: the space to search and the objective.
        random_share: probability that a configuration after the first few is random.
    """

    def __init__(self, problem: Problem, *, random_share: float = 0.2) -> None:
        features = problem.space.features
        spread = features.std(axis=0)
        # A constant column carries no information: it is set to 0.
        standardised = (features - features.mean(axis=0)) / np.where(spread > 1e-12, spread, np.inf)
        self._problem = problem
        self._x = torch.from_numpy(standardised).float()
        self._random_share = random_share

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The free position of the largest prediction, or a random one."""
        values = self._problem.values(history)
        at_random = rng.random() < self._random_share or len(values) < _RANDOM_FIRST
        if at_random or not values.any():
            return largest_free(np.zeros(len(self._x)), history, rng)
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        x = self._x[[o.position for o in history.observed]]
        y = torch.from_numpy(values / values.max()).float()
        weights = fit(x, y, steps=_STEPS, step_size=_STEP_SIZE, generator=generator)
        with torch.no_grad():
            return largest_free(predict(weights, self._x).numpy(), history, rng)
