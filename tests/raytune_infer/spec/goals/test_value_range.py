"""The range of an expression has all its values in it, and is exact where each quantity occurs once."""

import ast
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raytune_infer.spec.goals.value_range import value_range
from searchers.objective import Expression

RANGES = {"rps": (0.0, math.inf), "p99_ms": (0.0, math.inf), "error_rate": (0.0, 1.0), "usd_per_hour": (0.0, math.inf)}


def found(text, ranges=RANGES):
    return value_range(ast.parse(text, mode="eval").body, ranges)


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("rps / usd_per_hour", 0, math.inf),
        ("rps * (1 - error_rate)", 0, math.inf),
        ("1 / (1 + p99_ms)", 0, 1),
        ("rps ** 2 / p99_ms", 0, math.inf),
        ("rps ** -0.5", 0, math.inf),
        ("-p99_ms", -math.inf, 0),
        ("rps - 10 * p99_ms", -math.inf, math.inf),
        ("1 / (error_rate - 0.5)", -math.inf, math.inf),
        ("(error_rate - 0.5) ** 2", 0, math.inf),
        ("(error_rate - 0.5) ** 3", -math.inf, math.inf),
        ("0 * rps", 0, 0),
        ("2 ** -error_rate", 0.5, 1),
        ("error_rate / -2", -0.5, 0),
    ],
)
def test_ranges_by_hand(text, low, high):
    assert found(text) == (low, high)


@given(
    st.sampled_from(["a + b * c", "a / (b + 1) - c", "a ** b / c", "-(a - b) ** 2 + c", "a / b ** c", "a * b - c / a"]),
    st.tuples(*[st.tuples(st.floats(0.1, 5), st.floats(0, 5))] * 3),
    st.tuples(*[st.floats(0, 1)] * 3),
)
def test_every_value_lies_in_the_range(text, ends, shares):
    ranges = {name: (low, low + width) for name, (low, width) in zip("abc", ends, strict=True)}
    values = {name: low + share * width for name, (low, width), share in zip("abc", ends, shares, strict=True)}
    low, high = found(text, ranges)
    value = float(Expression(text).over({name: np.float64(v) for name, v in values.items()}))
    slack = 1e-9 * (1 + abs(value))
    assert low - slack <= value <= high + slack
