"""A searcher among a part of the space: what it is asked, and what its answers become."""

from dataclasses import replace

import numpy as np
import pytest

from searchers.base import ExpectedMetrics, History, Observation, Problem, Task
from searchers.meta.shortlist import Shortlisted, best_of
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space

SPACE = Space([Knob("a", tuple(range(1, 11))), Knob("b", tuple(range(1, 6)))])
PROBLEM = Problem(SPACE, Objective(Expression("rps / usd_per_hour")), np.arange(50) + 1.0)


class Asked:
    """Keeps what it was asked with; suggests the first free place; a large `a` and a small `b` are worth most."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.histories: list = []

    def suggest(self, history, rng):
        self.histories.append(history)
        free = [i for i in range(len(self.problem.space)) if i not in history.taken]
        return free[0] if free else None

    def worth(self, history):
        return self.problem.space.ranks @ np.array([10.0, -1.0])

    def chance_of_more(self, history, margin):
        self.histories.append((history, margin))
        return 0.25


@pytest.fixture
def made():
    searchers = []

    def make(problem):
        searchers.append(Asked(problem))
        return searchers[-1]

    return make, searchers


def listed(problem: Problem) -> list[int]:
    return [SPACE.position(problem.space[i]) for i in range(len(problem.space))]


def near(*positions: int) -> set[int]:
    return {int(p) for position in positions for p in SPACE.neighbours(position)}


def most_worth(among: set[int]) -> list[int]:
    return sorted(among, key=lambda p: SPACE.ranks[p, 1] - 10 * SPACE.ranks[p, 0])[:3]


def test_the_list_is_a_random_part_and_a_step_uphill_from_it_with_its_own_prices(made):
    make, searchers = made
    found = Shortlisted(PROBLEM, make, most=8).suggest(History(), np.random.default_rng(0))
    sampled, asked = searchers
    sample, positions = set(listed(sampled.problem)), listed(asked.problem)
    assert len(sample) == 8 and sample != set(range(8)) and found == positions[0]
    assert set(positions) == sample | near(*most_worth(sample))
    assert asked.problem.usd_per_hour.tolist() == [p + 1.0 for p in positions]
    assert isinstance(found, int)


def test_the_list_has_its_own_part_of_what_is_expected(made):
    make, searchers = made
    mean, std = np.arange(50.0), np.full(50, 0.1)
    expecting = Problem(SPACE, PROBLEM.objective, expected=ExpectedMetrics("a test", {"rps": mean}, {"rps": std}))
    Shortlisted(expecting, make, most=8).suggest(History(), np.random.default_rng(0))
    assert len(searchers) == 2
    for asked in searchers:
        assert asked.problem.expected.log_mean["rps"].tolist() == listed(asked.problem)


def test_what_is_taken_and_the_neighbours_of_the_three_best_join_and_are_named_by_their_place(made):
    make, searchers = made
    history = History().await_(49)
    # Values by price: 10 / 5 = 2, 60 / 13, 44 / 23, 9 / 32 and none; the best three are 12, 4 and 22.
    for position, metrics in (
        (4, {"rps": 10.0}),
        (12, {"rps": 60.0}),
        (31, {"rps": 9.0}),
        (22, {"rps": 44.0}),
        (40, None),
    ):
        history = history.observe(position, metrics)
    found = Shortlisted(PROBLEM, make, most=3).suggest(history, np.random.default_rng(0))
    first, asked = searchers
    begun, positions = set(listed(first.problem)), listed(asked.problem)
    assert near(4, 12, 22) | history.taken <= begun and len(begun - near(4, 12, 22) - history.taken) <= 3
    assert set(positions) == begun | near(*most_worth(begun)) and positions == sorted(positions)
    (within,) = asked.histories
    assert within.observed == tuple(Observation(positions.index(o.position), o.metrics) for o in history.observed)
    assert within.pending == {positions.index(49)} and found not in history.taken
    assert found == min(p for p in positions if p not in history.taken)


def test_a_failure_has_no_neighbours_to_look_at(made):
    make, searchers = made
    Shortlisted(PROBLEM, make, most=1).suggest(History().observe(7, None), np.random.default_rng(0))
    assert len(listed(searchers[0].problem)) <= 2


def test_the_searchers_are_kept_for_what_else_is_asked_about_one_history(made):
    make, searchers = made
    shortlisted = Shortlisted(PROBLEM, make, most=5)
    first = shortlisted.suggest(History(), np.random.default_rng(0))
    assert first is not None
    shortlisted.chance_of_more(History(), 0.05)
    assert shortlisted.suggest(History(), np.random.default_rng(0)) == first and len(searchers) == 2
    again = shortlisted.suggest(History().observe(first, {"rps": 1.0}), np.random.default_rng(0))
    assert len(searchers) == 4 and again != first


def test_the_best_of_sources_is_in_the_list_by_our_prices_and_where_our_knobs_have_it(made):
    """A source has a value more and a knob more than we do, and the same rate wherever it ran; the cheapest is best."""
    make, searchers = made
    theirs = Space([Knob("b", tuple(range(1, 7))), Knob("a", tuple(range(1, 11))), Knob("c", (0, 1))])
    runs = [
        {"a": 9, "b": 5, "c": 0},
        {"a": 7, "b": 6, "c": 1},
        {"a": 8, "b": 4, "c": 0},
        {"a": 5, "b": 2, "c": 1},
        {"a": 6, "b": 2, "c": 1},
    ]
    observed = [Observation(theirs.position(each), {"rps": 3.0}) for each in runs]
    observed.append(Observation(theirs.position({"a": 1, "b": 1, "c": 0}), None))
    lacking = Space([Knob("a", tuple(range(1, 11)))])  # without `b`, it is not known which of ours it was
    sources = (Task("odd", theirs, tuple(observed)), Task("less", lacking, (Observation(0, {"rps": 9.0}),)))
    problem = replace(PROBLEM, sources=sources)
    expected = [SPACE.position({"a": a, "b": b}) for a, b in ((5, 2), (6, 2), (8, 4))]
    assert best_of(sources[0], problem) == expected and best_of(sources[1], problem) == []
    Shortlisted(problem, make, most=1).suggest(History(), np.random.default_rng(0))
    assert set(expected) <= set(listed(searchers[0].problem)) and len(listed(searchers[0].problem)) <= 4


def test_any_free_configuration_where_the_list_is_used_up_and_none_where_the_space_is(made):
    make, _ = made
    shortlisted, history = Shortlisted(PROBLEM, make, most=2), History()
    found = set()
    for seed in range(50):
        position = shortlisted.suggest(history, np.random.default_rng(seed))
        assert position not in history.taken and type(position) is int
        found.add(position)
        history = history.observe(position, None)
    assert found == set(range(50)) and shortlisted.suggest(history, np.random.default_rng(0)) is None
    all_but_listed = History(pending=frozenset(range(50)))
    assert shortlisted.suggest(all_but_listed, np.random.default_rng(0)) is None


def test_another_free_one_is_drawn_by_chance(made):
    make, searchers = made
    shortlisted = Shortlisted(PROBLEM, make, most=2)
    history = History()
    for _ in range(4):  # until no step uphill leads out of the list
        assert shortlisted.suggest(history, np.random.default_rng(0)) is not None
        for each in listed(searchers[-1].problem):
            history = history if each in history.taken else history.observe(each, None)
    assert len({shortlisted.suggest(history, np.random.default_rng(seed)) for seed in range(40)}) > 10


def test_the_chance_of_more_is_the_searchers_on_the_list(made):
    make, searchers = made
    assert Shortlisted(PROBLEM, make, most=4).chance_of_more(History().observe(20, None), 0.05) == 0.25
    ((within, margin),) = searchers[-1].histories
    assert margin == 0.05 and listed(searchers[-1].problem)[within.observed[0].position] == 20
