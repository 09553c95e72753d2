import numpy as np

from searchers.base import History
from searchers.baselines.nearest import nearest_free
from searchers.space import Knob, Space

SPACE = Space([Knob("engine", ("x", "y"), "categorical"), Knob("batch", (1, 2, 4, 8, 16))])


def nearest(wanted: list[int], taken: set[int]) -> set[int | None]:
    history = History(pending=frozenset(taken))
    return {nearest_free(SPACE, np.array(wanted), history, np.random.default_rng(seed)) for seed in range(30)}


def test_is_the_wish_itself_or_its_neighbours_by_chance():
    assert nearest([1, 2], set()) == {7}
    assert nearest([1, 2], {7}) == {6, 8}


def test_another_category_is_farther_than_any_rank():
    assert nearest([1, 0], {5, 6, 7, 8}) == {9}
    assert nearest([1, 0], {5, 6, 7, 8, 9}) == {0}


def test_nothing_is_left():
    assert nearest([0, 0], set(range(10))) == {None}
