"""The figures of a configuration over its rounds: which rounds are part of them, and what is marked beside them."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytune_infer.comparing.comparison import compared
from raytune_infer.comparing.configuration_result import ConfigurationResult, result_of, result_of_search
from raytune_infer.comparing.means import mean_over_rounds
from raytune_infer.store.records import TrialRecord
from searchers.objective import Expression, Objective
from tests.levels import a_level
from tests.raytune_infer.comparing.final_rounds import BROKEN, GOAL, finals


def result(trials: list[TrialRecord], objective: Objective = GOAL, position: int = 1) -> ConfigurationResult:
    comparison = compared(trials, objective, 0)
    contestant = comparison.of(position)
    assert contestant is not None
    return result_of(comparison, contestant)


def with_metric(trials: list[TrialRecord], name: str, *values: float) -> list[TrialRecord]:
    """The same trials, each with another metric."""
    return [
        replace(t, outcome=replace(t.outcome, metrics={**t.metrics, name: value}))
        for t, value in zip(trials, values, strict=True)
    ]


def test_a_round_that_broke_a_limit_is_part_of_no_mean():
    """Of one that counts (it kept two of three) and of one that does not (one of two), of rates, times and shares."""
    trials = finals([(1, 500.0, BROKEN)], [(1, 90.0, 40.0)], [(1, 90.0, 90.0)])
    counts = with_metric(trials, "error_rate", 0.9, 0.0, 0.2)
    assert result(counts).metrics == pytest.approx({"rps": 90.0, "p99_ms": 60.0, "error_rate": 0.1})
    does_not = with_metric(finals([(1, 500.0, BROKEN)], [(1, 90.0, 40.0)]), "error_rate", 0.9, 0.2)
    assert result(does_not).metrics == pytest.approx({"rps": 90.0, "p99_ms": 40.0, "error_rate": 0.2})
    assert [t.number for t in result(does_not).trials] == [2]


@pytest.mark.parametrize("unsteady", [0, 1, 2])
def test_a_mean_is_an_estimate_if_the_rate_of_any_of_its_rounds_is_one(unsteady):
    trials = [
        replace(t, outcome=replace(t.outcome, levels=(a_level(5.0, steady=i != unsteady),), reported=0))
        for i, t in enumerate(finals([(1, 100.0)], [(1, 101.0)], [(1, 99.0)]))
    ]
    assert result(trials).estimated
    steady = [replace(t, outcome=replace(t.outcome, levels=(a_level(5.0),))) for t in trials]
    assert not result(steady).estimated


@pytest.mark.parametrize("limited", [0, 1, 2])
def test_it_is_a_lower_bound_if_the_load_generator_was_the_bottleneck_in_any_round(limited):
    trials = finals([(1, 100.0)], [(1, 101.0)], [(1, 99.0)])
    assert not result(trials).client_limited
    trials[limited] = replace(trials[limited], outcome=replace(trials[limited].outcome, client_limited=True))
    assert result(trials).client_limited


def test_a_lower_bound_is_for_the_mean_that_is_reported():
    """97 and 104 are 100.4 in the geometric mean, as the table has it, and half of them are below 100."""
    bounded = Objective(Expression("rps"), at_least={"rps": 100.4})
    trials = finals([(1, 97.0)], [(1, 104.0)], objective=bounded)
    comparison = compared(trials, bounded, 0)
    assert comparison.counting and result(trials, bounded).metrics["rps"] == pytest.approx(math.sqrt(97 * 104))
    assert not compared(trials, replace(bounded, at_least={"rps": 100.5}), 0).counting


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=6), st.sampled_from(["rps", "p99_ms", "error_rate"]))
def test_a_mean_lies_between_its_rounds_and_scales_with_the_machine(values, name):
    mean = mean_over_rounds(name, values)
    assert min(values) * (1 - 1e-9) <= mean <= max(values) * (1 + 1e-9)
    assert mean_over_rounds(name, [2 * value for value in values]) == pytest.approx(2 * mean)


def test_of_no_round_or_one_without_the_metric_there_is_no_mean():
    assert math.isnan(mean_over_rounds("rps", [])) and math.isnan(mean_over_rounds("rps", [1.0, math.nan]))
    assert mean_over_rounds("error_rate", [0.0, 0.5]) == mean_over_rounds("rps", [0.0, 0.5]) == 0.25


def test_a_rate_outside_its_interval_is_refused():
    [trial] = finals([(1, 390.0)])
    with pytest.raises(ValueError, match=r"around the rate 390.0 is needed, got \(650.0, 910.0\)"):
        ConfigurationResult({"rps": 390.0}, (trial,), (650.0, 910.0))
    with pytest.raises(ValueError, match="an interval of 0 or more around the rate 390.0 is needed"):
        replace(trial.outcome, interval_rps=(650.0, 910.0))
    one = replace(trial, outcome=replace(trial.outcome, interval_rps=(350.0, 910.0)))
    assert result_of_search(one).interval_rps == (350.0, 910.0)


a_round = st.lists(
    st.one_of(st.none(), st.tuples(st.floats(0.1, 1e4), st.floats(1.0, 200.0))), min_size=3, max_size=3
)  # fmt: skip


@given(st.lists(a_round, min_size=1, max_size=4), st.booleans())
def test_whatever_was_measured_every_mean_lies_in_its_interval(rounds, minimize):
    """Positions 0 to 2 in each round; nothing: it could not run."""
    objective = replace(GOAL, goal=Expression("p99_ms / rps" if minimize else "rps"), minimize=minimize)
    cells = [[(i, *(cell or (None,))) for i, cell in enumerate(each)] for each in rounds]
    comparison = compared(finals(*cells, objective=objective), objective, 0)
    for contestant in comparison.contestants:
        found = result_of(comparison, contestant)
        if found.interval_rps is not None:
            low, high = found.interval_rps
            assert low <= found.metrics["rps"] <= high
        if contestant.counts:
            mean = comparison.mean(contestant)
            assert mean.low <= mean.value <= mean.high
