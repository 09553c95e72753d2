"""Agreement over all samples: figures, and whether answers differ more than the reference's own."""

import math

import pytest

from serve_deployments.metrics.answers.agreement import agreement, differences, figures_of
from serve_deployments.metrics.answers.content import Unanswered
from serve_deployments.metrics.answers.difference import Difference
from serve_deployments.metrics.metric_table import ANSWER_METRICS, METRICS

SAME = Difference(True, 0.0, 1.0)


def off(distance: float) -> Difference:
    return Difference(False, distance, words="off")


def test_figures_by_hand():
    found = differences(
        [{"label": "cat", "at": [3.0, 4.0]}, {"label": "dog", "at": [1.0, 0.0]}],
        [{"label": "cut", "at": [4.0, 3.0]}, {"label": "dog", "at": [1.0, 0.0]}],
        allowed=1e-4,
    )
    assert figures_of(found) == pytest.approx(
        {
            "answers_same": 0.5, "answers_cosine": 0.98, "answers_cosine_min": 0.96,
            "answers_relative_error": math.sqrt(2) / 10, "answers_relative_error_max": math.sqrt(2) / 5,
            "answers_edit_similarity": (2 / 3 + 1) / 2,
        }
    )  # fmt: skip
    assert set(figures_of(found)) <= set(ANSWER_METRICS) == {n for n, metric in METRICS.items() if metric.of_answers}


def test_figures_that_no_answer_has_are_left_out_and_a_missing_answer_is_not_the_same():
    assert figures_of(differences(["a", True], ["a", Unanswered("late")], 0.0)) == {
        "answers_same": 0.5, "answers_edit_similarity": 1.0,
    }  # fmt: skip


def test_a_reference_that_repeats_itself_makes_one_difference_enough():
    found = agreement([SAME] * 31 + [off(0.01)], [SAME] * 32, {"quality": 0.9})
    assert found.differs and found.words == "sample 32: off" and found.samples == 32
    assert found.figures["quality"] == 0.9 and found.itself["answers_same"] == 1.0
    exact = agreement([SAME] * 32, [SAME] * 32)
    assert not exact.differs and exact.words is None


@pytest.mark.parametrize(
    ("farther", "nearer", "differs"),
    [(5, 0, True), (4, 0, False), (7, 1, True), (6, 2, False), (16, 16, False), (0, 32, False)],
)
def test_one_that_does_not_is_the_yardstick_by_a_sign_test(farther, nearer, differs):
    """P(5 of 5) = 1/32 < 0.05 < P(4 of 4) = 1/16; P(7 or more of 8) = 9/256 < 0.05 < P(6 or more of 8) = 37/256."""
    found = [off(0.3)] * farther + [off(0.1)] * nearer + [off(0.2)] * 3
    assert agreement(found, [off(0.2)] * len(found)).differs is differs
