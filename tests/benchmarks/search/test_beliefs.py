"""What searchers believe, against what is so: chances of more, intervals; and whether they care for replicas."""

import math

import numpy as np
import pandas as pd
import pytest

import searchers.registry
from benchmarks.search.belief_coverage import SHARES, inside
from benchmarks.search.belief_coverage import body as coverage_body
from benchmarks.search.belief_coverage import rows_of as coverage_rows
from benchmarks.search.calibration import Asked, answered, calibration, doubting
from benchmarks.search.calibration import body as calibration_body
from benchmarks.search.switching import body as switching_body
from benchmarks.search.switching import searches as switching_searches
from benchmarks.search.switching import switched
from raytune_infer.suites.replays import Plan, Unit
from searchers.replay import Step

# Calibration


def test_calibration_by_hand():
    figures = calibration([0.05, 0.3, 0.3, 1.0], [False, True, False, True])
    assert figures.counts.tolist() == [1, 0, 0, 2, 0, 0, 0, 0, 0, 1]
    assert figures.known() == ([0.05, 0.3, 1.0], [0.0, 0.5, 1.0])
    assert figures.brier == pytest.approx((0.05**2 + 0.7**2 + 0.3**2) / 4)
    assert figures.frequency == 0.5 and figures.skill == pytest.approx(1 - figures.brier / 0.25)
    assert math.isnan(calibration([0.5], [True]).skill)


def test_who_gives_true_chances_is_on_the_diagonal():
    rng = np.random.default_rng(0)
    chances = rng.random(20_000)
    figures = calibration(chances.tolist(), (rng.random(20_000) < chances).tolist())
    assert np.abs(figures.predicted - figures.observed).max() < 0.04
    assert figures.brier == pytest.approx(1 / 6, abs=0.005)  # the integral of p (1 - p)


@pytest.mark.usefixtures("names")
def test_answers_are_those_of_the_table(suite, folder, monkeypatch):
    monkeypatch.setattr("benchmarks.search.calibration.NAMED", searchers.registry.NAMED)
    assert doubting() == ["follower"]
    plan = Plan(folder, ("follower",), ("free",), budget=3, seeds=1)
    asked = list(answered(suite, plan, Unit("follower", ("a1",)), (0.0, 50.0)))
    # The first trial has found the best, so nothing is better ever after.
    assert asked == [Asked("follower", margin, 0.5, False) for _ in range(3) for margin in (0.0, 50.0)]
    assert "| follower | 0 | 3 | 0.000 | 0.250 | nan |" in calibration_body(asked, None)
    with pytest.raises(ValueError, match="from 0 to 1"):
        Asked("x", 0.0, 1.5, True)


# Switches of replicas


def test_switches_are_counted_from_trial_to_trial():
    steps = [Step(position, None, None, 0) for position in (3, 0, 1, 2, 3)]
    assert switched(steps, np.array([0, 0, 5, 5])) == [True, True, False, True, False]


def test_who_cares_for_replicas_starts_fewer(suite, folder):
    plan = Plan(folder, ("meta",), ("free",), budget=8, seeds=1)
    rows = pd.concat(list(switching_searches(suite, plan, Unit("meta", ("a1",)), (0.0, 0.5))), ignore_index=True)
    assert rows["trial"].tolist() == [*range(1, 9)] * 2
    # No knob of this suite changes in place.
    assert rows["switched"].all()
    text = switching_body(rows, 0.95)
    assert "| 0 | 1 | " in text and "| 1.00 | 1.00 | 7.0 | 7.0 |" in text


# Coverage of beliefs


def test_who_believes_the_truth_has_it_inside_as_often_as_said():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal(2000)
    samples = centres + rng.standard_normal((500, 2000))
    truth = centres + rng.standard_normal(2000)
    for share in SHARES:
        assert inside(samples, truth, share) == pytest.approx(share, abs=0.03)
        assert inside(5 + samples, truth, share) < 0.02


def test_coverage_is_of_what_is_not_measured_yet(suite, folder):
    plan = Plan(folder, ("meta",), ("free",), budget=20, seeds=1)
    rows = pd.concat(list(coverage_rows(suite, plan, Unit("meta", ("b1",)), (0, 2, 11))), ignore_index=True)
    # After 11 of 12 nothing that can run may be left.
    assert rows["trials"].tolist()[:2] == [0, 2] and set(rows["metric"]) == {"rps"}
    covered = rows[list(SHARES)].to_numpy()
    assert ((covered >= 0) & (covered <= 1)).all()
    assert "| rps | 2 | 1 | " in coverage_body(rows)
