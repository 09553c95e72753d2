"""Agreement over all samples: figures, and over all rounds in which a configuration was asked."""

import math
from dataclasses import replace

import pytest

from serve_deployments.metrics.answers.agreement import AnswerAgreement, agreement, over_rounds
from serve_deployments.metrics.answers.content import Unanswered
from serve_deployments.metrics.metric_table import ANSWER_METRICS, METRICS

LATE = Unanswered("late")


def of(reference, answers, again=None, **scores) -> AnswerAgreement:
    return agreement(reference, reference if again is None else again, answers, 1e-4, scores)


def test_figures_by_hand():
    found = of(
        [{"label": "cat", "at": [3.0, 4.0]}, {"label": "dog", "at": [1.0, 0.0]}],
        [{"label": "cut", "at": [4.0, 3.0]}, {"label": "dog", "at": [1.0, 0.0]}],
    )
    assert found.figures == pytest.approx(
        {
            "answers_same": 0.5, "answers_cosine": 0.98, "answers_cosine_min": 0.96,
            "answers_relative_error": math.sqrt(2) / 10, "answers_relative_error_max": math.sqrt(2) / 5,
            "answers_edit_similarity": (2 / 3 + 1) / 2,
        }
    )  # fmt: skip
    assert set(found.figures) <= set(ANSWER_METRICS) == {n for n, metric in METRICS.items() if metric.of_answers}


def test_figures_that_no_answer_has_are_left_out_and_a_missing_answer_is_not_the_same():
    assert of(["a", True], ["a", LATE]).figures == {"answers_same": 0.5, "answers_edit_similarity": 1.0}


def test_a_reference_that_repeats_itself_makes_one_difference_enough():
    found = of([1.0] * 32, [1.0] * 31 + [1.01], quality=0.9)
    assert found.differs and found.words == "sample 32: 1.01 instead of 1" and found.samples == 32
    assert found.figures["quality"] == 0.9 and found.itself["answers_same"] == 1.0 and found.chance == 0.0
    exact = of([1.0] * 32, [1.00001] * 32)
    assert not exact.differs and exact.words is None and exact.chance == 1.0


def test_a_score_near_zero_is_judged_by_what_scores_usually_are():
    assert not of([1e-7, *[1.0] * 31], [2e-7, *[1.0] * 31]).differs
    assert of([1e-7] * 32, [2e-7] * 32).differs


def test_a_second_answer_that_failed_is_no_yardstick():
    """It says nothing of whether the reference repeats its answers, and hides no difference."""
    once_lost = of(["a"] * 32, ["a"] * 31 + ["b"], again=[LATE] + ["a"] * 31)
    assert once_lost.differs and once_lost.itself["answers_same"] == 1.0
    assert of(["a"] * 32, ["b"] + ["a"] * 31, again=[LATE] + ["a"] * 31).differs
    assert not of(["a"] * 32, ["a"] * 32, again=[LATE] + ["a"] * 31).differs
    assert of(["a"], ["b"], again=[LATE]).differs and of(["a"], ["a"], again=[LATE]).itself["answers_same"] == 0.0


def test_a_request_that_fails_differs_where_the_reference_answers_and_not_where_it_fails_as_often():
    assert of(["a"] * 32, ["a"] * 31 + [LATE]).differs
    one_each = of(["a"] * 32, ["a"] * 31 + [LATE], again=[LATE] + ["a"] * 31)
    assert not one_each.differs and one_each.words == "sample 32: no answer: late"
    assert of(["a"] * 32, ["a"] * 20 + [LATE] * 12, again=[LATE] + ["a"] * 31).differs


def test_rounds_are_judged_together():
    """Of 3 rounds one differs with 4 % by chance: in 12 % of such configurations some round does."""
    once = AnswerAgreement(32, {"answers_same": 0.5}, {"answers_same": 0.5}, True, "sample 1: off", 0.04)
    never = replace(once, differs=False, chance=0.4)
    assert over_rounds([]) is None and over_rounds([once]) == once
    found = over_rounds([never, once, never])
    assert found is not None and found.chance == pytest.approx(0.12) and found == replace(never, chance=found.chance)
    sure = replace(once, chance=0.01, words="sample 2: off")
    found = over_rounds([never, once, sure])
    assert found is not None and found.chance == pytest.approx(0.03) and found == replace(sure, chance=found.chance)
    # Of a run that did not keep the probability, what differs differs.
    early = over_rounds([replace(never, chance=None), replace(once, chance=None)])
    assert early is not None and early.differs
