"""Evaluation of surfaces on services that they were not trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import mannwhitneyu, spearmanr
from torch import Tensor

from searchers.base import Task
from searchers.quantities import ROLES
from searchers.surfaces.belief import SurfaceModel
from searchers.surfaces.net import surface
from searchers.surfaces.tasks import Studied, studied
from searchers.surfaces.training import residual_loss

_SAMPLES = 64
_LEAST = 5
"""Fewest observations for which a rank correlation is computed."""

_FIT_STEPS = 40
_FIT_NOISE = 0.22
"""Standard deviation of log quantities around a fitted surface: that of the residuals after training (√0.05)."""


def judge(
    model: SurfaceModel, tasks: Sequence[Task], points: Sequence[int], seed: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Compute median scores over tasks, by family and role.

    Args:
        model: the surfaces to evaluate.
        tasks: services that the model has not seen.
        points: numbers of observations that z is fitted to; 0 for the mean of surfaces drawn from the facts alone.
        seed: seed of the samples and of the choice of observations.

    Returns:
        "family, role" → number of observations → scores as in `score`.
    """
    rng = np.random.default_rng(seed)
    table: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for task in tasks:
        row = studied(task)
        order = rng.permutation(len(row.ran))
        for n in points:
            out = from_facts(model, row, rng) if n == 0 else fitted(model, row, order[:n], rng)
            for role, scores in score(out, row).items():
                table[f"{task.name}, {role}"][str(n)].append(scores)
    return {
        name: {n: {k: float(np.median([s[k] for s in scores])) for k in scores[0]} for n, scores in cell.items()}
        for name, cell in sorted(table.items())
    }


def from_facts(model: SurfaceModel, row: Studied, rng: np.random.Generator) -> np.ndarray:
    """Return the `[k, R + 1]` mean of surfaces drawn for a task from its facts, which are known before any trial."""
    z = torch.from_numpy(model.latents(row.columns, row.facts, _SAMPLES, rng)).float()
    with torch.no_grad():
        return surface(model.weights, _inputs(model, row), z).mean(0).numpy()


def fitted(model: SurfaceModel, row: Studied, at: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the `[k, R + 1]` surface of the most probable z, given some of the task's observations.

    Maximum a posteriori: the prior is a Gaussian fitted to draws of z from the facts, the likelihood is that of the
    observations.
    """
    draws = model.latents(row.columns, row.facts, 8 * _SAMPLES, rng)
    mean = torch.from_numpy(draws.mean(0)).float()
    root = torch.from_numpy(np.linalg.cholesky(np.cov(draws.T) + 1e-6 * np.eye(draws.shape[1]))).float()
    x, log, ran = _inputs(model, row), torch.from_numpy(row.log).float(), torch.from_numpy(row.ran).float()
    whitened = torch.zeros(len(mean), requires_grad=True)
    optimizer = torch.optim.LBFGS([whitened], max_iter=_FIT_STEPS, line_search_fn="strong_wolfe")
    counted = ((~torch.isnan(log[at])).sum(0) - 1).clamp(min=0)

    def loss() -> Tensor:
        optimizer.zero_grad()
        variance, entropy = residual_loss(surface(model.weights, x[at], mean + root @ whitened), log[at], ran[at])
        misfit = (variance * counted).sum() / (2 * _FIT_NOISE**2) + len(at) * entropy
        posterior = misfit + (whitened**2).sum() / 2
        posterior.backward()
        return posterior

    optimizer.step(loss)
    with torch.no_grad():
        return surface(model.weights, x, mean + root @ whitened).numpy()


def score(out: np.ndarray, row: Studied) -> dict[str, dict[str, float]]:
    """Score a predicted surface against the measured one.

    Args:
        out: `[k, R + 1]` predictions for the task's observations.
        row: the measured task.

    Returns:
        role → "correlation" (Spearman's) and "rmse" of the centred natural logarithm, where it was measured; for
        "can run" the "auc". There is no score for too few observations or if all of them are equal.
    """
    scores: dict[str, dict[str, float]] = {}
    for r, role in enumerate(ROLES):
        there = ~np.isnan(row.log[:, r])
        said, truth = out[there, r], row.log[there, r]
        if len(truth) >= _LEAST and np.ptp(truth) > 0 and np.ptp(said) > 0:
            apart = (said - said.mean()) - (truth - truth.mean())
            correlation = float(spearmanr(said, truth).statistic)
            scores[role] = {"correlation": correlation, "rmse": float(np.sqrt((apart**2).mean()))}
    if 0 < row.ran.sum() < len(row.ran):
        could, could_not = out[row.ran, -1], out[~row.ran, -1]
        scores["can run"] = {"auc": float(mannwhitneyu(could, could_not).statistic / (len(could) * len(could_not)))}
    return scores


def _inputs(model: SurfaceModel, row: Studied) -> Tensor:
    return torch.from_numpy(model.inputs.of_space(row.features, row.columns)).float()
