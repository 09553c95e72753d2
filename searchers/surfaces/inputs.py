"""Inputs of the surface network: a configuration's columns and a service's facts, standardised by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

FARTHEST = 4.0
"""Inputs are clipped to this many standard deviations: far from its training data, a network's output is arbitrary."""


def is_quantity(column: str) -> bool:
    """Whether a column has the same meaning in every space, unlike `engine=vllm`, one value of a categorical knob."""
    return "=" not in column


@dataclass(frozen=True)
class Inputs:
    """Names of columns and facts, with the mean and scale that standardise them.

    Args:
        columns: C names of feature columns.
        mean: `[C]` number that is subtracted from each column.
        scale: `[C]` number by which each column is then divided.
        facts: F names of facts.
        fact_mean: `[F]` mean of the facts' natural logarithms.
        fact_scale: `[F]` scale of the facts' natural logarithms.

    Raises:
        ValueError: the lengths do not match, or a scale is not positive.
    """

    columns: tuple[str, ...]
    mean: np.ndarray
    scale: np.ndarray
    facts: tuple[str, ...]
    fact_mean: np.ndarray
    fact_scale: np.ndarray

    def __post_init__(self) -> None:
        for names, mean, scale in (
            (self.columns, self.mean, self.scale), (self.facts, self.fact_mean, self.fact_scale)
        ):  # fmt: skip
            if (*mean.shape, *scale.shape) != (len(names), len(names)) or not (scale > 0).all():
                raise ValueError(
                    f"each of the {len(names)} inputs needs one mean and one positive scale; got {mean} and {scale}"
                )

    def known(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """The columns of a space that are inputs of the network."""
        return tuple(column for column in columns if column in self.columns)

    def of_space(self, features: np.ndarray, columns: tuple[str, ...]) -> np.ndarray:
        """`[n, c]` raw features → `[n, 2C]`: standardised columns, 0 if the space lacks one; then presence, 1 or 0."""
        at = {column: i for i, column in enumerate(columns)}
        out = np.zeros((len(features), 2 * len(self.columns)))
        for i, column in enumerate(self.columns):
            if column in at:
                out[:, i] = (features[:, at[column]] - self.mean[i]) / self.scale[i]
                out[:, len(self.columns) + i] = 1
        return np.clip(out, -FARTHEST, FARTHEST)

    def of_facts(self, facts: Mapping[str, float]) -> np.ndarray:
        """`[F]` standardised logarithms of facts; NaN where a fact is missing. Facts of other names are ignored.

        Raises:
            ValueError: a fact is not positive.
        """
        if bad := {k: v for k, v in facts.items() if k in self.facts and not (np.isfinite(v) and v > 0)}:
            raise ValueError(f"facts must be positive numbers; got {bad} (leave out unknown facts)")
        raw = np.array([np.log(facts[name]) if name in facts else np.nan for name in self.facts])
        return np.clip((raw - self.fact_mean) / self.fact_scale, -FARTHEST, FARTHEST)
