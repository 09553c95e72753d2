"""Placement: distances by hand, clusters against a search through all of them."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_deployments.replicas.many.choosing import placement
from serve_deployments.replicas.many.choosing.placement import NoClustering, distances, placed


def test_distances_by_hand():
    edit = np.array([[0.0, 2.0, 4.0], [4.0, 0.0, 1.0], [4.0, 1.0, 0.0]])
    # Means of both ways: 3, 4 and 1, of at most 4. Demand: 0 and 1 have r = 1, 0 and 2 have r = -1; so have 1 and 2.
    history = np.array([[1.0, 3.0], [2.0, 6.0], [5.0, 1.0]])
    apart = distances(edit, history, edit_weight=0.5)
    assert apart[0, 1] == pytest.approx(0.5 * 3 / 4 + 0.5)
    assert apart[0, 2] == pytest.approx(0.5 * 4 / 4)
    assert apart[1, 2] == pytest.approx(0.5 * 1 / 4)
    assert (apart == apart.T).all() and (np.diag(apart) == 0).all()


def test_a_constant_demand_is_neither_with_nor_against_another():
    history = np.array([[2.0, 2.0, 2.0], [1.0, 5.0, 3.0]])
    assert distances(np.zeros((2, 2)), history, edit_weight=0.0)[0, 1] == pytest.approx(0.5)


def test_models_alike_with_different_peaks_share_a_node():
    """Two families, each with two models that peak by day and two by night: no node has two of a kind and a peak."""
    models = [f"{family}{peak}{n}" for family in "AB" for peak in "dn" for n in "12"]
    edit = np.array([[0.0 if a[0] == b[0] else 1.0 for b in models] for a in models])
    hours = np.arange(24)
    history = np.array([(hours < 12) * 1.0 if m[1] == "d" else (hours >= 12) * 1.0 for m in models])
    node_of = placed(models, ["n1", "n2", "n3", "n4"], distances(edit, history))
    kinds = {node: sorted(m[:2] for m in models if node_of[m] == node) for node in set(node_of.values())}
    assert sorted(kinds.values()) == [["Ad", "An"], ["Ad", "An"], ["Bd", "Bn"], ["Bd", "Bn"]]


@given(st.integers(3, 8), st.integers(2, 3), st.integers(0, 10_000))
@settings(max_examples=40)
def test_medoids_are_the_best_there_are_and_nodes_are_balanced(count, nodes, seed):
    points = np.random.default_rng(seed).normal(size=(count, 2))
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    best = min(apart[:, list(c)].min(axis=1).sum() for c in combinations(range(count), min(nodes, count)))
    if count > nodes:
        medoids = placement._medoids(apart, nodes, seed=0)
        assert apart[:, medoids].min(axis=1).sum() <= best * 1.02 + 1e-9  # eight starts, each to a local optimum
    names = [f"m{i}" for i in range(count)]
    node_of = placed(names, [f"n{i}" for i in range(nodes)], apart)
    assert list(node_of) == names and max(Counter(node_of.values()).values()) <= -(-count // nodes)


def test_with_a_node_each_nothing_is_clustered():
    assert placed(["a", "b"], ["n1", "n2", "n3"], np.zeros((2, 2))) == {"a": "n1", "b": "n2"}


@pytest.mark.parametrize(
    ("edit", "history"),
    [
        (np.zeros((2, 3)), np.zeros((2, 4))),
        (np.zeros((2, 2)), np.zeros((3, 4))),
        (np.full((2, 2), -1.0), np.zeros((2, 4))),
        (np.zeros((2, 2)), np.full((2, 4), np.nan)),
        (np.zeros((2, 2)), np.zeros((2, 0))),
    ],
)
def test_distances_of_what_does_not_fit_are_refused(edit, history):
    with pytest.raises(ValueError):
        distances(edit, history)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "kmedoids", None)
    with pytest.raises(NoClustering, match=r"raytune-infer\[placement\]"):
        placed(["a", "b", "c"], ["n1", "n2"], np.zeros((3, 3)))
    with pytest.raises(ValueError, match="one or more nodes"):
        placed(["a"], [], np.zeros((1, 1)))
