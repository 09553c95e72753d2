"""One contract, every searcher. New ones join by their name in `searchers.named`.

Stored trajectories pin the exact choices of every searcher, so an unintended change shows. Where a change is
intended, write them anew:

    python tests/searchers/test_contract.py
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from surfaces import best_after, roofline_problem, search

from searchers.base import History, Problem
from searchers.named import NAMED, named
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space

torch.set_num_threads(1)

TRAJECTORIES = Path(__file__).parent / "trajectories"
STEPS = 12

every = pytest.mark.parametrize("name", sorted(NAMED))
problem, table = roofline_problem()


def tiny() -> Problem:
    knobs = [Knob("cpu_cores", (1, 2, 4)), Knob("engine", ("x", "y"), "categorical"), Knob("fixed", (7,))]
    everything = Space(knobs)
    allowed = [everything[i] for i in (0, 1, 2, 4, 5)]
    return Problem(Space(knobs, allowed), Objective(Expression("rps"), at_most={"p99_ms": 50}))


def trajectory(name: str) -> list[int]:
    return search(problem, table, named(name), STEPS, seed=7)


@every
def test_tries_everything_once_and_ends(name):
    small = tiny()
    tried = search(small, [{"rps": 1.0 + i, "p99_ms": 20.0 * i} for i in range(5)], named(name), 9, seed=0)
    assert sorted(tried) == [0, 1, 2, 3, 4]


@every
def test_never_repeats_and_skips_pending(name):
    searcher, history = named(name)(problem), History()
    for step in range(24):
        position = searcher.suggest(history, np.random.default_rng([1, step]))
        assert position is not None and position not in history.taken
        assert 0 <= position < len(problem.space) and isinstance(position, int)
        history = history.await_(position) if step % 3 else history.observe(position, table[position])
    assert len(history.taken) == 24


@every
def test_nothing_is_left_where_all_is_pending(name):
    history = History(pending=frozenset(range(5)))
    assert named(name)(tiny()).suggest(history, np.random.default_rng(0)) is None


@every
@pytest.mark.parametrize("metrics", [None, {"rps": 3.0, "p99_ms": 99.0}, {"rps": float("nan"), "p99_ms": 1.0}])
def test_survives_a_history_of_failures_only(name, metrics):
    assert sorted(search(tiny(), [metrics] * 5, named(name), 9, seed=0)) == [0, 1, 2, 3, 4]


@every
def test_survives_failures_among_successes_and_a_configuration_observed_twice(name):
    history = History().observe(3, None).observe(50, table[50]).observe(3, table[3]).observe(7, None)
    position = named(name)(problem).suggest(history, np.random.default_rng(0))
    assert position not in history.taken


@every
def test_same_history_and_rng_give_the_same_suggestion(name):
    history = History()
    for position in (5, 100, 200, 300):
        history = history.observe(position, table[position])
    used = named(name)(problem)
    used.suggest(History().observe(1, table[1]), np.random.default_rng(9))
    one, two = (s.suggest(history, np.random.default_rng([3, 4])) for s in (used, named(name)(problem)))
    assert one == two


@every
def test_does_not_care_for_the_unit_of_the_metric(name):
    """A thousand times the requests per second, the same search: no searcher knows absolute values."""
    thousand = [None if m is None else {**m, "rps": 1000 * m["rps"]} for m in table]
    assert search(problem, table, named(name), 6, seed=2) == search(problem, thousand, named(name), 6, seed=2)


@pytest.mark.parametrize("name", sorted(set(NAMED) - {"random"}))
def test_beats_random_on_a_table_with_structure(name):
    trials = 60  # Hyperopt's first 20 are random, Ernest's first 10.

    def median(searcher: str, seeds: int) -> float:
        runs = [search(problem, table, named(searcher), trials, seed) for seed in range(seeds)]
        return float(np.median([best_after(problem, table, run) for run in runs]))

    assert median(name, 5) > median("random", 31)


@every
def test_stored_trajectory(name):
    stored = json.loads((TRAJECTORIES / f"{name}.json").read_text())
    assert trajectory(name) == stored


def test_unknown_name_lists_what_there_is():
    with pytest.raises(ValueError, match="'nobody'; there are .*hyperopt.*morphling.*random"):
        named("nobody")


if __name__ == "__main__":
    TRAJECTORIES.mkdir(exist_ok=True)
    for searcher in sorted(NAMED):
        (TRAJECTORIES / f"{searcher}.json").write_text(json.dumps(trajectory(searcher)) + "\n")
