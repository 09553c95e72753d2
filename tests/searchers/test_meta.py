"""Our searcher's own promises, beside the contract of all."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from surfaces import best_after, roofline_problem, search, shifted_sources

from searchers.base import History, Observation, Problem, Task
from searchers.meta import GENERIC, SHIPPED, SOURCES, Meta, meta
from searchers.objective import Expression, Objective
from searchers.shortlist import Shortlisted
from searchers.space import Knob, Space

RNG = np.random.default_rng
problem, table = roofline_problem()
taught = replace(problem, sources=shifted_sources())


def after(searched: Problem, trials: int) -> History:
    history = History()
    for position in search(searched, table, Meta, trials, seed=0):
        history = history.observe(position, table[position])
    return history


def test_a_limit_broken_by_little_is_told_from_one_broken_by_much():
    """Zeros alone would not say on which side of the limit to go on; latencies do."""
    strict = Objective(Expression("rps"), at_most={"p99_ms": 6.0})
    limited = replace(problem, objective=strict)
    found = search(limited, table, Meta, 12, seed=0)
    assert best_after(limited, table, found) > 0.9


def test_opinions_are_believed_by_how_well_they_foretold():
    searcher = Meta(taught)
    before, later = searcher.say(History())["rps"], searcher.say(after(taught, 6))["rps"]
    assert set(before) == {SOURCES, SHIPPED, GENERIC}
    assert sum(later.values()) == pytest.approx(1)
    assert later[SOURCES] > max(0.9, before[SOURCES])


def mirrored(task: Task) -> Task:
    """A smooth lie: what was best is worst."""
    observed = (
        Observation(o.position, o.metrics and {**o.metrics, "rps": 1e4 / o.metrics["rps"]}) for o in task.observed
    )
    return Task(task.name, task.space, tuple(observed))


def test_a_wrong_prior_is_dropped_and_said_to_be(caplog):
    lied_to = replace(problem, sources=tuple(mirrored(task) for task in shifted_sources()))
    with caplog.at_level(logging.WARNING, "searchers.meta"):
        found = search(lied_to, table, Meta, 20, seed=0)
    assert "is dropped" in caplog.text
    assert best_after(lied_to, table, found) > 0.9


def test_the_chance_of_more_falls_to_nothing_as_the_space_is_searched():
    small, few = Problem(Space(problem.space.knobs[:1]), Objective(Expression("rps"))), History()
    searcher = Meta(small)
    chances = [searcher.chance_of_more(few, 0.02)]
    for position in range(5):
        few = few.observe(position, {"rps": 100.0 * (position + 1)})
        chances.append(searcher.chance_of_more(few, 0.02))
    assert chances[0] > 0.9 and chances[-1] == 0
    assert searcher.chance_of_more(few, 0.5) == 0


def test_trials_that_run_are_not_repeated_by_their_neighbours():
    """Four at a time find what one at a time finds, in at most half as many trials again."""

    def until_95(parallel: int) -> int:
        searcher, history, running, best = Meta(taught), History(), [], 0.0
        values = [taught.objective.value(m, u) or 0.0 for m, u in zip(table, taught.usd_per_hour, strict=True)]
        for done in range(1, 40):
            while len(running) < parallel:
                running.append(searcher.suggest(history, RNG(done)))
                history = history.await_(running[-1])
            position = running.pop(0)
            history, best = history.observe(position, table[position]), max(best, values[position])
            if best >= 0.95 * max(values):
                return done
        return 40

    assert until_95(4) <= max(4, 1.5 * until_95(1))


def test_a_space_too_large_for_a_joint_belief_is_climbed():
    knobs = [Knob(name, tuple(range(1, 10))) for name in "abcde"]  # 59,049 configurations
    large = Problem(Space(knobs), Objective(Expression("rps")))
    searcher, history = meta(large), History()
    assert isinstance(searcher, Shortlisted)
    for step in range(12):
        position = searcher.suggest(history, RNG(step))
        assert position is not None and position not in history.taken
        config = large.space[position]
        history = history.observe(position, {"rps": float(np.prod([config[name] for name in "abcde"]))})
    best = large.best(history)
    assert best is not None and best.metrics["rps"] > 0.5 * 9**5
