"""Predictions of a report: they follow from all trials of a study, those of its comparison too."""

from dataclasses import replace

import numpy as np
import pytest

from raytune_infer.report.whole.prediction import Expected, expectations, of_samples
from raytune_infer.report.whole.run_facts import read_facts
from searchers.space import Config
from tests.raytune_infer.ranking.measured_runs import CONFIGS, SPEC, write_run

DEFAULT: Config = dict(CONFIGS[0])
AGAIN: Config = dict(CONFIGS[1])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A search of two configurations, and a comparison of one of them with one that the search left out."""
    text = SPEC.replace("rps / usd_per_hour", "rps")
    return write_run(tmp_path_factory.mktemp("runs") / "run", text, CONFIGS[1:3], [CONFIGS[1], CONFIGS[0]] * 2)


def with_meta(facts):
    return replace(facts, study=replace(facts.study, searcher="meta"))


def test_what_only_the_comparison_measured_is_predicted_as_it_was_measured(run):
    facts = with_meta(read_facts(run))
    [expected] = expectations(facts, [DEFAULT])
    measured = [t.metrics["rps"] for t in facts.trials if t.config == CONFIGS[0]]
    assert expected.figure is not None and len(measured) == 2
    assert expected.figure.value == pytest.approx(sum(measured) / 2, rel=0.15)


def test_of_one_that_was_measured_more_than_once_the_mean_counts(run):
    """A lucky value of the search, of twice what both rounds of the comparison found, is a third of the evidence."""
    facts = with_meta(read_facts(run))
    lucky = next(t for t in facts.trials if t.config == CONFIGS[1])
    true_rps = lucky.metrics["rps"]
    metrics = {**lucky.metrics, "rps": 2 * true_rps}
    other = replace(lucky, outcome=replace(lucky.outcome, metrics=metrics, interval_rps=None))
    changed = replace(facts, trials=tuple(other if t is lucky else t for t in facts.trials))
    [expected] = expectations(changed, [AGAIN])
    assert expected.figure is not None
    assert expected.figure.value == pytest.approx(4 / 3 * true_rps, rel=0.15)


def test_an_interval_of_95_percent_leaves_out_a_fortieth_on_either_side():
    """Of 1 to 1000 the middle is 500.5; a twentieth is outside 25.975 and 975.025."""
    found = of_samples(np.arange(1.0, 1001.0), minimize=False).figure
    assert found is not None and (found.low, found.value, found.high) == pytest.approx((25.975, 500.5, 975.025))


def test_a_figure_that_is_minimised_is_told_in_its_own_unit():
    """A searcher has the reciprocal; of 1/100 to 1/1 the figure is between 1 and 100."""
    found = of_samples(1 / np.arange(1.0, 102.0), minimize=True).figure
    assert found is not None and (found.low, found.value, found.high) == pytest.approx((3.5, 51.0, 98.5))


def test_what_mostly_does_not_count_has_no_figure_but_a_probability():
    values = np.array([5.0, 0.0, np.nan, 6.0, 0.0])
    assert of_samples(values, minimize=False) == Expected(None, 0.4)
    figure = of_samples(np.array([5.0, 7.0, 0.0]), minimize=False).figure
    assert figure is not None and figure.value == 6.0
