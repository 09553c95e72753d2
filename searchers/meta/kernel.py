"""Covariance kernel over configurations on a grid of knob values, and how its parameters are fitted.

    k(x, x') = level² + Σ_j main_j² k_j(x_j, x'_j) + joint² Π_j k_j(x_j, x'_j) + own² [x = x']

The terms: a common level, a curve for each knob, the interaction of all knobs, and each configuration's individual
deviation (Duvenaud, Nickisch, Rasmussen 2011, "Additive Gaussian processes", its first and last order). k_j is Matérn
5/2 over the features of the knob's values; values of a categorical knob also differ for reasons that the features do
not show: k_j = alike · Matérn + (1 - alike) · [same value].

Notation: a axes (knobs), v values of a knob, p and q rows of ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from searchers.meta.joint_grid import GridAxis

ABSENT_ALIKE = 0.5
"""k_j between any value and a configuration without this knob. Our choice."""
NO_LEVEL = 1e-9
"""Level of a kernel without one: its scales are taken the logarithm of."""
_HEAD = 4
"""Number of parameters before those of the axes: level, joint, own, alike."""


@dataclass(frozen=True)
class Scales:
    """The kernel's parameters; all but `lengths` and `alike` are standard deviations, in the quantity's unit.

    Args:
        level: standard deviation of the common level.
        joint: standard deviation of the interaction of all knobs.
        own: standard deviation of each configuration's individual deviation.
        alike: weight of the features in the similarity of a categorical knob's values, between 0 and 1.
        main: `[a]` standard deviation of each knob's curve.
        lengths: `[a]` length scale of each knob's curve, in standard deviations of its values.
    """

    level: float
    joint: float
    own: float
    alike: float
    main: np.ndarray
    lengths: np.ndarray


def generic(axes: Sequence[GridAxis]) -> Scales:
    """Scales for a logarithm about which nothing is known: knobs act smoothly, by factors of 2 or 3. Our choice."""
    each = np.ones(len(axes))
    return Scales(level=6.0, joint=0.7, own=0.05, alike=0.5, main=0.8 * each, lengths=1.5 * each)


def covariance(axes: Sequence[GridAxis], left: np.ndarray, right: np.ndarray, scales: Scales) -> np.ndarray:
    """`[p, q]` covariance between rows of ranks `[p, a]` and `[q, a]` that are different configurations."""
    with torch.no_grad():
        return _smooth(axes, left, right, _packed(scales)).numpy()


def variance(axes: Sequence[GridAxis], ranks: np.ndarray, scales: Scales) -> np.ndarray:
    """`[p, p]` covariance among rows of ranks `[p, a]`, their individual deviations included."""
    out = covariance(axes, ranks, ranks, scales)
    out[np.diag_indices_from(out)] += scales.own**2
    return out


def fit(
    axes: Sequence[GridAxis], tasks: Sequence[tuple[np.ndarray, np.ndarray]], start: Scales, *, steps: int = 60
) -> Scales:
    """Fit the scales to the tasks' measurements (maximum a posteriori, by Adam).

    Args:
        axes: the knobs.
        tasks: for each task `[k, a]` ranks and `[k]` values minus their expectation.
        start: the starting point, and the centre of the log-normal prior, whose standard deviation is one e-fold.
        steps: number of Adam steps.
    """
    centre = _packed(start)
    theta = centre.clone().requires_grad_()
    optimizer = torch.optim.Adam([theta], lr=0.1)
    data = _by_rows(tasks)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = 0.5 * (theta - centre).square().sum()
        for ranks, y in data:
            own = (2 * theta[2]).exp() + 1e-6
            k = _smooth(axes, ranks, ranks, theta) + own * torch.eye(len(ranks), dtype=y.dtype)
            factor = torch.linalg.cholesky(k)
            white = torch.linalg.solve_triangular(factor, y, upper=False)
            loss = loss + 0.5 * white.square().sum() + y.shape[1] * factor.diagonal().log().sum()
        loss.backward()
        optimizer.step()
    return _unpacked(theta.detach())


def _by_rows(tasks: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[tuple[np.ndarray, Tensor]]:
    """The measurements as `[k, a]` ranks and `[k, t]` values of all tasks measured there, which share a Gram matrix."""
    same: dict[bytes, tuple[np.ndarray, list[np.ndarray]]] = {}
    for ranks, y in tasks:
        if len(y):
            same.setdefault(ranks.tobytes(), (ranks, []))[1].append(y)
    return [(ranks, torch.from_numpy(np.stack(ys, axis=1))) for ranks, ys in same.values()]


def scaled(scales: Scales, factor: float) -> Scales:
    """The same kernel with all standard deviations multiplied by `factor`, for a quantity in another unit."""
    return replace(
        scales, level=factor * scales.level, joint=factor * scales.joint, own=factor * scales.own,
        main=factor * scales.main,
    )  # fmt: skip


def total_variance(scales: Scales) -> float:
    """Variance at any configuration, as each is as like itself as can be."""
    return float(scales.level**2 + np.square(scales.main).sum() + scales.joint**2 + scales.own**2)


def unit(axes: Sequence[GridAxis]) -> Scales:
    """`generic` scales without a level, scaled to a variance of 1: how alike the errors of a prediction are."""
    scales = replace(generic(axes), level=NO_LEVEL)
    return scaled(scales, 1 / float(np.sqrt(total_variance(scales))))


def _packed(scales: Scales) -> Tensor:
    head = [scales.level, scales.joint, scales.own, scales.alike / (1 - scales.alike)]
    return torch.from_numpy(np.log(np.concatenate([head, scales.main, scales.lengths])))


def _unpacked(theta: Tensor) -> Scales:
    level, joint, own = theta[:3].exp().tolist()
    main, lengths = theta[_HEAD:].exp().numpy().reshape(2, -1)
    return Scales(level, joint, own, float(torch.sigmoid(theta[3])), main, lengths)


def _smooth(axes: Sequence[GridAxis], left: np.ndarray, right: np.ndarray, theta: Tensor) -> Tensor:
    alike = torch.sigmoid(theta[3])
    main, lengths = theta[_HEAD:].exp().reshape(2, len(axes))
    total, product = (2 * theta[0]).exp(), torch.ones((), dtype=theta.dtype)
    for j, axis in enumerate(axes):
        # Columns first: the second index then copies whole rows, four times as fast as copying single numbers.
        k = _likeness(axis, lengths[j], alike)[:, right[:, j]][left[:, j]]
        total, product = torch.addcmul(total, main[j] ** 2, k), product * k
    return total + (2 * theta[1]).exp() * product


def _likeness(axis: GridAxis, length: Tensor, alike: Tensor) -> Tensor:
    """`[v + 1, v + 1]` k_j between an axis's values; the last stands for an absent knob, so that rank -1 selects it."""
    v = len(axis.features)
    features = torch.from_numpy(axis.features)
    apart = (features[:, None] - features[None]).square().sum(-1)
    distance = (5 * apart + 1e-12).sqrt() / length
    k = (1 + distance + distance.square() / 3) * (-distance).exp()
    if axis.categorical:
        k = alike * k + (1 - alike) * torch.eye(v, dtype=k.dtype)
    beside = torch.full((v, 1), ABSENT_ALIKE, dtype=k.dtype)
    return torch.cat([torch.cat([k, beside], 1), torch.cat([beside.T, torch.ones(1, 1, dtype=k.dtype)], 1)])
