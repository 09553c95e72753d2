"""Meta-trained model with what is needed to use it on another space: columns, standardisation, how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from searchers.morphling.mlp import MlpWeights
from searchers.pretrained import weights_file

_KIND = weights_file.FileKind("meta_model", "meta-model", "raytune-infer meta-train --model morphling")


@dataclass(frozen=True)
class MetaModel:
    """Meta-trained weights, with the names and the standardisation of their inputs.

    Args:
        weights: θ_meta.
        columns: names of the d inputs.
        mean: `[d]` number that is subtracted from each column.
        scale: `[d]` number by which each column is then divided.
        step_size: α that the weights were trained for.
        card: description of the training (data, procedure, date, seed, figures); anything that JSON can hold.

    Raises:
        ValueError: weights or standardisation do not match the columns, or a scale is not positive.
    """

    weights: MlpWeights
    columns: tuple[str, ...]
    mean: np.ndarray
    scale: np.ndarray
    step_size: float
    card: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        d = len(self.columns)
        shapes = (self.weights["w0"].shape[0], *self.mean.shape, *self.scale.shape)
        if shapes != (d, d, d):
            raise ValueError(f"there are {d} columns, but weights, mean and scale have sizes {shapes}")
        if not (self.scale > 0).all():
            raise ValueError("every column needs a positive scale")

    def standardise(self, features: np.ndarray, columns: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
        """Convert features of a space to this model's inputs, followed by the columns that the model does not know.

        A known column is standardised as in meta-training; one that the space lacks is set to 0, the
        meta-training mean; an unknown one is standardised over the space (all 0 if it is constant).

        Args:
            features: `[n, c]` raw features.
            columns: names of the c columns.

        Returns:
            `[n, d + u]` inputs and the names of the u unknown columns.
        """
        at = {column: i for i, column in enumerate(columns)}
        unknown = tuple(column for column in columns if column not in set(self.columns))
        out = np.zeros((len(features), len(self.columns) + len(unknown)))
        for i, column in enumerate(self.columns):
            if column in at:
                out[:, i] = (features[:, at[column]] - self.mean[i]) / self.scale[i]
        for i, column in enumerate(unknown, start=len(self.columns)):
            raw = features[:, at[column]]
            spread = raw.std()
            out[:, i] = (raw - raw.mean()) / (spread if spread > 1e-12 else np.inf)
        return out, unknown

    def weights_for(self, unknown: int) -> dict[str, Tensor]:
        """The weights with a zero row for each of the `unknown` columns, which have no influence until adapted."""
        w0 = self.weights["w0"]
        return {**self.weights, "w0": torch.cat([w0, torch.zeros(unknown, w0.shape[1], dtype=w0.dtype)])}

    def save(self, path: Path) -> None:
        """Write one safetensors file; everything but the tensors is JSON in its header."""
        tensors = {f"weights.{name}": value for name, value in self.weights.items()}
        tensors |= {"mean": torch.from_numpy(self.mean.copy()), "scale": torch.from_numpy(self.scale.copy())}
        about = {"columns": self.columns, "step_size": self.step_size, "card": dict(self.card)}
        weights_file.write(path, _KIND, tensors, about)

    @classmethod
    def load(cls, path: Path) -> MetaModel:
        """Read what `save` wrote.

        Raises:
            ValueError: there is no such file, or it holds no meta-model.
        """
        tensors, about = weights_file.read(path, _KIND)
        return cls(
            weights=weights_file.part(tensors, "weights"),
            columns=tuple(about["columns"]),
            mean=tensors["mean"].numpy(),
            scale=tensors["scale"].numpy(),
            step_size=about["step_size"],
            card=about["card"],
        )
