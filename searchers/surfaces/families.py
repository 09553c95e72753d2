"""Kinds of services, and what z may be, given what is known of one before its first trial.

    family | columns, facts given    naive Bayes on which columns the space has and which facts there are
    u | facts given, family          the other facts: a Gaussian, conditioned
    z | u, family                    z = m(u, family) + e,  e ~ N(μ, Σ) of the family

m is a small network that is trained with the surfaces, so facts enter z as the surfaces need them; e is what the
facts do not tell. Notation: G families, C columns, F facts (standardised logarithms u), Z latents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import silu

from searchers.surfaces.net import Weights

_RARE = 0.02
"""No column and no fact is quite impossible or quite certain in a family."""

_JITTER = 1e-6


def latent_mean(weights: Weights, u: Tensor, family: Tensor) -> Tensor:
    """m: facts `[…, F]`, complete, and families as one-hot `[…, G]` → `[…, Z]`."""
    hidden = silu(torch.cat([u, family], -1) @ weights["m0"] + weights["m0.bias"])
    return hidden @ weights["m1"] + weights["m1.bias"]


@dataclass(frozen=True)
class Families:
    """What training found in each kind of service.

    Args:
        columns: `[G, C]` share of its tasks whose space has the column.
        facts: `[G, F]` 1 where it has the fact, else 0.
        fact_mean: `[G, F]` of u; 0 where it has not.
        fact_covariance: `[G, F, F]` of u; 0 where it has not.
        latent_mean: `[G, Z]` μ.
        latent_covariance: `[G, Z, Z]` Σ.
    """

    columns: np.ndarray
    facts: np.ndarray
    fact_mean: np.ndarray
    fact_covariance: np.ndarray
    latent_mean: np.ndarray
    latent_covariance: np.ndarray

    def __post_init__(self) -> None:
        families, facts = self.facts.shape
        latents = self.latent_mean.shape[-1]
        shapes = {
            "columns": (families, self.columns.shape[-1]), "fact_mean": (families, facts),
            "fact_covariance": (families, facts, facts), "latent_mean": (families, latents),
            "latent_covariance": (families, latents, latents),
        }  # fmt: skip
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} of {families} families is {getattr(self, name).shape}, not {shape}")

    def __len__(self) -> int:
        return len(self.facts)

    def probabilities(self, columns: np.ndarray, u: np.ndarray) -> np.ndarray:
        """`[G]` chances of each family.

        Args:
            columns: `[C]` which columns the space has. Lacking one says something too.
            u: `[F]` facts, NaN where missing. A missing fact says nothing: it may just not have been told.
        """
        return family_probabilities(self.columns, self.facts, columns, u)

    def complete(self, u: np.ndarray, family: int, noise: np.ndarray) -> np.ndarray:
        """Facts with the missing ones drawn from what the family's given ones leave open.

        Args:
            u: `[F]`, NaN where missing.
            family: which one.
            noise: `[m, F]` standard normal numbers; 0 gives the conditional mean.

        Returns:
            `[m, F]`; 0 for facts that the family does not have.
        """
        mean, covariance = self.fact_mean[family], self.fact_covariance[family]
        has = self.facts[family] > 0
        given, missing = np.flatnonzero(has & ~np.isnan(u)), np.flatnonzero(has & np.isnan(u))
        out = np.zeros((len(noise), len(u)))
        out[:, given] = u[given]
        if len(missing):
            inner = covariance[np.ix_(given, given)] + _JITTER * np.eye(len(given))
            slope = np.linalg.solve(inner, covariance[np.ix_(given, missing)]).T
            left = covariance[np.ix_(missing, missing)] - slope @ covariance[np.ix_(given, missing)]
            root = np.linalg.cholesky(left + _JITTER * np.eye(len(missing)))
            out[:, missing] = mean[missing] + slope @ (u - mean)[given] + noise[:, missing] @ root.T
        return out

    def rest(self, family: int, noise: np.ndarray) -> np.ndarray:
        """`[m, Z]` draws of e from as many rows of standard normal numbers."""
        root = np.linalg.cholesky(self.latent_covariance[family] + _JITTER * np.eye(noise.shape[1]))
        return self.latent_mean[family] + noise @ root.T


def family_probabilities(
    column_share: np.ndarray, has_fact: np.ndarray, columns: np.ndarray, u: np.ndarray
) -> np.ndarray:
    """Naive Bayes with equal priors; arguments as in `Families`."""
    share, has = (np.clip(table, _RARE, 1 - _RARE) for table in (column_share, has_fact))
    log = np.where(columns, np.log(share), np.log1p(-share)).sum(axis=1) + np.log(has)[:, ~np.isnan(u)].sum(axis=1)
    chances = np.exp(log - log.max())
    return chances / chances.sum()
