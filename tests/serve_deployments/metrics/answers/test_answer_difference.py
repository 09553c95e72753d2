"""How one answer differs from the reference's: by hand, for each kind of part."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from serve_deployments.metrics.answers.agreement import figures_of
from serve_deployments.metrics.answers.content import Unanswered, plain
from serve_deployments.metrics.answers.difference import Difference, difference
from serve_deployments.metrics.answers.number_parts import WHOLLY_OFF
from serve_deployments.metrics.answers.usual_norms import usual_norms
from serve_deployments.metrics.metric_table import METRICS

ALLOWED = 1e-4


def of(one, other, allowed=ALLOWED) -> Difference:
    return difference(plain(one), plain(other), allowed)


def test_numbers_by_relative_error_and_cosine():
    found = of([3.0, 4.0], [4.0, 3.0])  # the norm of (-1, 1) over 5; 24 / 25
    assert found.relative_error == pytest.approx(math.sqrt(2) / 5) and found.cosine == pytest.approx(0.96)
    assert not found.same and found.words == "its numbers differ by 0.28 of their norm"
    assert math.isnan(found.edit_similarity) and found.distance == found.relative_error
    assert of([1e300, 1e300], [1e300, 0.0]).cosine == pytest.approx(1 / math.sqrt(2))  # no square overflows
    assert of([1.7e308], [-1.7e308]).relative_error == 2.0  # nor does the difference
    assert of([0.0, 0.0], [0.0, 0.0]) == Difference(0.0, 1.0)
    assert of([0.0, 0.0], [1.0, 0.0]).cosine == 0.0 and of([0.0, 0.0], [1.0, 0.0]).relative_error == 1.0


def test_what_rounding_explains_is_the_same():
    assert of([1.0, 2.0], [1.0, 2.0001]).same and not of([1.0, 2.0], [1.0, 2.001]).same
    assert of(1.0, 1.00001).same and math.isnan(of(1.0, 1.00001).cosine)  # one number has no direction
    assert of(np.float32(0.5), 0.5).same and of(torch.tensor([0.5, 1.0], dtype=torch.bfloat16), [0.5, 1.0]).same
    assert of([1, 2], [1.0, 2.0]).same and of(np.array([1, 2], dtype=np.int8), [1, 2]).same  # of another type


@pytest.mark.parametrize(
    ("one", "other", "error", "words"),
    [
        ({"id": 100_000, "score": 0.9}, {"id": 100_000, "score": 0.1}, 8 / 9, "score: 0.1 instead of 0.9"),
        ([100_000, 0.9], [100_000, 0.1], 8 / 9, "0.1 instead of 0.9"),  # as a pair of label and score comes
        ({"big": [1e9, 1.0], "small": [1.0]}, {"big": [1e9, 1.0], "small": [2.0]}, 0.5, "small: 2 instead of 1"),
        ([[1e9, 0.0], [0.0, 1.0]], [[1e9, 0.0], [0.0, 2.0]], 0.5, "[1]: its numbers differ by 0.5 of their norm"),
        ([{"v": 1e9}, {"v": 1.0}], [{"v": 1e9}, {"v": 4.0}], 0.75, "[1].v: 4 instead of 1"),
    ],
)
def test_a_large_number_does_not_hide_a_small_one(one, other, error, words):
    found = of(one, other)
    assert found.relative_error == pytest.approx(error) == found.distance and found.words == words


def test_a_long_text_does_not_hide_a_label():
    found = of({"text": "word " * 1000, "label": "cat"}, {"text": "word " * 1000, "label": "dog"})
    assert (found.edit_similarity, found.distance, found.words) == (0.0, 1.0, "label: 'dog' instead of 'cat'")


def test_a_truth_value_that_differs_is_wholly_off_whatever_else_the_answer_holds():
    assert of({"ok": True, "score": 0.9}, {"ok": False, "score": 0.9000001}).distance == 1.0
    assert of({"id": 100_000}, {"id": 100_001}).distance == 1.0  # a label, however near the number
    assert of([7, 8, 9, 9], [7, 8, 9, 5]).distance == 0.25  # tokens: those that differ


def test_how_far_each_kind_of_part_is_off_is_known_by_itself():
    found = of(
        {"items": [{"n": 1}, {"n": 2}], "text": "ab", "v": 1.0}, {"items": [{"n": 1}, {"n": 3}], "text": "a", "v": 1.0}
    )
    assert found.parts == {".items[].n": 1.0, ".text": 0.5} and found.distance == 1.0


def test_a_number_near_zero_is_compared_with_what_it_usually_is():
    """As the difference of larger numbers, it has their rounding error."""
    usual = usual_norms([{"score": score, "id": 7} for score in (0.5, 1.0, -1.5, 1e-6, 100.0)])
    assert usual == {".score": 1.0}
    near = difference({"score": 1e-6, "id": 7}, {"score": 2e-6, "id": 7}, ALLOWED, usual)
    assert near.same and near.relative_error == pytest.approx(1e-6)
    assert not difference({"score": 1e-6, "id": 7}, {"score": 2e-6, "id": 7}, ALLOWED).same
    assert not difference({"score": 0.1, "id": 7}, {"score": 0.2, "id": 7}, ALLOWED, usual).same
    # A vector of nothing but rounding has no direction.
    noise = difference([0.0, 1e-7], [1e-7, 0.0], ALLOWED, {"": 1.0})
    assert noise.same and noise.cosine == 1.0
    zero = difference([0.0, 0.0], [1.0, 0.0], ALLOWED, {"": 1.0})
    assert (zero.relative_error, zero.cosine, zero.same) == (1.0, 0.0, False)


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("cat", "cut", "'cut' instead of 'cat'"),
        (True, False, "False instead of True"),
        (7, 8, "8 instead of 7"),
        (2**53, 2**53 + 1, f"{2**53 + 1} instead of {2**53}"),
        ([2**53, 0.5], [2**53 + 1, 0.5], f"{2**53 + 1} instead of {2**53}"),
        (2**70, 2**70 + 1, f"{2**70 + 1} instead of {2**70}"),
        ([2**70], [2**70 + 1], f"[0]: {2**70 + 1} instead of {2**70}"),
        ([1, 2, 3], [1, 5, 4], "2 of 3 whole numbers differ"),
        ([True, False], [True, True], "1 of 2 whole numbers differ"),
        ({"label": "A"}, None, "None instead of a mapping"),
        ({"label": None}, {"label": 0.5}, "label: a number instead of None"),
        ({"label": "A"}, {}, "'label' is missing"),
        ({}, {"label": "A"}, "'label' is there, and not in the reference"),
        ([{"label": "A"}], [{"label": "B"}], "[0].label: 'B' instead of 'A'"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], "an array of shape [3] instead of an array of shape [2]"),
        (np.zeros((2, 1)), np.zeros((1, 2)), "an array of shape [1, 2] instead of an array of shape [2, 1]"),
        (["a", {}], ["a", {}, 1], "a list of 3 instead of a list of 2"),
        ([], ["a"], "'a' instead of ''"),
        ([], [0.5], "an array of shape [1] instead of a list of 0"),
        (["a b"], ["a", "b"], r"'a\nb' instead of 'a b'"),
        ([1.0, math.nan], [1.0, 2.0], "NaN or infinity in other places"),
        (0.5, math.nan, "nan instead of 0.5"),
        (b"\x00", b"\x01", r"b'\x01' instead of b'\x00'"),
        ("1", 1, "a number instead of a text"),
        ("0.5", "0.50", "'0.50' instead of '0.5'"),  # a number in a text is text
    ],
)  # fmt: skip
def test_what_is_not_the_same_says_where(one, other, words):
    found = of(one, other)
    assert (found.same, found.words) == (False, words) and found.distance > 0
    assert of(one, one).same and of(one, one).words is None and of(one, one).distance == 0


def test_a_part_that_is_missing_counts_as_nothing_on_the_other_side():
    found = of({"label": "cat", "vector": [3.0, 4.0]}, {"label": "cat"})
    assert (found.relative_error, found.cosine, found.edit_similarity) == (1.0, 0.0, 1.0)
    lost = difference(plain({"label": "cat", "vector": [3.0, 4.0]}), Unanswered("ValueError: no"), ALLOWED)
    assert (lost.relative_error, lost.cosine, lost.edit_similarity, lost.distance) == (1.0, 0.0, 0.0, 1.0)
    assert lost.words == "no answer: ValueError: no" and not lost.same and not lost.answered and found.answered


def test_lists_of_texts_are_compared_as_one_text_of_lines():
    found = of(["the", "cat", "sat"], ["the", "fat", "cat", "sat"])
    assert found.edit_similarity == pytest.approx(1 - 4 / 15) and not found.same  # a line of four characters more
    joined = of(["a\nb"], ["a", "b"])
    assert joined.edit_similarity == 1.0 and not joined.same and joined.distance == 1.0


def test_odd_numbers_at_the_same_places_are_the_same():
    assert of([1.0, math.nan, math.inf], [1.0, math.nan, math.inf]).same and of(math.nan, math.nan).same
    assert not of([1.0, math.inf], [1.0, -math.inf]).same


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_an_odd_number_on_one_side_only_breaks_every_limit(odd):
    """A cosine of 0 and the largest relative error, however many other numbers agree."""
    for one, other in (([1.0, 2.0], [odd, odd]), ([1.0, 2.0, 3.0], [1.0, 2.0, odd]), ({"v": [odd, odd]}, {})):
        for found in (of(one, other), of(other, one)):
            assert (found.same, found.relative_error, found.cosine) == (False, WHOLLY_OFF, 0.0)
    single = of(0.5, odd)
    assert (single.same, single.relative_error, single.distance) == (False, 2.0, 2.0) and math.isnan(single.cosine)
    figures = figures_of([of([1.0, 2.0], [odd, odd])])
    assert figures["answers_relative_error_max"] == METRICS["answers_relative_error_max"].range[1]


def test_zeros_that_are_not_answered_do_not_agree():
    lost = difference(plain([0.0, 0.0]), Unanswered("late"), ALLOWED)
    assert (lost.relative_error, lost.cosine) == (1.0, 0.0) == (of([0.0], [0.0, 0.0]).relative_error, 0.0)


def test_short_floats_may_be_off_by_the_distance_of_their_neighbours():
    """The same number computed twice may be stored as either of two neighbours, whatever it was computed in."""
    low, high = np.float16(0.5), np.nextafter(np.float16(0.5), np.float16(1))
    assert of(low, high).same and of(np.array([low, low]), np.array([low, high])).same
    assert of({"score": torch.tensor(float(low), dtype=torch.float16)}, {"score": high}).same
    assert not of(float(low), float(high)).same and not of(low, np.float16(0.51)).same


def test_a_picture_may_be_off_by_single_steps_where_rounding_explains_it():
    """An error of 1e-4 x 255 = 0.026 steps moves 2.6 % of the intensities by one step."""
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)
    near, many, far = (picture.astype(np.uint8) for _ in range(3))
    near.flat[:150] += 1  # 2.5 %
    many.flat[:160] += 1  # 2.7 %
    far.flat[0] ^= 2
    assert [of(picture, each).same for each in (near, many, far)] == [True, False, False]
    assert of(picture, many).words == "160 of 6000 whole numbers differ"
    assert not of(picture.ravel(), near.ravel()).same and not of(picture.astype(int), near.astype(int)).same  # labels


RANKED: list[dict[str, Any]] = [
    {"label": "cat", "score": 0.4},
    {"label": "dog", "score": 0.3},
    {"label": "cow", "score": 0.3},
]


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ([RANKED[0], RANKED[2], RANKED[1]], True),  # of equal scores, the order says nothing
        ([RANKED[0], {"label": "cow", "score": 0.300001}, RANKED[1]], True),
        ([RANKED[0], {"label": "cow", "score": 0.31}, RANKED[1]], False),
        ([RANKED[1], RANKED[0], RANKED[2]], False),  # no longer in the order of the scores
        ([RANKED[0], RANKED[1], {"label": "pig", "score": 0.3}], False),
    ],
)
def test_labels_with_scores_are_compared_label_by_label(other, same):
    assert of(RANKED, other).same is of(other, RANKED).same is same
    rising = [
        [{"text": each["label"], "distance": 1 - each["score"]} for each in ranking] for ranking in (RANKED, other)
    ]
    assert of(*rising).same is same


def test_an_order_that_no_number_explains_counts():
    assert not of([{"label": "cat"}, {"label": "dog"}], [{"label": "dog"}, {"label": "cat"}]).same
    assert not of(["cat", "dog"], ["dog", "cat"]).same
