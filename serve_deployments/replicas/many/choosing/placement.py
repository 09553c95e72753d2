"""Which models share a node: those that become one another cheaply and are asked for at different times."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

EDIT_WEIGHT = 0.5
"""Part of the edit distance in the distance of two models; the rest is their demand. Our choice, as the paper gives
none: both are scaled to 0 to 1, and count alike."""

_STARTS = 8
"""Random starts of the clustering, of which the best counts; FasterPAM ends in a local optimum. Our choice."""


class NoClustering(RuntimeError):
    """The package for the clustering is not installed; the message names the extra."""


def distances(edit_s: np.ndarray, history: np.ndarray, edit_weight: float = EDIT_WEIGHT) -> np.ndarray:
    """How far apart models are that share a node (Optimus, EuroSys 2024: similar structure, complementary demand).

        d_ij = w e_ij / max(e) + (1 - w) (1 + r_ij) / 2,     e_ij = (edit_ij + edit_ji) / 2

    Here r_ij is Pearson's correlation of the two demand histories: 0 is added for models that are never asked for at
    the same time (r = -1), and 1 - w for those that always are. r is 0 where a history is constant. How the paper
    weights the two parts is not known to us.

    Args:
        edit_s: `[n, n]` seconds to make model j of model i.
        history: `[n, periods]` numbers of requests.
        edit_weight: w, 0 to 1.

    Returns:
        `[n, n]`, symmetric, 0 on the diagonal.

    Raises:
        ValueError: the shapes do not fit together, or a value is negative or no number.
    """
    count = len(edit_s)
    if edit_s.shape != (count, count) or history.ndim != 2 or len(history) != count or not history.shape[1]:
        raise ValueError(
            f"edit distances [n, n] and histories [n, periods] are needed: {edit_s.shape}, {history.shape}"
        )
    if not (np.isfinite(edit_s).all() and (edit_s >= 0).all() and np.isfinite(history).all() and 0 <= edit_weight <= 1):
        raise ValueError("edit distances are finite and 0 or more, histories finite, and the weight from 0 to 1")
    edit = (edit_s + edit_s.T) / 2
    np.fill_diagonal(edit, 0.0)
    centred = history - history.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1)
    varies = norms > 1e-12 * (1 + np.abs(history).max())
    unit = np.where(varies[:, None], centred / np.where(varies, norms, 1.0)[:, None], 0.0)
    apart = edit_weight * edit / (edit.max() or 1.0) + (1 - edit_weight) * (1 + np.clip(unit @ unit.T, -1, 1)) / 2
    np.fill_diagonal(apart, 0.0)
    return apart


def placed(models: Sequence[str], nodes: Sequence[str], apart: np.ndarray, *, seed: int = 0) -> Mapping[str, str]:
    """The node that each model is served on.

    K-medoids over the distances, with as many medoids as there are nodes (FasterPAM, Schubert and Rousseeuw 2021). Then
    models are assigned to the medoids at the least sum of distances such that no node gets more than ceil(n / nodes):
    the paper leaves the sizes open, and a node with most of the models would be short of replicas. Models of
    which there are no more than nodes are given one each.

    Args:
        models: names of the models.
        nodes: names of the nodes, one or more.
        apart: `[n, n]` distances of the models, as of `distances`.
        seed: of the random starts.

    Raises:
        ValueError: there is no node, or the distances are not `[n, n]`.
        NoClustering: the package kmedoids is not installed.
    """
    count = len(models)
    if not nodes or apart.shape != (count, count):
        raise ValueError(
            f"one or more nodes and distances [{count}, {count}] are needed, got {len(nodes)}, {apart.shape}"
        )
    if count <= len(nodes):
        return dict(zip(models, nodes, strict=False))
    medoids = _medoids(apart, len(nodes), seed)
    places = np.repeat(np.arange(len(nodes)), math.ceil(count / len(nodes)))
    rows, columns = linear_sum_assignment(apart[:, medoids][:, places])
    return {models[row]: nodes[places[column]] for row, column in zip(rows, columns, strict=True)}


def _medoids(apart: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Indices of the medoids, ascending, of the best of some random starts."""
    fasterpam = _fasterpam()
    found = [fasterpam(apart, count, random_state=seed + start, n_cpu=1) for start in range(_STARTS)]
    return np.sort(min(found, key=lambda result: result.loss).medoids).astype(int)


def _fasterpam() -> Callable[..., Any]:
    try:
        from kmedoids import fasterpam
    except ImportError:
        raise NoClustering(
            "models are placed on several nodes by the package kmedoids, which is not installed; "
            "pip install 'raytune-infer[placement]', or leave `placement` out"
        ) from None
    return fasterpam
