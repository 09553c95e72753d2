"""What the network of surfaces sees of a configuration and of a service: columns and facts, standardised by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

FARTHEST = 4.0
"""Standard deviations at which an input ends: beyond what was trained on, a network makes anything up."""


def is_quantity(column: str) -> bool:
    """Whether a column means the same in every space; `engine=vllm` is one value of a knob nobody knows."""
    return "=" not in column


@dataclass(frozen=True)
class Inputs:
    """Names of columns and facts with the mean and scale that standardise them.

    Args:
        columns: C names of feature columns.
        mean: `[C]` what is subtracted.
        scale: `[C]` what it is then divided by.
        facts: F names of facts.
        fact_mean: `[F]` of their natural logarithms.
        fact_scale: `[F]` of their natural logarithms.

    Raises:
        ValueError: lengths that do not match, or a scale that is not positive.
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
                raise ValueError(f"{len(names)} names need a mean and a positive scale each, got {mean} and {scale}")

    def known(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """Those of a space's columns that are inputs."""
        return tuple(column for column in columns if column in self.columns)

    def of_space(self, features: np.ndarray, columns: tuple[str, ...]) -> np.ndarray:
        """`[n, c]` raw features → `[n, 2C]`: each column standardised, 0 where the space lacks it; then presence."""
        at = {column: i for i, column in enumerate(columns)}
        out = np.zeros((len(features), 2 * len(self.columns)))
        for i, column in enumerate(self.columns):
            if column in at:
                out[:, i] = (features[:, at[column]] - self.mean[i]) / self.scale[i]
                out[:, len(self.columns) + i] = 1
        return np.clip(out, -FARTHEST, FARTHEST)

    def of_facts(self, facts: Mapping[str, float]) -> np.ndarray:
        """`[F]` standardised logarithms; NaN where a fact is missing. Facts of other names are ignored.

        Raises:
            ValueError: a fact that is not positive.
        """
        if bad := {k: v for k, v in facts.items() if k in self.facts and not (np.isfinite(v) and v > 0)}:
            raise ValueError(f"facts are positive numbers, got {bad}; leave out what is not known")
        raw = np.array([np.log(facts[name]) if name in facts else np.nan for name in self.facts])
        return np.clip((raw - self.fact_mean) / self.fact_scale, -FARTHEST, FARTHEST)
