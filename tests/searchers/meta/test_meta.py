"""Our searcher's own promises, beside the contract of all."""

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from searchers.base import History, Observation, Problem, Task
from searchers.meta.acquisition import acquisition
from searchers.meta.gaussian import Posterior
from searchers.meta.meta import GENERIC, SHIPPED, SOURCES, Meta, meta
from searchers.meta.metric_model import FEASIBLE, MetricModel
from searchers.meta.shortlist import Shortlisted
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space
from tests.searched import best_after, roofline_problem, search, shifted_sources

torch.set_num_threads(1)
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


def test_earlier_services_that_predict_rightly_make_every_rate_known_after_three_trials():
    ran = np.array([metrics is not None for metrics in table])
    truth = np.log([metrics["rps"] if metrics is not None else np.nan for metrics in table])
    history = History()
    for position in (0, 101, 222):
        history = history.observe(position, table[position])

    def off(searched: Problem) -> float:  # in e-folds
        expected = Meta(searched).drawn(history)["rps"].mean(axis=0)
        return float(np.sqrt(np.mean((expected - truth)[ran] ** 2)))

    assert off(taught) < 0.05 < 0.1 < off(problem)


def inverse(task: Task, metric: str, of: str) -> Task:
    """The task with another value of a metric: a constant over another one, or over itself: what was best is worst."""
    observed = (
        Observation(o.position, o.metrics and {**o.metrics, metric: 1e4 / o.metrics[of]}) for o in task.observed
    )
    return Task(task.name, task.space, tuple(observed))


lied_to = replace(
    problem, sources=tuple(inverse(task, "rps", of="rps") for task in shifted_sources())
)  # learned from once for all tests


def test_a_wrong_prior_is_dropped_and_said_to_be(caplog):
    with caplog.at_level(logging.WARNING, "searchers.meta.meta"):
        found = search(lied_to, table, Meta, 20, seed=0)
    assert "contradicts the trials" in caplog.text
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
        searcher, history, best = Meta(taught), History(), 0.0
        running: list[int] = []
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
        config: dict[str, Any] = large.space[position]
        history = history.observe(position, {"rps": float(np.prod([config[name] for name in "abcde"]))})
    best = large.best(history)
    assert best is not None and best.metrics["rps"] > 0.5 * 9**5


# The parts of a suggestion, by what they must say


def logs(searcher: Meta, history: History, quantity: str) -> np.ndarray:
    return searcher.drawn(history)[quantity]


def posteriors_and_weights(searcher: Meta, history: History) -> tuple[dict[str, Posterior], dict[str, float]]:
    """What each component makes of the rates so far, and its share of the samples: a tenth as before any trial."""
    at, y = MetricModel(("rps",)).measured(history.observed, "rps")
    found = {component.name: component.beliefs["rps"].given(at, y) for component in searcher._components}
    before = {name: {SOURCES: 0.6, SHIPPED: 0.3, GENERIC: 0.1}[name] for name in found}
    likely = {name: weight * np.exp(found[name].log_density) for name, weight in before.items()}

    def part(of: dict[str, float], name: str) -> float:
        return float(of[name] / sum(of.values()))

    return found, {name: 0.9 * part(likely, name) + 0.1 * part(before, name) for name in found}


def test_sources_that_lie_of_one_metric_lose_their_say_in_that_one_alone(caplog):
    """Their latencies are upside down; what they say of rates is right, and still believed."""

    limited = replace(taught, objective=Objective(Expression("rps"), at_most={"p99_ms": 1e6}))
    history = History()
    for position in (0, 44, 101, 166, 222, 301, 340):
        history = history.observe(position, table[position])
    with caplog.at_level(logging.WARNING, "searchers.meta.meta"):
        true = Meta(limited).drawn(history)
        assert not caplog.records
        lied = Meta(
            replace(limited, sources=tuple(inverse(task, "p99_ms", of="p99_ms") for task in limited.sources))
        ).drawn(history)
    assert [record.getMessage() for record in caplog.records] == [
        "the prior from earlier services for p99_ms contradicts the trials so far and now has almost no weight"
    ]
    assert np.array_equal(true["rps"], lied["rps"]) and np.array_equal(true[FEASIBLE], lied[FEASIBLE])
    assert np.median(true["p99_ms"].std(axis=0)) < 0.3 * np.median(lied["p99_ms"].std(axis=0))


