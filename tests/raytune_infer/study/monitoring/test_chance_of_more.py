"""How often a search asks its searcher what there is left to gain: it costs as much as a suggestion."""

import numpy as np
import pytest

from raytune_infer.study import suggestion
from raytune_infer.study.suggestion import StudySearcher
from searchers.base import Problem
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space


class Predicts:
    """Suggests the first free position; what is left to gain takes two seconds of a clock to say."""

    def __init__(self, clock):
        self.clock = clock

    def suggest(self, history, rng):
        return next((at for at in range(50) if at not in history.taken), None)

    def chance_of_more(self, history, margin):
        self.clock.now_s += 2.0
        return 0.5


class Clock:
    now_s = 0.0

    def monotonic(self):
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(suggestion, "time", found)
    return found


def told(clock, *, stop_below=0.0, trial_s=50.0, trials=9):
    """What was told while so many trials of so many seconds were suggested."""
    space = Space([Knob("a", tuple(range(50)))])
    problem = Problem(space, Objective(Expression("rps")), np.full(50, 0.1))
    searcher = StudySearcher.for_problem(problem, lambda _: Predicts(clock), seed=0)
    said: list[float] = []
    searcher.told_chance, searcher.stop_below = said.append, stop_below
    for number in range(trials):
        if searcher.suggest(str(number)) == StudySearcher.FINISHED:
            break
        clock.now_s += trial_s
        searcher.on_trial_complete(str(number), {"rps": 1.0})
    return len(said)


def test_a_chance_that_is_only_shown_takes_a_hundredth_of_the_time(clock):
    assert told(clock) == 3  # at the beginning, and every 200 s since, at the next suggestion: 2 + 50 s each


def test_where_it_ends_the_search_it_is_asked_before_each_suggestion(clock):
    assert told(clock, stop_below=0.1) == 9
    assert told(clock, stop_below=0.6) == 1
