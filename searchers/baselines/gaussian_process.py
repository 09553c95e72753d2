"""Gaussian processes by BoTorch, fitted once and evaluated on a finite space.

Balandat et al., "BoTorch: A Framework for Efficient Monte-Carlo Bayesian Optimization" (NeurIPS 2020).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import botorch.settings
import numpy as np
import torch
from botorch.exceptions.errors import BotorchError
from botorch.models import SingleTaskGP
from botorch.optim.fit import fit_gpytorch_mll_scipy
from gpytorch.mlls import ExactMarginalLogLikelihood
from linear_operator.utils.errors import NanError, NotPSDError

from searchers.base import History, Problem, largest_free

_NUMERICAL = (
    BotorchError, NotPSDError, NanError, np.linalg.LinAlgError,
    torch.linalg.LinAlgError,  # type: ignore[attr-defined]  # public, but not declared so
)  # fmt: skip
# L-BFGS steps. Our choice: most of what there is to gain, in a seventh of a second; the last few
# hundredths of the likelihood would take five times as long.
_STEPS = 40


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """BoTorch's default model of standardised values, with what converts predictions back to their unit.

    Args:
        model: model of `[k, d]` points; kernel and priors are those of Hvarfner et al. 2024.
        level: mean that was subtracted from the values.
        spread: standard deviation by which they were then divided.
    """

    model: SingleTaskGP
    level: float
    spread: float

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`[n]` marginal mean and `[n]` standard deviation of the noiseless value at each of `[n, d]` points."""
        with torch.no_grad():
            posterior = self.model.posterior(torch.from_numpy(x).unsqueeze(-2))
            mean, variance = posterior.mean[:, 0, 0].numpy(), posterior.variance[:, 0, 0].numpy()
        return self.level + self.spread * mean, self.spread * np.sqrt(np.maximum(variance, 1e-12))

    def joint(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`[n]` mean and `[n, n]` joint covariance of the noiseless values at `[n, d]` points."""
        with torch.no_grad():
            normal = self.model(torch.from_numpy(x))
            mean, covariance = normal.mean.numpy(), normal.covariance_matrix.numpy()
        return self.level + self.spread * mean, self.spread**2 * covariance

    def left_out(self) -> tuple[np.ndarray, np.ndarray]:
        """`[k]` mean and `[k]` standard deviation of each fitted point as predicted by all others (leave-one-out).

        μ_i = y_i − [K⁻¹(y − m)]_i / [K⁻¹]_ii, σ_i² = 1 / [K⁻¹]_ii (Rasmussen and Williams 2006, Eq. 5.12), with the
        hyperparameters of all points.
        """
        with torch.no_grad():
            y = self.model.train_targets
            prior = self.model.likelihood(self.model.forward(self.model.train_inputs[0]))
            inverse = torch.linalg.inv(prior.covariance_matrix)
            variance = 1 / inverse.diagonal()
            mean = y - inverse @ (y - prior.mean) * variance
        return self.level + self.spread * mean.numpy(), self.spread * variance.sqrt().numpy()


def fit(x: np.ndarray, y: np.ndarray, *, spread: float | None = None) -> GaussianProcess:
    """Fit a process to `[k, d]` points and `[k]` values (maximum a posteriori, by L-BFGS from one start).

    Args:
        x: the points.
        y: their values.
        spread: what the values are divided by after their mean is subtracted, where it is known; their standard
            deviation when left out, or 1 if all values are equal, or there is only one.
    """
    level = float(y.mean())
    if spread is None:
        spread = float(y.std()) if y.std() > 1e-9 else 1.0
    standardised = torch.from_numpy((y - level) / spread).unsqueeze(-1)
    # No warnings: points of sources may lie outside this space's cube, and the fit is meant to stop early.
    with botorch.settings.validate_input_scaling(False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = SingleTaskGP(torch.from_numpy(x), standardised, outcome_transform=None)
        likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
        fit_gpytorch_mll_scipy(likelihood, options={"maxiter": _STEPS})
    model.eval()
    return GaussianProcess(model, level, spread)


def prior_then_largest(
    problem: Problem,
    prior: np.ndarray,
    scores: Callable[[np.ndarray], np.ndarray],
    history: History,
    rng: np.random.Generator,
) -> int | None:
    """The free position of the largest prior while no observation is feasible, then that of the largest score.

    Args:
        problem: the search problem.
        prior: `[n]` how good each configuration is expected to be before anything is known about this service.
        scores: `[k]` observed values, one or more above 0 → `[n]` scores.
        history: the search so far.
        rng: breaks ties.
    """
    values = problem.values(history)
    if not values.any() or len(history.taken) == len(prior):
        return largest_free(prior, history, rng)
    return largest_or_random(lambda: scores(values), len(prior), history, rng)


def largest_or_random(
    scores: Callable[[], np.ndarray], n: int, history: History, rng: np.random.Generator
) -> int | None:
    """The free position of the largest score; a random one if the process for the scores could not be fitted.

    A covariance that is not positive definite in floating point must not end a study.
    """
    try:
        found = scores()
    except _NUMERICAL:
        found = np.zeros(n)
    return largest_free(found, history, rng)
