"""A function of the user's that scores answers: whatever it returns is a number, or an error that names it."""

import math

import numpy as np
import pytest
import torch

from raytune_infer.spec.quality_spec import Score, ScoreError
from serve_deployments.metrics.answers.content import Unanswered
from serve_deployments.models.context import ModelError


def returns(answer):
    return answer


def empties(answer, reference):
    """It takes what it is given apart."""
    score = float(answer.pop("score") == reference.pop("score"))
    return score if not answer and not reference else 0.0


async def waits(answer):
    return 1.0


def of(name: str, answers=("a",), references=("a",)) -> float:
    score = Score(f"tests.raytune_infer.spec.test_quality_spec:{name}")
    return score([None] * len(answers), list(answers), list(references))


@pytest.mark.parametrize(
    ("returned", "score"),
    [
        (0.5, 0.5), (2, 2.0), (True, 1.0), (False, 0.0), (np.float32(0.5), 0.5), (np.float16(0.5), 0.5),
        (np.int64(3), 3.0), (np.bool_(True), 1.0), (torch.tensor(0.5), 0.5), (np.array([0.5]), 0.5),
        (torch.tensor([[0.5]]), 0.5),
    ],
)  # fmt: skip
def test_every_kind_of_number_is_a_score(returned, score):
    assert of("returns", [returned]) == score


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "None"), ("0.5", "'0.5'"), (math.nan, "nan"), (math.inf, "inf"), (-0.1, "-0.1"), ([0.5], r"\[0.5\]"),
        ({"score": 0.5}, r"{'score': 0.5}"), (np.zeros(2), r"array\(\[0., 0.\]\)"), (1j, "1j"), (10**400, "1000"),
        (np.float32("nan"), "nan"),
    ],
)  # fmt: skip
def test_what_is_no_number_of_0_or_more_is_named(returned, said):
    with pytest.raises(ScoreError, match=f"returns returned .*{said}.* for sample 1; a number of 0 or more is needed"):
        of("returns", [returned])


def test_what_it_changes_in_answers_is_changed_for_it_alone():
    """The reference is that of every trial."""
    answers, references = [{"score": 1}], [{"score": 1}]
    assert [of("empties", answers, references) for _ in range(2)] == [1.0, 1.0]
    assert answers == references == [{"score": 1}]


def test_a_missing_answer_scores_nothing():
    assert of("returns", [1.0, Unanswered("late")], ["a", "a"]) == 0.5


def test_one_that_would_have_to_be_awaited_is_refused():
    with pytest.raises(ModelError, match="waits is `async def`; a function that returns its number is needed"):
        Score("tests.raytune_infer.spec.test_quality_spec:waits").check()
