"""Families of services, and the distribution of z given what is known about a service before its first trial.

    family | columns, facts given    naive Bayes on which columns the space has and which facts there are
    u | facts given, family          the other facts: a Gaussian, conditioned
    z | u, family                    z = m(u, family) + e,  e ~ N(μ, Σ) of the family

m is a small network that is trained together with the surfaces, so that it extracts from facts what the surfaces need;
e is what the facts do not determine. Notation: G families, C columns, F facts (standardised logarithms u), Z latents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import silu

from searchers.surfaces.net import SurfaceWeights

_RARE = 0.02
"""Smallest probability that a family has, or lacks, a column or fact, so that none is impossible or certain."""

_JITTER = 1e-6


def latent_mean(weights: SurfaceWeights, u: Tensor, family: Tensor) -> Tensor:
    """m: complete facts `[…, F]` and one-hot families `[…, G]` → `[…, Z]`."""
    hidden = silu(torch.cat([u, family], -1) @ weights["m0"] + weights["m0.bias"])
    return hidden @ weights["m1"] + weights["m1.bias"]


@dataclass(frozen=True)
class Families:
    """Statistics of the training tasks in each family.

    Args:
        columns: `[G, C]` share of the family's tasks whose space has the column.
        facts: `[G, F]` 1 where the family has the fact, else 0.
        fact_mean: `[G, F]` mean of u; 0 for facts that the family does not have.
        fact_covariance: `[G, F, F]` covariance of u; 0 for facts that the family does not have.
        latent_mean: `[G, Z]` μ, the mean of e.
        latent_covariance: `[G, Z, Z]` Σ, the covariance of e.
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
            if (found := getattr(self, name).shape) != shape:
                raise ValueError(f"{name} of {families} families must have shape {shape}; got {found}")

    def __len__(self) -> int:
        return len(self.facts)

    def probabilities(self, columns: np.ndarray, u: np.ndarray) -> np.ndarray:
        """`[G]` probability of each family.

        Args:
            columns: `[C]` which columns the space has. A missing column is evidence too.
            u: `[F]` facts, NaN where missing. A missing fact is no evidence: it may just not have been stated.
        """
        return family_probabilities(self.columns, self.facts, columns, u)

    def complete(self, u: np.ndarray, family: int, noise: np.ndarray) -> np.ndarray:
        """Complete the facts by draws of the missing ones, conditioned on the given ones in a family.

        Args:
            u: `[F]` facts, NaN where missing.
            family: index of the family.
            noise: `[m, F]` standard normal numbers; 0 gives the conditional mean.

        Returns:
            `[m, F]` facts; 0 for facts that the family does not have.
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
        """`[m, Z]` draws of e, made from `[m, Z]` standard normal numbers."""
        root = np.linalg.cholesky(self.latent_covariance[family] + _JITTER * np.eye(noise.shape[1]))
        return self.latent_mean[family] + noise @ root.T


def family_probabilities(
    column_share: np.ndarray, has_fact: np.ndarray, columns: np.ndarray, u: np.ndarray
) -> np.ndarray:
    """`[G]` probability of each family by naive Bayes with equal priors; arguments as in `Families`."""
    share, has = (np.clip(table, _RARE, 1 - _RARE) for table in (column_share, has_fact))
    log = np.where(columns, np.log(share), np.log1p(-share)).sum(axis=1) + np.log(has)[:, ~np.isnan(u)].sum(axis=1)
    chances = np.exp(log - log.max())
    return chances / chances.sum()
