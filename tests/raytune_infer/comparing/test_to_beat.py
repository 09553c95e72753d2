"""The rate that wins is the one at which the objective's value is the best so far."""

import math

import pytest

from raytune_infer.comparing.to_beat import rate_to_beat
from raytune_infer.study.trials.trial import run_trial
from searchers.objective import Expression, Objective
from serve_deployments.fakes.fake_backend import FakeBackend, VirtualMeasure
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.settings import Settings


@pytest.mark.parametrize(
    ("goal", "minimize", "needed"),
    [
        ("rps / usd_per_hour", False, 300.0),
        ("rps", False, 300.0),
        ("usd_per_hour / rps", True, 300.0),
        ("rps ** 0.5 / usd_per_hour", False, 300.0),
        ("rps - 100 * usd_per_hour", False, None),  # negative at low rates: no value there, so none to compare
        ("rps / p99_ms", False, None),
        ("1 / p99_ms", False, None),
        ("usd_per_hour", True, None),
        ("rps", True, None),  # the less the better
    ],
)
def test_the_rate_that_gives_the_best_value(goal, minimize, needed):
    objective = Objective(Expression(goal), minimize=minimize)
    best = objective.value({"rps": 300.0, "p99_ms": 5.0}, 2.0)
    found = rate_to_beat(objective, 2.0, best)
    assert found is None if needed is None else found == pytest.approx(needed)
    if needed:
        assert objective.value({"rps": found * 1.001, "p99_ms": 5.0}, 2.0) > best


def test_twice_the_price_needs_twice_the_rate_and_an_unknown_price_says_nothing():
    objective = Objective(Expression("rps / usd_per_hour"))
    assert rate_to_beat(objective, 4.0, 150.0) == pytest.approx(600.0)
    assert rate_to_beat(objective, math.nan, 150.0) is None
    assert rate_to_beat(objective, 4.0, None) is None


def test_a_rate_that_does_not_count_does_not_win():
    objective = Objective(Expression("rps / usd_per_hour"), at_least={"rps": 50.0})
    assert rate_to_beat(objective, 0.1, 150.0) == 50.0
    assert rate_to_beat(objective, 1.0, 150.0) == pytest.approx(150.0)  # there the value asks for more
    assert rate_to_beat(Objective(Expression("rps"), at_least={"p99_ms": 500.0}), 1.0, 150.0) == pytest.approx(150.0)


def test_where_any_rate_wins_or_none_that_a_machine_can_do_there_is_none_to_beat():
    objective = Objective(Expression("rps"))
    assert rate_to_beat(objective, 1.0, 1e-5) is None and rate_to_beat(objective, 1.0, 1e9) is None
    assert rate_to_beat(objective, 1.0, 2e-4) == pytest.approx(2e-4)
    assert rate_to_beat(objective, 1.0, 9e7) == pytest.approx(9e7)
    assert rate_to_beat(objective, 1.0, 1e-4) == pytest.approx(1e-4)
    assert rate_to_beat(objective, 1.0, 1e8) is None


@pytest.mark.parametrize("best", [0.37, 5.0, 123.456, 4321.0])
def test_the_rate_is_exact_to_the_last_digits(best):
    found = rate_to_beat(Objective(Expression("rps / usd_per_hour")), 0.7, best)
    assert found == pytest.approx(0.7 * best, rel=1e-11) and found / 0.7 >= best * (1 - 1e-12)


@pytest.mark.parametrize("at_most", [{}, {"p99_ms": 200.0}])
def test_trials_that_cannot_win_end_early_and_the_same_one_wins(at_most):
    """One core: 10 ms and 1 ms an item, so the larger the batch the better; tried from the best to the worst."""
    objective = Objective(Expression("rps"), at_most=at_most)
    backend = FakeBackend(lambda settings, batch: 0.010 + 0.001 * batch)
    measure = VirtualMeasure(LoadTest(LoadPlan(max_concurrency=64, total_max_s=20.0), at_most))

    def tried(informed):
        outcomes, best = {}, None
        for size in (16, 4, 1):
            to_beat_rps = rate_to_beat(objective, 1.0, best) if informed else None
            settings = Settings(cpu_cores=1, max_batch_size=size)
            outcome = run_trial(settings, "t", backend=backend, measure=measure, to_beat_rps=to_beat_rps)
            value = objective.value({**outcome.metrics}, 1.0)
            best, outcomes[size] = max(best or 0.0, value or 0.0), outcome
        return outcomes

    def held_s(outcomes):
        """By the trials that cannot win."""
        levels = [level for size in (4, 1) for level in outcomes[size].levels]
        return sum(level.ended_at - level.started_at for level in levels)

    informed, blind = tried(True), tried(False)
    assert [outcome.ended_early for outcome in informed.values()] == [False, True, True]
    assert not any(outcome.ended_early for outcome in blind.values())
    assert max(informed, key=lambda size: informed[size].metrics["rps"]) == 16
    assert informed[16].metrics == blind[16].metrics
    assert held_s(informed) < 0.8 * held_s(blind)
