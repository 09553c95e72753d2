"""Multilayer perceptron with two hidden layers, as plain functions over a dict of tensors.

A dict, not a module, because MAML differentiates through changed weights and adapts many copies at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

MlpWeights = Mapping[str, Tensor]
"""`w0 [d, h]`, `b0 [h]`, `w1 [h, h]`, `b1 [h]`, `w2 [h, 1]`, `b2 [1]`."""

HIDDEN = 128  # as in Morphling (SoCC 2021)


def initial_weights(
    columns: int, generator: torch.Generator, *, hidden: int = HIDDEN, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Random weights, normal with variance 2/fan-in (He et al. 2015), the last layer's a tenth; biases zero.

    Large outputs at the start would make the inner loop's first steps diverge.
    """
    sizes = (columns, hidden, hidden, 1)
    weights: dict[str, Tensor] = {}
    for layer, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
        scale = math.sqrt(2 / max(1, fan_in)) * (0.1 if layer == 2 else 1.0)
        weights[f"w{layer}"] = scale * torch.randn(fan_in, fan_out, generator=generator, dtype=dtype)
        weights[f"b{layer}"] = torch.zeros(fan_out, dtype=dtype)
    return weights


def predict(weights: MlpWeights, x: Tensor) -> Tensor:
    """`[n, d]` features → `[n]` values: linear, ReLU, linear, ReLU, linear."""
    hidden = torch.relu(x @ weights["w0"] + weights["b0"])
    hidden = torch.relu(hidden @ weights["w1"] + weights["b1"])
    return (hidden @ weights["w2"] + weights["b2"]).squeeze(-1)


def squared_error(weights: MlpWeights, x: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """Mean of (f(x) − y)² over the points whose `mask` is 1; 0 if there are none.

    The paper's L is the sum; the mean makes one step size fit one point as well as thirty.
    """
    return (mask * (predict(weights, x) - y) ** 2).sum() / mask.sum().clamp(min=1)
