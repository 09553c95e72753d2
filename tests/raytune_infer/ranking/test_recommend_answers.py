"""Ranked again with limits on answers: what answers wrongly no longer counts, and no other rate would change that."""

import io
from dataclasses import replace

import pytest

from raytune_infer.errors import UserError
from raytune_infer.ranking.other_objective import changed
from raytune_infer.ranking.recommendation import recommend
from raytune_infer.report.recommendation_report import recommendation_view, remarks
from raytune_infer.report.renderers.console_view import render
from raytune_infer.report.words.ranked import answer, trials_needed, why_not
from raytune_infer.store.records import Outcome
from searchers.objective import Expression, Objective
from serve_deployments.metrics.answers.agreement import AnswerAgreement
from tests.raytune_infer.ranking.measured_runs import CONFIGS, SPEC, measured, write_run

OFF = {"answers_same": 0.25, "answers_cosine_min": 0.9, "answers_relative_error_max": 0.1}
SAME = {"answers_same": 1.0, "answers_cosine_min": 1.0, "answers_relative_error_max": 0.0}


def with_answers(config, at_most):
    """Batches of 16 answer otherwise."""
    outcome, wrong = measured(config, at_most), config["max_batch_size"] == 16
    figures, words = (OFF, "sample 1: off") if wrong else (SAME, None)
    found = AnswerAgreement(32, figures, {"answers_same": 1.0}, wrong, words)
    return replace(outcome, answers=found, metrics={**outcome.metrics, **found.figures})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run", measure=with_answers)


def shown(found) -> str:
    out = io.StringIO()
    render(recommendation_view(found), out)
    return " ".join(out.getvalue().split())


def test_without_a_limit_the_first_is_warned_of_and_figures_are_shown(run):
    found = recommend(run)
    assert found.best.config["max_batch_size"] == 16 and found.best.answers.figures == OFF
    said = shown(found)
    assert "the first configuration answers otherwise than the default" in said and "answers_cosine_min" in said
    assert all(("answers differ from" in (remarks(found, r) or "")) is (r.answers.figures == OFF) for r in found.ranked)
    other = recommend(run, maximize="rps / p99_ms")
    named = [answer(other), *trials_needed(other)]
    assert all(("answers differ from" in each) is ("max_batch_size=16" in each) for each in named)
    assert any("max_batch_size=16" in each for each in named)


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"answers_cosine_min": 0.99}, "answers_cosine_min < 0.99"),
        ({"answers_relative_error_max": 0.01}, "answers_relative_error_max > 0.01"),
    ],
)
def test_under_a_limit_it_does_not_count_and_a_new_trial_would_not_help(run, limits, why):
    found = recommend(run, limits=limits)
    assert {r.config["max_batch_size"] for r in found.ranked} == {1, 4}
    assert {r.config["max_batch_size"] for r in found.others} == {16}
    assert {r.could_be for r in found.others} == {None}
    assert all(r.config["max_batch_size"] != 16 for r in found.needed)
    assert {why_not(found, r) for r in found.others} == {why} and "answers otherwise" not in shown(found)


def test_a_limit_on_answers_is_a_lower_bound_where_more_is_better_and_can_be_taken_back():
    objective = Objective(Expression("rps"), at_least={"answers_same": 0.9})
    assert changed(objective, limits={"answers_same": None}).at_least == {}
    other = changed(objective, limits={"answers_cosine_min": 0.5, "answers_relative_error_max": 0.1, "p99_ms": 10.0})
    assert other.at_least == {"answers_same": 0.9, "answers_cosine_min": 0.5}
    assert other.at_most == {"answers_relative_error_max": 0.1, "p99_ms": 10.0}
    with pytest.raises(UserError, match="a limit is an upper bound; for rps give a lower bound"):
        changed(objective, limits={"rps": 1.0})


@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        ({"limits": {"error_rate": 5.0}}, "error_rate is a share from 0 to 1, got 5; for 5 % write 0.05"),
        ({"limits": {"answers_same": 95.0}}, "answers_same is a share from 0 to 1, got 95; for 95 % write 0.95"),
        (
            {"at_least": {"answers_cosine_min": 1.5}},
            "answers_cosine_min is from -1 to 1, got 1.5; write a number in that",
        ),
    ],
)
def test_a_bound_that_no_value_can_reach_is_refused(bounds, why):
    with pytest.raises(UserError, match=why):
        changed(Objective(Expression("rps")), **bounds)


@pytest.mark.parametrize(
    "asked",
    [
        {"at_least": {"quality": 0.9}},
        {"limits": {"quality": 0.9}},
        {"maximize": "quality"},
        {"maximize": "rps * quality"},
    ],
)
def test_a_metric_that_no_trial_measured_is_an_error_that_says_what_there_is(run, asked):
    with pytest.raises(UserError) as error:
        recommend(run, **asked)
    said = str(error.value)
    assert said.startswith(f"no trial of {run} measured quality; it has rps, p50_ms")
    assert "error_rate, answers_same" in said and "; `quality: module:score` in service.yaml" in said


def test_what_was_measured_may_be_asked_for_and_what_was_not_may_be_taken_back(run):
    asked = {"p97_ms": 1000.0, "max_ms": 1e4, "error_rate": 0.5, "usd_per_hour": 9.0, "quality": None}
    assert recommend(run, limits=asked, at_least={"rps": 0.1}, maximize="rps / usd_per_hour").best is not None


def test_the_answers_of_a_trial_that_was_not_loaded_are_measured_too(tmp_path):
    """It broke the run's limit on them, and is the only one that compared any."""

    def refused(config, at_most):
        if config["max_batch_size"] != 16:
            return measured(config, at_most)
        found = AnswerAgreement(32, {**OFF, "quality": 0.2}, {"answers_same": 1.0}, True, "sample 1: off")
        return Outcome(None, reason="AnswersDiffer: answers_same is 0.25", answers=found)

    run = write_run(tmp_path / "run", measure=refused)
    assert recommend(run, at_least={"quality": 0.9}).best is None


def test_a_limit_that_is_lifted_says_which_trials_it_had_kept_from_being_loaded(tmp_path):
    """They have no rate, so they are in no ranking, and their absence would look like a verdict."""

    def refused(config, at_most):
        outcome = with_answers(config, at_most)
        if config["max_batch_size"] != 16:
            return outcome
        return Outcome(None, reason="AnswersDiffer: answers_same is 0.25, the limit 0.9", answers=outcome.answers)

    run = write_run(
        tmp_path / "run",
        SPEC.replace("limits: {", "limits: {answers_same: 0.9, "),
        [CONFIGS[0], CONFIGS[2]],
        measure=refused,
    )
    said = (
        "trial 2 has no rate, and so no place: the run's limits on answers kept it from being loaded, and these limits "
        "would not; a new run under these limits would measure it"
    )
    for asked in ({"answers_same": None}, {"answers_same": 0.2}, {"answers_same": None, "answers_cosine_min": 0.9}):
        assert recommend(run, limits=asked).not_loaded == (2,) and said in shown(recommend(run, limits=asked))
    for asked in ({}, {"answers_same": 0.3}, {"answers_same": None, "answers_cosine_min": 0.95}):
        found = recommend(run, limits=asked)
        assert found.not_loaded == () and "has no rate" not in shown(found)
        assert "trial 2 was not loaded, as it broke the run's limits on answers: answers_same is 0.25" in shown(found)
