"""What is said of answers that differ: the figures, the yardstick, and a limit to set."""

import re

import pytest

from raytune_infer.report.words.answers import differ_briefly, shown_of, suggested_limit, warning
from raytune_infer.report.words.trials import footnotes, state
from searchers.objective import Expression, Objective
from serve_deployments.metrics.answers.agreement import AnswerAgreement
from serve_deployments.metrics.answers.number_parts import WHOLLY_OFF
from serve_deployments.metrics.metric_table import METRICS
from tests.raytune_infer.report.test_report import FAILED, trial

FIGURES = {"answers_same": 0.25, "answers_cosine_min": 0.99999, "answers_relative_error_max": 0.0138}
OWN = {"answers_same": 1.0, "answers_cosine_min": 1.0, "answers_relative_error_max": 0.0}
OFF = AnswerAgreement(32, FIGURES, OWN, True, "sample 1: its numbers differ by 0.012 of their norm")


def test_a_warning_has_the_figures_and_a_limit_to_set():
    assert warning(OFF, "it") == (
        "it answers otherwise than the default, by more than rounding explains: in 32 answers numbers differ by up to "
        "0.014 of their norm, with a cosine of 0.99999 or more; sample 1: its numbers differ "
        "by 0.012 of their norm. Make sure that this is good enough, or set a limit that leaves it out, such as "
        "`limits: {answers_cosine_min: 0.999995}`"
    )
    own = {"answers_same": 0.75, "answers_edit_similarity": 0.96}
    texts = AnswerAgreement(4, {"answers_same": 0.5, "answers_edit_similarity": 0.9}, own, True, "x")
    assert (
        "by more than the default's own from one another: texts are alike to 90.0%, 50% of 4 answers are the same (the "
        "default's own: 75%); x."
    ) in warning(texts, "it")
    assert "`limits: {answers_edit_similarity: 0.93}`" in warning(texts, "it")


def test_the_figure_that_says_most_comes_first_and_how_many_are_equal_does_not_alarm():
    """After any rounding hardly any numbers are equal, beside a cosine of 0.9999."""
    none_same = AnswerAgreement(32, FIGURES | {"answers_same": 0.0}, OWN, True, "x")
    assert "0%" not in warning(none_same, "it") and "explains: in 32 answers numbers differ by up to 0.014" in warning(
        none_same, "it"
    )
    noisy = AnswerAgreement(32, FIGURES, {"answers_same": 0.0, "answers_relative_error_max": 0.002}, True, "x")
    assert "numbers differ by up to 0.014 of their norm (the default's own by 0.002)" in warning(noisy, "it")
    both = AnswerAgreement(4, FIGURES | {"answers_edit_similarity": 0.5}, OWN, True, "x")
    assert re.search(
        r"explains: numbers differ .*, texts are alike to 50.0%, 25% of 4 answers are the same; x", warning(both, "it")
    )
    labels = AnswerAgreement(4, {"answers_same": 0.5}, OWN, True, "x")
    assert "explains: 50% of 4 answers are the same; x" in warning(labels, "it")


@pytest.mark.parametrize(
    ("figures", "own", "limit"),
    [
        ({"answers_cosine_min": 0.2, "answers_same": 0.0}, {"answers_cosine_min": 1.0, "answers_same": 1.0},
         "answers_cosine_min: 0.6"),
        # The texts are as far apart as the default's own, and a limit on that would leave nothing out.
        ({"answers_edit_similarity": 0.9, "answers_same": 0.25}, {"answers_edit_similarity": 0.9, "answers_same": 1.0},
         "answers_same: 0.6"),
        ({"answers_cosine_min": 1.0, "answers_relative_error_max": 0.5, "answers_same": 0.0},
         {"answers_cosine_min": 1.0, "answers_relative_error_max": 1e-7, "answers_same": 1.0},
         "answers_relative_error_max: 0.3"),
        ({"answers_same": 0.5}, {"answers_same": 0.5}, None),
        ({"answers_same": 0.5, "quality": 0.1}, {"quality": 0.9}, None),
    ],
)  # fmt: skip
def test_a_suggested_limit_leaves_the_configuration_out_and_keeps_the_default(figures, own, limit):
    found = AnswerAgreement(32, figures, own, True, "x")
    assert suggested_limit(found) == limit
    assert warning(found, "it").endswith("good enough" if limit is None else f"such as `limits: {{{limit}}}`")
    if limit is not None:
        name, bound = limit.split(": ")
        lower = METRICS[name].better == "higher"
        bounds = {name: float(bound)}
        objective = Objective(Expression("rps"), at_least=bounds if lower else {}, at_most={} if lower else bounds)
        assert objective.broken(figures) == (name,) and objective.broken(own) == ()


def test_where_rounding_explains_it_nothing_is_said():
    same = AnswerAgreement(32, {"answers_same": 1.0})
    assert (warning(same, "it"), warning(None, "it"), differ_briefly(same), differ_briefly(None)) == (None,) * 4
    assert shown_of({"answers_same": 1.0, "rps": 1.0}, {"quality": 0.5}) == ("answers_same", "quality")


def test_a_trial_whose_answers_break_a_limit_is_not_said_to_be_unable_to_run():
    broken = trial(**{**FAILED, "reason": "AnswersDiffer: answers_same is 0.25, the limit 0.9", "answers": OFF})
    assert state(broken) == "breaks a limit" and broken.metrics == FIGURES
    assert footnotes([broken]) == ["all: breaks a limit: AnswersDiffer: answers_same is 0.25, the limit 0.9"]
    assert footnotes([trial(answers=OFF)]) == ["all: answers differ from the default's by up to 0.014 of their norm"]


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"answers_relative_error_max": 0.0138, "answers_same": 0.0}, " by up to 0.014 of their norm"),
        ({"answers_relative_error_max": WHOLLY_OFF, "answers_same": 0.5}, ": 50% the same"),
        ({"answers_relative_error_max": 0.1, "answers_edit_similarity": 0.9, "answers_same": 0.5}, ": 50% the same"),
        ({"answers_relative_error_max": 0.0, "answers_same": 0.75}, ": 75% the same"),
        ({"answers_same": 0.75}, ": 75% the same"),
    ],
)
def test_numbers_are_told_by_their_error_as_hardly_any_are_equal_and_all_else_by_how_many_are(figures, said):
    assert differ_briefly(AnswerAgreement(32, figures, OWN, True, "x")) == f"answers differ from the default's{said}"
