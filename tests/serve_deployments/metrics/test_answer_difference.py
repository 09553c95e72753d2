"""How one answer differs from the reference's: by hand, for each kind of part."""

import enum
import math
from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_deployments.metrics.answers.agreement import figures_of
from serve_deployments.metrics.answers.content import Unanswered, plain, size_bytes
from serve_deployments.metrics.answers.difference import WHOLLY_OFF, Difference, difference
from serve_deployments.metrics.answers.edit_distance import LONGEST, edit_distance
from serve_deployments.metrics.answers.rounding import allowed_error
from serve_deployments.metrics.metric_table import METRICS

ALLOWED = 1e-4


def of(one, other) -> Difference:
    return difference(plain(one), plain(other), ALLOWED)


def test_numbers_by_relative_error_and_cosine():
    found = of([3.0, 4.0], [4.0, 3.0])  # the norm of (-1, 1) over 5; 24 / 25
    assert found.relative_error == pytest.approx(math.sqrt(2) / 5) and found.cosine == pytest.approx(0.96)
    assert not found.same and found.words == "its numbers differ by 0.28 of their norm"
    assert math.isnan(found.edit_similarity) and found.distance == found.relative_error
    assert of([1e300, 1e300], [1e300, 0.0]).cosine == pytest.approx(1 / math.sqrt(2))  # no square overflows
    assert of([0.0, 0.0], [0.0, 0.0]) == Difference(True, 0.0, 1.0)
    assert of([0.0, 0.0], [1.0, 0.0]).cosine == 0.0 and of([0.0, 0.0], [1.0, 0.0]).relative_error == 1.0


def test_what_rounding_explains_is_the_same():
    assert of([1.0, 2.0], [1.0, 2.0001]).same and not of([1.0, 2.0], [1.0, 2.001]).same
    assert of(1.0, 1.00001).same and math.isnan(of(1.0, 1.00001).cosine)  # one number has no direction
    assert of(np.float32(0.5), 0.5).same and of(torch.tensor([0.5, 1.0], dtype=torch.bfloat16), [0.5, 1.0]).same


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ("cat", "cut", "'cut' instead of 'cat'"),
        (True, False, "False instead of True"),
        (7, 8, "8 instead of 7"),
        (2**70, 2**70 + 1, f"{2**70 + 1} instead of {2**70}"),
        ([1, 2, 3], [1, 5, 4], "2 of 3 whole numbers differ"),
        ({"label": "A"}, None, "None instead of a mapping"),
        ({"label": "A"}, {}, "'label' is missing"),
        ({}, {"label": "A"}, "'label' is there, and not in the reference"),
        ([{"label": "A"}], [{"label": "B"}], "[0].label: 'B' instead of 'A'"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], "an array of shape [3] instead of an array of shape [2]"),
        (["a"], ["a", "b"], "a list of 2 instead of a list of 1"),
        ([1.0, math.nan], [1.0, 2.0], "NaN or infinity in other places"),
        (b"\x00", b"\x01", r"b'\x01' instead of b'\x00'"),
        ("1", 1, "a number instead of a text"),
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
    assert (lost.relative_error, lost.cosine, lost.edit_similarity) == (1.0, 0.0, 0.0)
    assert lost.words == "no answer: ValueError: no" and not lost.same


def test_odd_numbers_at_the_same_places_are_the_same():
    assert of([1.0, math.nan, math.inf], [1.0, math.nan, math.inf]).same
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


def by_the_book(one: str, other: str) -> int:
    """The definition, recursively."""
    if not one or not other:
        return len(one) + len(other)
    kept = by_the_book(one[1:], other[1:]) + (one[0] != other[0])
    return min(kept, by_the_book(one[1:], other) + 1, by_the_book(one, other[1:]) + 1)


@settings(deadline=None, max_examples=60)
@given(st.text("ab", max_size=5), st.text("ab", max_size=5))
def test_an_edit_distance_is_that_of_the_definition(one, other):
    assert edit_distance(one, other) == (by_the_book(one, other), max(len(one), len(other)))


def test_edit_distances_known_from_books_and_of_long_texts():
    assert edit_distance("kitten", "sitting") == (3, 7) and edit_distance(b"ab", b"cab") == (1, 3)
    words = " ".join(f"word{number}" for number in range(1000))
    assert edit_distance(words, words.replace("word500", "other")) == (1, 1000)  # in words
    assert edit_distance(words, words) == (0, 1000)
    long = "a" * LONGEST + " b"
    assert edit_distance(long, long + "c")[0] >= 1  # never taken for the same


def test_every_kind_of_answer_becomes_plain():
    Point = namedtuple("Point", "x y")

    @dataclass
    class Box:
        label: str
        at: tuple

    class Own:
        def __init__(self):
            self.score, self.both = 0.5, [self, self]

    class Colour(enum.Enum):
        RED = "red"

    assert plain(Box("cat", Point(1, 2.5))) == {"label": "cat", "at": {"x": 1, "y": 2.5}}
    assert plain(({"b", "a"}, Colour.RED, np.str_("x"), bytearray(b"y"))) == [["a", "b"], "red", "x", b"y"]
    assert plain(np.array(["a", "b"])) == ["a", "b"] and plain({1: None}) == {"1": None}
    own = plain(Own())  # it refers to itself, twice
    assert (own["type"].split(".")[-1], own["score"], own["both"]) == ("Own", 0.5, ["…", "…"])
    assert plain(object()) == "object" == plain(object())  # without its address
    assert plain(np.array([1 + 2j])).tolist() == [[1.0, 2.0]] and plain(torch.ones(2)).dtype == np.float32
    assert size_bytes(plain({"ab": [np.zeros(4, dtype=np.float32), "xyz", 1.0]})) == 2 + 16 + 3 + 8


def test_what_rounding_explains_follows_from_the_format():
    """8 u + sqrt(64 x 14336) 2^-24, with u of 2^-24, 2^-11 and 2^-8; float16 and less lie far above float32."""
    assert allowed_error("float32") == pytest.approx((8 + 957.86) * 2**-24, rel=1e-4)
    assert allowed_error("float16") == pytest.approx(8 * 2**-11 + 957.86 * 2**-24, rel=1e-4)
    assert allowed_error("bfloat16") == pytest.approx(8 * 2**-8 + 957.86 * 2**-24, rel=1e-4)
    assert allowed_error("int8") == allowed_error("float32") < 2**-12
