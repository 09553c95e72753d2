import math
from dataclasses import replace

import numpy as np
import pytest

from searchers.base import History, Problem
from searchers.objective import Expression, Objective
from searchers.replay import MeasuredTable, Step, Trials, fractions, mean_after, replay, trials_over, trials_until
from searchers.space import Knob, Space

RPS = (4.0, None, 9.0, 2.0, 8.0)
"""At position 1 the trial fails, at 2 it is too slow; the best that counts is 8."""


def table() -> MeasuredTable:
    space = Space([Knob("batch", (1, 2, 3, 4, 5))])
    problem = Problem(space, Objective(Expression("rps"), at_most={"p99_ms": 100}))
    metrics = tuple(None if r is None else {"rps": r, "p99_ms": 200.0 if r == 9 else 50.0} for r in RPS)
    return MeasuredTable(problem, metrics)


class InOrder:
    """Suggests what it is told to, and keeps what it was asked with."""

    def __init__(self, *positions: int | None) -> None:
        self._positions = iter(positions)
        self.asked: list[tuple[list[int], list[int], float]] = []

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        self.asked.append(([o.position for o in history.observed], sorted(history.pending), rng.random()))
        return next(self._positions)


def test_a_search_by_hand():
    searcher = InOrder(1, 2, 3, 4, 0)
    steps = list(replay(table(), searcher, budget=4, seed=5))
    assert [s.position for s in steps] == [1, 2, 3, 4]
    assert [s.feasible for s in steps] == [False, False, True, True]
    assert [s.value for s in steps] == [None, None, 2.0, 8.0]
    assert [s.best for s in steps] == [None, None, 2.0, 8.0]
    assert all(s.suggest_s >= 0 for s in steps)
    assert table().values().tolist() == [4, 0, 0, 2, 8]


def test_random_numbers_depend_on_seed_and_trials_so_far():
    searcher = InOrder(0, 1, 2, 3)
    list(replay(table(), searcher, budget=4, seed=5, parallel=2))
    assert [r for *_, r in searcher.asked] == [np.random.default_rng([5, k]).random() for k in range(4)]


def test_random_numbers_depend_on_the_name_of_the_table():
    """The checksums of the names are written out, so that no other hash takes their place unseen."""
    named = replace(table(), name="tiny/free/a")
    for asked, checksum in ((named, 0x21371E6E), (replace(named, name="tiny/free/b"), 0xB83E4FD4)):
        searcher = InOrder(0, 1, 2)
        list(replay(asked, searcher, budget=3, seed=5))
        assert [r for *_, r in searcher.asked] == [np.random.default_rng([5, checksum, k]).random() for k in range(3)]


def test_of_several_at_a_time_the_oldest_completes_first():
    searcher = InOrder(4, 3, 2, 0, None)
    steps = list(replay(table(), searcher, budget=9, seed=0, parallel=3))
    assert [s.position for s in steps] == [4, 3, 2, 0]
    assert [(seen, pending) for seen, pending, _ in searcher.asked] == [
        ([], []), ([], [4]), ([], [3, 4]), ([4], [2, 3]), ([4, 3], [0, 2])
    ]  # fmt: skip


def test_ends_where_the_searcher_does_and_stops_when_nobody_reads():
    assert len(list(replay(table(), InOrder(0, None), budget=4, seed=0))) == 1
    searcher = InOrder(0, 1, 2, 3)
    next(replay(table(), searcher, budget=4, seed=0))
    assert len(searcher.asked) == 1


@pytest.mark.parametrize("positions", [(0, 0), (0, 5), (-1,)])
def test_a_searcher_that_repeats_or_leaves_the_space_is_found_out(positions):
    with pytest.raises(ValueError, match="taken or not one of 5"):
        list(replay(table(), InOrder(*positions), budget=4, seed=0))


def test_refuses_what_cannot_be():
    with pytest.raises(ValueError, match="at least 1"):
        next(replay(table(), InOrder(), budget=0, seed=0))
    with pytest.raises(ValueError, match="each of the 5"):
        MeasuredTable(table().problem, (None,))


def test_fractions_hold_what_was_found_and_start_at_nothing():
    steps = [Step(0, None, None, 0.0), Step(1, 3.0, 3.0, 0.0), Step(2, 6.0, 6.0, 0.0)]
    assert fractions(steps, 6.0, 5).tolist() == [0, 0.5, 1, 1, 1]
    assert fractions([], 6.0, 2).tolist() == [0, 0]
    assert fractions(steps, 6.0, 2).tolist() == [0, 0.5]
    found = fractions(steps, 6.0, 5)
    assert [trials_until(found, goal) for goal in (0.5, 0.9, 1.0, 1.1)] == [2, 3, 3, None]


def found_at(trial: float) -> np.ndarray:
    """A search of 50 trials that finds the best at this one."""
    return (np.arange(1, 51) >= trial).astype(float)


def test_not_found_is_worse_than_any_number():
    ten = [found_at(k) for k in (1, 2, 3, 4, 5, 6, 7, 8, 9, 50)]
    assert trials_over(ten, 1.0) == Trials(median=6, p90=50, worst=50, not_found=0)
    one_lost = [*ten[:-1], found_at(math.inf)]
    assert trials_over(one_lost, 1.0) == Trials(median=6, p90=None, worst=None, not_found=1)
    twenty = [*one_lost, *ten[:-1], found_at(9)]
    assert trials_over(twenty, 1.0) == Trials(median=6, p90=9, worst=None, not_found=1)
    assert trials_over([found_at(math.inf)] * 3, 0.9) == Trials(None, None, None, 3)


def test_mean_after_some_trials_is_unknown_where_fewer_were_allowed():
    searches = [found_at(3), found_at(10)]
    assert [mean_after(searches, k) for k in (2, 5, 10, 51)] == [0, 0.5, 1, None]
    assert mean_after([searches[0][:5], searches[1]], 10) is None