@pytest.mark.parametrize(
    ("searched", "positions", "within"),
    [(problem, (), 0.12), (problem, (101, 222), 0.12), (taught, (101,), 0.4)],  # a component of 1 % has 20 samples
    ids=["nothing known", "two trials", "sources and a trial"],
)
def test_samples_are_from_each_component_in_proportion_to_its_weight_and_spread_as_it_says(searched, positions, within):
    searcher, history = Meta(searched, samples=2000), History()
    for position in positions:
        history = history.observe(position, table[position])
    drawn = logs(searcher, history, "rps")
    posteriors, weights = posteriors_and_weights(searcher, history)
    assert drawn.shape == (2000, len(problem.space))
    mean = sum(weights[name] * p.mean for name, p in posteriors.items())
    second = sum(weights[name] * (p.variance + p.mean**2) for name, p in posteriors.items())
    deviation = np.sqrt(second - mean**2)
    # 2000 samples know a mean to 1/45 of a deviation, and 360 of them lie within five times that.
    assert np.abs((drawn.mean(axis=0) - mean) / deviation).max() < 0.12
    assert drawn.std(axis=0) / deviation == pytest.approx(np.ones(len(problem.space)), abs=within)
    # What was measured is known about as well as it was measured.
    assert all(drawn[:, position].std() < 0.1 for position in positions)


def test_the_suggestion_is_where_the_samples_say_most_is_to_be_gained():
    searcher, history = Meta(problem, near=0.0), after(problem, 3).await_(77)
    drawn = searcher.drawn(history)
    values = np.exp(drawn["rps"]) / problem.usd_per_hour * (drawn[FEASIBLE] > 0)
    taken = sorted(history.taken)
    top, best = values.max(axis=1, keepdims=True), values[:, taken].max(axis=1, keepdims=True)
    gained = np.where(values > best, (values - best) / top + (values >= 0.95 * top), 0).mean(axis=0)
    assert searcher.suggest(history, RNG(0)) == np.argmax(gained)
    free = [i for i in range(len(gained)) if i not in history.taken]
    assert gained[taken].max() == 0 < gained[free].max()
    chance = np.mean(top > 1.05 * values[:, [o.position for o in history.observed]].max(axis=1, keepdims=True))
    assert searcher.chance_of_more(history, 0.05) == pytest.approx(chance)


def test_what_a_failure_implies_fails_in_all_but_a_twentieth_of_the_samples():
    knobs = [
        Knob("gpu_memory", (1, 2, 4), columns=("log2_gpu_memory_gib",), features=((0.0,), (1.0,), (2.0,))),
        Knob("max_batch_size", (1, 2, 4, 8)),
    ]
    space = Space(knobs)
    searcher = Meta(Problem(space, Objective(Expression("rps"))))
    history = History().observe(space.position({"gpu_memory": 2, "max_batch_size": 4}), None)
    history = history.observe(space.position({"gpu_memory": 2, "max_batch_size": 1}), {"rps": 3.0})
    runs = logs(searcher, history, FEASIBLE)
    forced = np.abs(runs) == 1.0
    typical = forced.any(axis=1)
    assert 0.9 < typical.mean() < 0.99
    # An atypical trial is no matter of one component, whose samples lie together.
    assert np.ptp(np.flatnonzero(~typical)) > len(runs) / 2
    for position in range(len(space)):
        config: dict[str, Any] = space[position]
        if config["gpu_memory"] <= 2 and config["max_batch_size"] >= 4:
            assert (runs[typical, position] == -1).all() and not forced[~typical, position].any()
        elif config["gpu_memory"] >= 2 and config["max_batch_size"] <= 1:
            assert (runs[typical, position] == 1).all() and not forced[~typical, position].any()
        else:
            assert not forced[:, position].any()


def test_a_service_that_is_fast_in_one_metric_is_fast_in_the_other():
    """Sources whose latency is a constant over their rate: so is that of what a new service may be."""

    both = replace(problem, objective=Objective(Expression("rps"), at_most={"p99_ms": 50.0}))
    searcher = Meta(replace(both, sources=tuple(inverse(task, "p99_ms", of="rps") for task in shifted_sources())))
    (sources,) = (component for component in searcher._components if component.name == SOURCES)
    rate, latency = (sources.deviations[q] for q in ("rps", "p99_ms"))
    together = (rate * latency).mean(axis=0) / (rate.std(axis=0) * latency.std(axis=0))
    assert np.median(together) < -0.3  # the kernel's part is each metric's own


def nearness_by_hand(searcher: Meta, history: History, at_most: dict, at_least: dict) -> np.ndarray:
    drawn = searcher.drawn(history)
    missed = sum(np.maximum(0, drawn[m] - np.log(limit)).mean(axis=0) for m, limit in at_most.items())
    missed = missed + sum(np.maximum(0, np.log(limit) - drawn[m]).mean(axis=0) for m, limit in at_least.items())
    return -missed - 10 * (drawn[FEASIBLE] <= 0).mean(axis=0)


