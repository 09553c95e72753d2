"""Quantile-based transfer: sampling from a distribution, learned from sources, of how good each configuration is.

Salinas, Shen, Perrone, "A Quantile-based Approach for Hyperparameter Transfer Learning" (ICML 2020). Implemented
from the paper: Syne Tune's implementation samples from the full product of the knobs and keeps its own
state, and it brings gradient-boosted trees as a dependency.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.stats import norm, rankdata
from torch import Tensor, nn

from searchers.base import History, Problem, largest_free
from searchers.baselines.from_sources.source_values import learnt_once, sources_of, unit_cube

_HIDDEN = 50  # our choice, like depth and batch: small beside thousands of rows
_STEP_SIZES = (0.01, 0.001, 0.0001)  # our choice: Adam with two drops, until the loss levels off
_STEPS = 200  # at each of them
_BATCH = 512


def normal_scores(values: np.ndarray) -> np.ndarray:
    """`[m]` z = Φ⁻¹(F̂(value)), F̂ the empirical distribution within a task.

    F̂ is clipped to δ … 1 − δ with δ = 1 / (4 m^¼ √(π ln m)) (Liu et al. 2009), else the best score would be infinite.
    Equal values share their mean rank.
    """
    m = len(values)
    cut = 1 / (4 * m**0.25 * math.sqrt(math.pi * math.log(max(m, 2))))
    return norm.ppf(np.clip(rankdata(values) / m, cut, 1 - cut))


@learnt_once
def usual_scores(problem: Problem) -> tuple[np.ndarray, np.ndarray] | None:
    """`[n]` mean and `[n]` standard deviation of every configuration's normal score; None without sources.

    One network predicts both; it is trained on all sources by the likelihood of N(μ(x), σ(x)²) (the paper's loss).
    """
    sources = sources_of(problem)
    if not sources:
        return None
    x = torch.from_numpy(np.concatenate([s.x for s in sources])).float()
    z = torch.from_numpy(np.concatenate([normal_scores(s.values) for s in sources])).float()
    network = _fitted(x, z)
    with torch.no_grad():
        mean, std = _mean_and_std(network, torch.from_numpy(unit_cube(problem, problem.space.features)).float())
    return mean.double().numpy(), std.double().numpy()


def _fitted(x: Tensor, z: Tensor) -> nn.Module:
    # Random numbers are separate from the caller's, and the same for every search.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = (nn.Linear(x.shape[1], _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU())
        network = nn.Sequential(*layers, nn.Linear(_HIDDEN, 2))
        for step_size in _STEP_SIZES:
            optimizer = torch.optim.Adam(network.parameters(), lr=step_size)
            for _ in range(_STEPS):
                batch = torch.randperm(len(z))[:_BATCH]
                mean, std = _mean_and_std(network, x[batch])
                optimizer.zero_grad()
                nn.functional.gaussian_nll_loss(mean, z[batch], std**2).backward()
                optimizer.step()
    return network


def _mean_and_std(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    mean, raw = network(x).unbind(dim=-1)
    return mean, nn.functional.softplus(raw) + 0.01  # Never certain, so that the likelihood stays finite.


class QuantileTransfer:
    """Copula Thompson sampling (CTS in the paper): measures the best configuration in a sample of μ(x) + σ(x)·ε.

    As in the paper, measurements of this service only determine which configurations are still free. Infeasible
    configurations share the lowest rank of their source. Without sources it is random search.

    Args:
        problem: the space to search, the objective, and the sources.
    """

    def __init__(self, problem: Problem) -> None:
        n = len(problem.space)
        # `[n]` each; without sources every configuration is as likely to be the best.
        self._mean: np.ndarray = np.zeros(n)
        self._std: np.ndarray = np.ones(n)
        if (usual := usual_scores(problem)) is not None:
            self._mean, self._std = usual

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The free position of the largest sample."""
        return largest_free(rng.normal(self._mean, self._std), history, rng)
