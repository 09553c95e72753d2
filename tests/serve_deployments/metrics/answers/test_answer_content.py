"""Answers of any type as plain values, and what rounding explains of them."""

import enum
from collections import namedtuple
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from serve_deployments.metrics.answers.content import plain, size_bytes
from serve_deployments.metrics.answers.rounding import allowed_error


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


@pytest.mark.parametrize(
    ("number", "becomes"),
    [
        (np.float32(0.5), 0.5), (np.float64(0.5), 0.5), (np.longdouble(0.5), 0.5), (Decimal("0.5"), 0.5),
        (Fraction(1, 2), 0.5), (np.int8(3), 3), (np.bool_(True), True), (torch.tensor(0.5), np.array(0.5)),
        (1 + 2j, np.array([1.0, 2.0])), (np.clongdouble(1 + 2j), np.array([1.0, 2.0])),
        (np.complex64(1 + 2j), np.array([1.0, 2.0])), (np.float16(0.5), np.array(0.5, dtype=np.float16)),
    ],
)  # fmt: skip
def test_every_kind_of_number_becomes_one(number, becomes):
    found = plain(number)
    assert type(found) is type(becomes) and np.array_equal(found, becomes)


def test_what_rounding_explains_follows_from_the_format():
    """8 u + sqrt(64 x 14336) 2^-24, with u of 2^-24, 2^-11 and 2^-8; float16 and less lie far above float32."""
    assert allowed_error("float32") == pytest.approx((8 + 957.86) * 2**-24, rel=1e-4)
    assert allowed_error("float16") == pytest.approx(8 * 2**-11 + 957.86 * 2**-24, rel=1e-4)
    assert allowed_error("bfloat16") == pytest.approx(8 * 2**-8 + 957.86 * 2**-24, rel=1e-4)
    assert allowed_error("int8") == allowed_error("float32") < 2**-12
