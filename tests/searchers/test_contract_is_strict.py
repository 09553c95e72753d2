"""Each part of the contract finds out whoever breaks it, and a searcher that does nothing wrong passes all of them."""

import random

import numpy as np
import pytest

from searchers.base import History, Problem
from searchers.baselines.random_search import RandomSearch
from searchers.contract import CHECKS, example, median_best, searched
from searchers.replay import replay


class Breaks:
    """Random search, until it is told otherwise."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.asked = problem, 0
        self.free = RandomSearch(problem)

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        self.asked += 1
        return self.free.suggest(history, rng)


class EndsEarly(Breaks):
    def suggest(self, history, rng):
        return None if len(history.observed) >= 4 else super().suggest(history, rng)


class NeverEnds(Breaks):
    def suggest(self, history, rng):
        found = super().suggest(history, rng)
        return 0 if found is None else found


class Repeats(Breaks):
    """What is pending."""

    def suggest(self, history, rng):
        return min(history.pending) if history.pending else super().suggest(history, rng)


class NumpyNumbers(Breaks):
    def suggest(self, history, rng):
        found = super().suggest(history, rng)
        return None if found is None else np.int64(found)


class NeedsSuccess(Breaks):
    """Fails where nothing was measured."""

    def suggest(self, history, rng):
        _ = [o.metrics["rps"] for o in history.observed]
        return super().suggest(history, rng)


class Remembers(Breaks):
    def suggest(self, history, rng):
        rng.random(self.asked)
        return super().suggest(history, rng)


class SharedNumbers(Breaks):
    """Draws from what all of a process shares."""

    def suggest(self, history, rng):
        return super().suggest(history, np.random.default_rng(random.getrandbits(32)))


class KnowsUnits(Breaks):
    def suggest(self, history, rng):
        if any(o.metrics and o.metrics["rps"] > 1000 for o in history.observed):
            rng.random()
        return super().suggest(history, rng)


class TrustsSources(Breaks):
    """Takes for granted that sources are of its space and have something that counts."""

    def suggest(self, history, rng):
        _ = [max(o.metrics["rps"] for o in task.observed) for task in self.problem.sources]
        return super().suggest(history, rng)


BROKEN = {
    "tries_everything_once_and_ends": (EndsEarly, NeverEnds, NeedsSuccess),
    "ends_where_all_is_pending": (NeverEnds, Repeats),
    "never_repeats_and_skips_pending": (EndsEarly, Repeats, NumpyNumbers),
    "survives_failures_among_successes": (EndsEarly, NeedsSuccess),
    "is_a_function_of_its_history": (Remembers, SharedNumbers),
    "does_not_care_for_units": (KnowsUnits,),
    "survives_any_sources": (TrustsSources,),
}


def test_every_part_has_its_breakers():
    assert list(BROKEN) == [check.__name__ for check in CHECKS]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_whoever_breaks_it_is_found_out(check):
    check(RandomSearch, example())
    for breaker in BROKEN[check.__name__]:
        # Either the check says so, or what it asks is more than the searcher can take.
        with pytest.raises((AssertionError, ValueError, TypeError)):
            check(breaker, example())


def test_what_a_searcher_found_is_a_fraction_of_the_best():
    table = example()
    assert median_best(RandomSearch, table, trials=96, seeds=3) == 1.0
    few = [searched(RandomSearch, table, trials=4, seed=seed) for seed in range(3)]
    expected = np.median([table.values()[tried].max() for tried in few]) / table.values().max()
    assert median_best(RandomSearch, table, trials=4, seeds=3) == pytest.approx(float(expected)) != 1.0
    assert few[1] == [step.position for step in replay(table, RandomSearch(table.problem), budget=4, seed=1)]
    values = table.values()
    assert 0 < (values == 0).mean() < 0.6 and (values > 0.95 * values.max()).mean() < 0.05  # something to find
