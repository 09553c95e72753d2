"""How alike two configurations are: a covariance over a grid of knob values, and how it is learned.

    k(x, x') = level² + main² · mean_j k_j(x_j, x'_j) + joint² · Π_j k_j(x_j, x'_j) + own² · [x = x']

A level, a sum of one curve for each knob, what only combinations of all knobs explain, and each configuration's own
quirk (Duvenaud, Nickisch, Rasmussen 2011, "Additive Gaussian processes", with the first and last order only).
k_j is Matérn 5/2 over what the knob's values are; values of a categorical knob also differ for no known reason:
k_j = alike · matern + (1 - alike) · [same value].

Notation: a axes (knobs), v_j values of knob j, g rows of ranks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from searchers.atlas import ABSENT, Axis

ABSENT_ALIKE = 0.5
"""k_j between any value and a knob that the other task does not have. Our choice."""


@dataclass(frozen=True)
class Scales:
    """The kernel's parameters; standard deviations in natural logarithms of the quantity.

    Args:
        level: of the whole surface.
        main: of the knobs' curves together.
        joint: of what combinations add.
        own: of each configuration's own quirk.
        lengths: `[a]` over which a knob's curve changes, in standard deviations of its values.
        alike: how much of a categorical knob's likeness its features explain.
    """

    level: float
    main: float
    joint: float
    own: float
    lengths: np.ndarray
    alike: float


def generic(axes: Sequence[Axis]) -> Scales:
    """Before anything is known: resources act by factors of a few, smoothly. Our choice."""
    return Scales(level=2.0, main=1.5, joint=0.7, own=0.05, lengths=np.full(len(axes), 1.5), alike=0.5)


def covariance(axes: Sequence[Axis], left: np.ndarray, right: np.ndarray, scales: Scales) -> np.ndarray:
    """`[p, q]` covariance of rows of ranks `[p, a]` and `[q, a]`, without the own quirks."""
    theta = _packed(scales)
    with torch.no_grad():
        return _smooth(axes, left, right, theta).numpy()


def _packed(scales: Scales) -> Tensor:
    head = [scales.level, scales.main, scales.joint, scales.own, scales.alike / (1 - scales.alike)]
    return torch.tensor(np.log(np.concatenate([head, scales.lengths])), dtype=torch.float64)


def _unpacked(theta: Tensor) -> Scales:
    level, main, joint, own = theta[:4].exp().tolist()
    return Scales(level, main, joint, own, theta[5:].exp().numpy(), float(torch.sigmoid(theta[4])))


def _smooth(axes: Sequence[Axis], left: np.ndarray, right: np.ndarray, theta: Tensor) -> Tensor:
    alike = torch.sigmoid(theta[4])
    total, product = torch.zeros((), dtype=theta.dtype), torch.ones((), dtype=theta.dtype)
    for j, axis in enumerate(axes):
        k = _axis_kernel(axis, theta[5 + j].exp(), alike)[left[:, j]][:, right[:, j]]
        total, product = total + k / len(axes), product * k
    level, main, joint = (2 * theta[:3]).exp()
    return level + main * total + joint * product


def _axis_kernel(axis: Axis, length: Tensor, alike: Tensor) -> Tensor:
    """`[v + 1, v + 1]` likeness of an axis's values; the last is `ABSENT`, so that rank -1 finds it."""
    v = len(axis.features)
    features = torch.from_numpy(axis.features)
    apart = (features[:, None] - features[None]).square().sum(-1)
    distance = (5 * apart + 1e-12).sqrt() / length
    k = (1 + distance + distance.square() / 3) * (-distance).exp()
    if axis.identity:
        k = alike * k + (1 - alike) * torch.eye(v, dtype=k.dtype)
    out = torch.full((v + 1, v + 1), ABSENT_ALIKE, dtype=k.dtype)
    out[v, v] = 1.0
    return torch.cat([torch.cat([k, out[:v, v:]], 1), out[v:]], 0)


def fit(
    axes: Sequence[Axis], tasks: Sequence[tuple[np.ndarray, np.ndarray]], start: Scales, *, steps: int = 60
) -> Scales:
    """The scales under which what tasks measured is most probable (maximum a posteriori, by Adam).

    Args:
        axes: the knobs.
        tasks: for each task `[k, a]` ranks and `[k]` values less their expectation.
        start: where to begin, and the mean of the prior: log-normal, one e-fold wide.
        steps: of Adam.
    """
    centre = _packed(start)
    theta = centre.clone().requires_grad_()
    optimizer = torch.optim.Adam([theta], lr=0.1)
    data = [(ranks, torch.from_numpy(y)) for ranks, y in tasks if len(y)]
    for _ in range(steps):
        optimizer.zero_grad()
        loss = 0.5 * (theta - centre).square().sum()
        for ranks, y in data:
            k = _smooth(axes, ranks, ranks, theta)
            k = k + ((2 * theta[3]).exp() + 1e-6) * torch.eye(len(y), dtype=k.dtype)
            factor = torch.linalg.cholesky(k)
            white = torch.linalg.solve_triangular(factor, y[:, None], upper=False)
            loss = loss + 0.5 * white.square().sum() + factor.diagonal().log().sum()
        loss.backward()
        optimizer.step()
    return _unpacked(theta.detach())


assert ABSENT == -1, "an index from the end"
