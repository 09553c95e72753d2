"""What holds for the difference of any two answers."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_deployments.metrics.answers.content import plain
from serve_deployments.metrics.answers.difference import Difference, difference
from serve_deployments.metrics.answers.usual_norms import usual_norms

ALLOWED = 1e-4
FLOATS = st.floats(allow_nan=True, allow_infinity=True, width=32)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), FLOATS, st.text(max_size=5), st.binary(max_size=3),
    st.lists(FLOATS, max_size=3), st.lists(FLOATS, max_size=3).map(np.array),
)  # fmt: skip
ANSWERS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)
MAPPINGS = st.dictionaries(st.sampled_from("abcd"), ANSWERS, max_size=4)
VECTORS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=4)
PAIRS = st.integers(1, 4).flatmap(
    lambda size: st.tuples(*2 * [st.lists(st.floats(-1e6, 1e6), min_size=size, max_size=size)])
)


def of(one, other) -> Difference:
    return difference(one, other, ALLOWED)


def alike(one: Difference, other: Difference) -> bool:
    """The same figures, whichever part the words name."""
    left, right = (replace(each, words=each.words and "differs", parts={}) for each in (one, other))
    return repr(left) == repr(right) and one.parts == other.parts  # NaN included


def worst(combine, *values: float) -> float:
    known = [value for value in values if not math.isnan(value)]
    return combine(known) if known else math.nan


@settings(deadline=None)
@given(ANSWERS)
def test_an_answer_is_the_same_as_itself(answer):
    content = plain(answer)
    found = of(content, content)
    assert found.same and found.distance == 0 and not found.relative_error > 0
    assert not found.cosine < 1 - 1e-9 and not found.edit_similarity < 1


@settings(deadline=None)
@given(ANSWERS, ANSWERS)
def test_figures_keep_their_range_and_do_not_depend_on_which_is_the_reference(one, other):
    found, back = of(plain(one), plain(other)), of(plain(other), plain(one))
    assert (found.same, found.distance) == (back.same, pytest.approx(back.distance))
    assert not found.relative_error < 0 and not found.relative_error > 2
    assert not found.cosine < -1 and not found.cosine > 1
    assert not found.edit_similarity < 0 and not found.edit_similarity > 1
    assert (found.distance > 0) is (not found.same) and 0 <= found.distance <= 2


@settings(deadline=None)
@given(MAPPINGS, MAPPINGS)
def test_the_order_of_keys_changes_nothing(one, other):
    left, right = plain(one), plain(other)
    turned = dict(reversed(left.items()))
    assert alike(of(left, right), of(turned, right)) and alike(of(left, right), of(left, dict(reversed(right.items()))))


@settings(deadline=None)
@given(MAPPINGS, MAPPINGS, VECTORS)
def test_a_further_part_that_is_the_same_hides_nothing(one, other, further):
    left, right = plain(one), plain(other)
    before, after = of(left, right), of({**left, "more": further}, {**right, "more": list(further)})
    assert (before.same, before.distance) == (after.same, after.distance)
    assert after.relative_error == worst(max, before.relative_error, 0.0)
    assert after.edit_similarity == before.edit_similarity or math.isnan(before.edit_similarity)
    if len(further) > 1:
        assert after.cosine == pytest.approx(worst(min, before.cosine, 1.0))


@settings(deadline=None)
@given(PAIRS, PAIRS, st.sampled_from([2.0**-40, 0.25, 8.0, 2.0**40]))
def test_the_unit_of_a_part_changes_nothing(pair, other, unit):
    """Of powers of two, as these are exact."""
    (one, two), (three, four) = pair, other
    plainly = of({"a": one, "b": three}, {"a": two, "b": four})
    scaled = of({"a": [unit * x for x in one], "b": three}, {"a": [unit * x for x in two], "b": four})
    assert scaled.relative_error == pytest.approx(plainly.relative_error)
    assert (math.isnan(plainly.cosine) and math.isnan(scaled.cosine)) or scaled.cosine == pytest.approx(plainly.cosine)


@settings(deadline=None)
@given(st.lists(MAPPINGS, min_size=1, max_size=4))
def test_what_is_usual_is_known_for_each_part_by_itself(answers):
    contents = [plain(each) for each in answers]
    usual = usual_norms(contents)
    more = usual_norms([{**each, "more": [3.0, 4.0]} for each in contents])
    assert more == {**usual, ".more": 5.0}
    assert all(math.isfinite(norm) and norm >= 0 for norm in usual.values())
