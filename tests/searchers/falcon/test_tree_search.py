"""Tree search on trees worked out by hand, and its statistics against brute force."""

import numpy as np
import pytest

from searchers.falcon.search import MOST_DEVIATION, Statistics, backed_up, selected, uct
from searchers.falcon.tree import NO_NODE, Tree

RNG = np.random.default_rng

# The whole space 0 has the regions 1 and 2, and 2 has 3 and 4; two configurations in each leaf.
TREE = Tree(
    np.array([NO_NODE, 0, 0, 2, 2]),
    np.array([[1, 2], [NO_NODE] * 2, [3, 4], [NO_NODE] * 2, [NO_NODE] * 2]),
    ("", "", "", "", ""),
    np.array([1, 1, 3, 3, 4, 4]),
)
VALUE = np.array([0.9, 0.2, 0.5, 0.6, 0.8, 0.1])
STD = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def at(*positions: int) -> np.ndarray:
    return np.array(positions, dtype=int)


def test_a_node_has_the_best_of_what_is_free_below_it_and_all_trials_in_it():
    found = backed_up(TREE, at(0, 0, 4), at(3), VALUE, STD)
    assert found.ended.tolist() == [3, 2, 1, 0, 1] and found.pending.tolist() == [1, 0, 1, 1, 0]
    # Free are 1, 2 and 5.
    assert found.value.tolist() == [0.5, 0.2, 0.5, 0.5, 0.1]
    assert found.deviation.tolist() == [0.3, 0.2, 0.3, 0.3, MOST_DEVIATION]


def test_where_nothing_is_free_there_is_nothing_to_gain():
    found = backed_up(TREE, at(0, 1), at(), VALUE, STD)
    assert found.value.tolist() == [0.8, -np.inf, 0.8, 0.6, 0.8]
    assert selected(TREE, found, RNG(0)) == 4
    assert selected(TREE, backed_up(TREE, at(0, 1, 4), at(5), VALUE, STD), RNG(0)) == 3


@pytest.mark.parametrize("seed", range(8))
def test_statistics_are_those_of_brute_force(seed):
    rng = RNG(seed)
    ended, pending = rng.integers(0, 6, 3), rng.integers(0, 6, 1)
    value, std = rng.random(6), rng.random(6) / 2
    found = backed_up(TREE, ended, pending, value, std)
    below = {0: {1, 3, 4}, 1: {1}, 2: {3, 4}, 3: {3}, 4: {4}}
    for node, leaves in below.items():
        inside = [p for p in range(6) if TREE.leaf_of[p] in leaves]
        free = [p for p in inside if p not in {*ended.tolist(), *pending.tolist()}]
        assert found.ended[node] == sum(p in inside for p in ended.tolist())
        assert found.pending[node] == sum(p in inside for p in pending.tolist())
        assert found.value[node] == max((value[p] for p in free), default=-np.inf)
        if free:
            assert found.deviation[node] == std[max(free, key=lambda p: value[p])]


def test_uct_by_hand():
    statistics = Statistics(
        ended=np.array([7, 3, 4, 0, 0]), pending=np.array([1, 0, 1, 0, 0]),
        value=np.array([0.9, 0.9, 0.8, 0.0, 0.0]), deviation=np.array([0.1, 0.1, 0.3, 0.0, 0.0]),
    )  # fmt: skip
    left = 0.9 + 0.1 * np.sqrt(2 * np.log(9) / 4)
    right = 0.8 * 5 / 6 + 0.3 * np.sqrt(2 * np.log(9) / 6)
    assert uct(statistics, 0, at(1, 2)) == pytest.approx([left, right])


def test_before_the_first_trial_the_best_expectation_leads_whatever_is_uncertain():
    assert selected(TREE, backed_up(TREE, at(), at(), VALUE, STD), RNG(0)) == 1
    assert selected(TREE, backed_up(TREE, at(), at(), VALUE[::-1].copy(), STD), RNG(0)) == 4


def test_pending_trials_send_the_next_ones_elsewhere():
    """Each counts as one without reward, so that four at a time part over the regions; ended ones do not."""
    flat, none = np.full(6, 0.9), np.zeros(6)
    assert selected(TREE, backed_up(TREE, at(), at(0), flat, none), RNG(0)) in (3, 4)
    assert selected(TREE, backed_up(TREE, at(), at(0, 2), flat, none), RNG(0)) in (1, 4)
    better = np.array([0.95, 0.95, 0.9, 0.9, 0.9, 0.9])
    assert selected(TREE, backed_up(TREE, at(0), at(), better, none), RNG(0)) == 1


def test_what_was_visited_less_gains_with_every_trial_elsewhere():
    value, std = np.array([0.8, 0.8, 0.7, 0.7, 0.7, 0.7]), np.full(6, 0.2)
    tries = [selected(TREE, backed_up(TREE, np.zeros(k, dtype=int), at(), value, std), RNG(0)) for k in range(4)]
    # After k trials on the left: 0.8 + 0.2 √(2 ln(1 + k) / (1 + k)) against 0.7 + 0.2 √(2 ln(1 + k)).
    expected = [
        1 if 0.8 + 0.2 * np.sqrt(2 * np.log(1 + k) / (1 + k)) > 0.7 + 0.2 * np.sqrt(2 * np.log(1 + k)) else 3
        for k in range(4)
    ]
    assert [1 if leaf == 1 else 3 for leaf in tries] == expected and expected[0] == 1 and expected[3] == 3


def test_ties_are_broken_at_random():
    flat = backed_up(TREE, at(), at(), np.ones(6), np.ones(6))
    assert {selected(TREE, flat, RNG(seed)) for seed in range(30)} == {1, 3, 4}