def test_where_nothing_is_likely_to_count_the_search_goes_to_what_misses_its_limits_by_least():
    limits = ({"p99_ms": 1e-30}, {"rps": 1e30})
    hopeless = replace(problem, objective=Objective(Expression("rps"), at_most=limits[0], at_least=limits[1]))
    searcher, history = Meta(hopeless), History()
    for position in (0, 100, 200):
        history = history.observe(position, table[position])
    nearness = nearness_by_hand(searcher, history, *limits)
    nearness[list(history.taken)] = -np.inf
    assert searcher.suggest(history, RNG(0)) == np.argmax(nearness)
    for at_most, at_least in (({"p99_ms": 0.3}, {}), ({"p99_ms": 80.0}, {"rps": 0.7}), ({}, {"rps": 300.0})):
        limited = Meta(replace(problem, objective=Objective(Expression("rps"), at_most=at_most, at_least=at_least)))
        by_hand = nearness_by_hand(limited, history, at_most, at_least)
        assert limited._nearness(limited.drawn(history)) == pytest.approx(by_hand)


def test_a_shortlist_begins_above_two_thousand_configurations():
    def of(n: int) -> Problem:
        return Problem(Space([Knob("k", tuple(range(1, n + 1)))]), Objective(Expression("rps")))

    long = meta(of(2001))
    assert isinstance(long, Shortlisted) and len(long._sample) == 1000
    monkey = meta(of(3))
    assert isinstance(monkey, Meta) and monkey.suggest(History(pending=frozenset({0, 1, 2})), RNG(0)) is None


def test_it_warns_once_of_what_was_dropped_and_of_sources_that_are_mixed_up(caplog):
    searcher, history = Meta(lied_to), History()
    with caplog.at_level(logging.WARNING, "searchers.meta.meta"):
        searcher.drawn(history)
        assert not caplog.records
        for position in (0, 44, 101, 166, 222, 301, 340):
            history = history.observe(position, table[position])
            searcher.drawn(history)
    assert [r.getMessage() for r in caplog.records] == [
        "the prior from earlier services for rps contradicts the trials so far and now has almost no weight"
    ]
    true = shifted_sources()
    rows = [true[0].observed[i].metrics for i in RNG(0).permutation(len(true[0].observed))]
    mixed = Task("mixed", true[0].space, tuple(Observation(i, m) for i, m in enumerate(rows)))
    caplog.clear()
    with caplog.at_level(logging.WARNING, "searchers.meta.meta"):
        names = [o.name for o in Meta(replace(problem, sources=(true[1], mixed)))._components]
        assert names == [GENERIC, SHIPPED, SOURCES] and "ignoring 1 of 2" in caplog.text
        assert [o.name for o in Meta(replace(problem, sources=(mixed,)))._components] == [GENERIC, SHIPPED]


def test_earlier_services_are_said_to_be_dropped_once_they_have_less_than_a_hundredth_of_the_say(caplog):
    batches = Space([Knob("max_batch_size", (1, 2, 4, 8, 16, 32))])
    earlier = (Task(f"{k}", batches, tuple(Observation(i, {"rps": k * 1.5**i}) for i in range(6))) for k in (1.0, 3.0))
    searcher = Meta(Problem(batches, Objective(Expression("rps")), sources=tuple(earlier)))
    told = "the prior from earlier services for rps contradicts the trials so far and now has almost no weight"
    assert [component.name for component in searcher._components] == [GENERIC, SHIPPED, SOURCES]
    for say, said in ((0.5, []), (0.05, []), (0.011, []), (0.009, [told]), (0.0, [told])):
        for others in ([1 - say, 0.0], [0.0, 1 - say]):  # these may have lost theirs
            caplog.clear()
            searcher._warned.clear()
            with caplog.at_level(logging.WARNING, "searchers.meta.meta"):
                searcher._warn_of_dropped({"rps": np.array([*others, say]), FEASIBLE: np.array([0.5, 0.5, 0.0])})
            assert [record.getMessage() for record in caplog.records] == said, say


def test_what_a_configuration_is_worth_counts_from_what_is_pending_too(monkeypatch):
    asked = []

    def recorded(values, taken, tolerance):
        asked.append((taken.tolist(), tolerance))
        return acquisition(values, taken, tolerance)

    monkeypatch.setattr("searchers.meta.meta.acquisition", recorded)
    Meta(problem, tolerance=0.1).suggest(History().observe(9, table[9]).await_(77).await_(5), RNG(0))
    assert asked == [([5, 9, 77], 0.1)]
