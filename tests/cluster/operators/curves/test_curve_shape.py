"""Shapes of curves whose rule is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.operators.curves.shape import shape_of

X = [1, 2, 4, 8, 16, 32, 64]
LAWS = {
    "flat": lambda x: 5 + 0 * x, "slope": lambda x: 3 * x**0.5, "knee": lambda x: np.minimum(x, 8.0),
    "concave": lambda x: 2 ** (np.log2(x) - 0.12 * np.log2(x) ** 2),
    "convex": lambda x: 2 ** (0.1 * np.log2(x) + 0.1 * np.log2(x) ** 2),
}  # fmt: skip


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("seed", range(5))
def test_a_curve_is_named_by_its_rule_through_two_per_cent_of_noise(name, seed):
    exact = LAWS[name](np.array(X, dtype=float))
    noise = np.random.default_rng(seed).normal(0, 0.01, len(X))
    found = shape_of(X, exact * np.exp(noise), [0.02] * len(X))
    assert found.name == name
    assert found.gain == pytest.approx(exact[-1] / exact[0], rel=0.1)
    assert found.knee == (pytest.approx(8) if name == "knee" else None)
    assert (found.evidence == 0) == (name == "flat")


@given(st.floats(0.1, 10), st.integers(1, 9))
def test_units_change_nothing(unit, first):
    exact = LAWS["knee"](np.array(X, dtype=float))
    found, other = (shape_of(np.array(X) * first, exact * u, [0.01] * 7) for u in (1, unit))
    assert found.name == other.name and found.gain == pytest.approx(other.gain)
    assert found.knee == pytest.approx(8 * first)


def test_two_points_are_flat_or_a_slope_with_the_interval_by_hand():
    flat, slope = shape_of([1, 2], [10, 10.1], [0.05, 0.05]), shape_of([1, 2], [10, 18], [0.05, 0.05])
    assert (flat.name, slope.name) == ("flat", "slope") and slope.gain == pytest.approx(1.8)
    # Half of the interval of a difference of two logarithms, each known to 5 %.
    assert slope.high / slope.gain == pytest.approx(np.exp(np.hypot(0.05, 0.05)), rel=1e-6)


def test_wide_intervals_name_nothing_but_flat():
    assert shape_of(X, LAWS["slope"](np.array(X, dtype=float)), [9.0] * 7).name == "flat"


@pytest.mark.parametrize(("x", "y"), [([1], [1]), ([2, 1], [1, 1]), ([1, 2], [1, 0]), ([0, 1], [1, 1])])
def test_what_is_no_curve_is_refused(x, y):
    with pytest.raises(ValueError, match="ascending"):
        shape_of(x, y, [0.1] * len(x))
