"""What is said of answers that differ: the figures, the yardstick, and a limit to set."""

from raytune_infer.report.words.answers import differ_briefly, shown_of, warning
from raytune_infer.report.words.trials import footnotes, state
from serve_deployments.metrics.answers.agreement import AnswerAgreement
from tests.raytune_infer.report.test_report import FAILED, trial

FIGURES = {"answers_same": 0.25, "answers_cosine_min": 0.99999, "answers_relative_error_max": 0.0138}
OFF = AnswerAgreement(32, FIGURES, {"answers_same": 1.0}, True, "sample 1: its numbers differ by 0.012 of their norm")


def test_a_warning_has_the_figures_and_a_limit_to_set():
    assert warning(OFF, "it") == (
        "it answers otherwise than the default, by more than rounding explains: 25% of 32 answers are the same, their "
        "numbers differ by up to 0.014 of their norm, with a cosine of 0.99999 or more; sample 1: its numbers differ "
        "by 0.012 of their norm. Make sure that this is good enough, or set a limit such as "
        "`limits: {answers_cosine_min: 0.99}`"
    )
    texts = AnswerAgreement(4, {"answers_same": 0.5, "answers_edit_similarity": 0.9}, {"answers_same": 0.75}, True, "x")
    assert "their texts are alike to 90.0% (the default's own: 75%); x." in warning(texts, "it")
    assert "`limits: {answers_edit_similarity: 0.99}`" in warning(texts, "it")


def test_where_rounding_explains_it_nothing_is_said():
    same = AnswerAgreement(32, {"answers_same": 1.0})
    assert (warning(same, "it"), warning(None, "it"), differ_briefly(same), differ_briefly(None)) == (None,) * 4
    assert shown_of({"answers_same": 1.0, "rps": 1.0}, {"quality": 0.5}) == ("answers_same", "quality")


def test_a_trial_whose_answers_break_a_limit_is_not_said_to_be_unable_to_run():
    broken = trial(**{**FAILED, "reason": "AnswersDiffer: answers_same is 0.25, the limit 0.9", "answers": OFF})
    assert state(broken) == "breaks a limit" and broken.metrics == FIGURES
    assert footnotes([broken]) == ["all: breaks a limit: AnswersDiffer: answers_same is 0.25, the limit 0.9"]
    assert footnotes([trial(answers=OFF)]) == ["all: answers differ from the default's: 25% the same"]
