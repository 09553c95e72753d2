"""Conditions: what is taken, what is refused, and that whole columns are evaluated as single values are."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchers.space import Condition
from searchers.space.columns import column_of, evaluate
from searchers.space.condition_check import check_condition

KNOBS = {"a": (1, 2, 3), "b": (0, 0.5, 4), "engine": ("vllm", "trt"), "flag": (False, True), "chunk": ("auto", 8, 16)}

numbers = st.recursive(
    st.sampled_from(["a", "b", "1", "2", "0.5"]),
    lambda parts: st.one_of(
        st.tuples(parts, st.sampled_from(["+", "-", "*", "/", "//", "%"]), parts).map(lambda p: f"({' '.join(p)})"),
        parts.map(lambda p: f"(-{p})"),
    ),
    max_leaves=4,
)
comparisons = st.one_of(
    st.tuples(numbers, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), numbers).map(" ".join),
    st.tuples(numbers, st.just("<="), numbers, st.just("<"), numbers).map(" ".join),
    st.sampled_from(["flag", "flag == true", "true", 'engine == "trt"', 'engine != "vllm"', "chunk > 8"]),
    st.sampled_from(['chunk == "auto"', 'chunk in ["auto", 16]', "a in [1, b]", 'engine not in ("trt", "x")']),
)
truths = st.recursive(
    comparisons,
    lambda parts: st.one_of(
        st.tuples(parts, st.sampled_from([" and ", " or "]), parts).map(lambda p: f"({''.join(p)})"),
        parts.map(lambda p: f"not ({p})"),
    ),
    max_leaves=5,
)


def in_python(text: str, config: dict) -> bool | None:
    """What Python makes of a condition without a division by zero; None where it makes nothing of it."""
    try:
        return bool(eval(text, {"__builtins__": {}, "true": True}, dict(config)))
    except (ZeroDivisionError, TypeError):
        return None


@given(truths)
def test_columns_are_evaluated_as_python_evaluates_single_configurations(text):
    try:
        condition = Condition(text)
    except ValueError as error:
        assert "names no knob" in str(error)
        return
    check_condition(condition, KNOBS)
    combinations = list(itertools.product(*KNOBS.values()))
    codes: dict[str, int] = {}
    ranks = np.array(list(itertools.product(*(range(len(v)) for v in KNOBS.values()))))
    columns = {n: column_of(v, ranks[:, i], codes) for i, (n, v) in enumerate(KNOBS.items())}
    found = evaluate(condition, columns, codes)
    true, known = (np.broadcast_to(mask, len(ranks)) for mask in (found.true, found.known))
    for at, values in enumerate(combinations):
        expected = in_python(text, dict(zip(KNOBS, values, strict=True)))
        if expected is not None:
            assert known[at] and true[at] == expected


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("a / b > 1", {0: None, 0.5: True, 4: False}),  # with a = 2
        ("b == 0 or a / b > 1", {0: True, 0.5: True, 4: False}),
        ("a / b > 1 or b == 0", {0: True, 0.5: True, 4: False}),
        ("b != 0 and a / b > 1", {0: False, 0.5: True, 4: False}),
        ("not a / b > 1", {0: None, 0.5: False, 4: True}),
        ("(1 / b) ** 0 == 1", {0: None, 0.5: True, 4: True}),
        ("1 / (1 / b) == b", {0: None, 0.5: True, 4: True}),
        ("b in [a / b, 0.5]", {0: None, 0.5: True, 4: False}),
        ("0.1 * b + 0.2 * b <= 0.3 * b", {0: True, 0.5: True, 4: True}),
        ("9 ** 9 ** 9 > b", {0: None, 0.5: None, 4: None}),
    ],
)
def test_what_has_no_value_has_none_unless_another_part_decides(text, holds):
    codes: dict[str, int] = {}
    columns = {"b": column_of(tuple(holds), np.arange(3), codes), "a": column_of((2,), np.zeros(3, int), codes)}
    found = evaluate(Condition(text), columns, codes)
    said = [bool(t) if k else None for t, k in zip(*np.broadcast_arrays(found.true, found.known), strict=True)]
    assert said == list(holds.values())


def test_a_knob_that_does_not_exist_has_no_value():
    codes: dict[str, int] = {}
    columns = {
        "a": column_of((1, 2), np.array([0, 1, 2]), codes),
        "e": column_of(("x", "y"), np.array([2, 0, 1]), codes),
    }
    assert evaluate(Condition("a <= 1"), columns, codes).known.tolist() == [True, True, False]
    assert evaluate(Condition('e == "x" or a == 1'), columns, codes).codes.tolist() == [1, 1, -1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1", "write `==`"),
        ("a == 1 && b > 2", "write `and`"),
        ("a & b", "write `and`"),
        ("a | b", "write `or`"),
        ("!flag", "write `not`"),
        ("~flag", "write `not`"),
        ("a is 1", "write `==`"),
        ("a == None", "no knob has the value None"),
        ("min(a, b) < 3", r"'min\(a, b\)' is not taken; there are names of knobs"),
        ("a.__class__ == 1", "'a.__class__' is not taken"),
        ("[x for x in a]", "is not taken"),
        ("a in b", r"`in` needs a list such as \[1, 2, 4\] to its right, not 'b'"),
        ("1 < 2", "names no knob"),
        ("(a", "is not a condition"),
        ("", "is not a condition"),
        ("a == 1e999", "is not taken"),
        ("a < 1 and " * 60 + "a < 1", "at most 500 characters, and this one has 605; split it"),
        ("-" * 499 + "a", "is not a condition|nested too deep|is true or false"),
    ],
)
def test_what_is_no_condition_is_refused_with_the_remedy(text, said):
    with pytest.raises(ValueError, match=said):
        check_condition(Condition(text), KNOBS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("aa <= 8", "no knob 'aa'; there are a, b, engine, flag, chunk; did you mean a?"),
        ("engine == vllm", "no knob 'vllm'; .*; write \"vllm\" in quotes if it is the value of engine"),
        (
            "engine == 1",
            "engine .one of 'vllm', 'trt'. cannot be compared with 1 .a number.; write '1', a text in quotes",
        ),
        ('a == "1"', "a .one of 1, 2, 3. cannot be compared with '1' .a text.; write 1 without quotes"),
        ('flag == "true"', "flag .one of false, true. cannot be compared with 'true'.*write true without quotes"),
        ("flag == 1", "flag .* cannot be compared with 1"),
        ("engine < 2", "an order, as of `<`, needs numbers, and got engine"),
        ("engine * 2 == 4", "arithmetic needs numbers, and got engine"),
        ("a * b", "a condition is true or false; compare it, .* not a \\* b .a number."),
        ("a and flag", "`and` and `or` need what is true or false; compare it, not a "),
        ("not a", "`not` needs something that is true or false"),
    ],
)
def test_what_does_not_fit_the_knobs_is_refused_with_what_there_is(text, said):
    with pytest.raises(ValueError, match=said):
        check_condition(Condition(text), KNOBS)


def test_texts_keep_their_spaces_and_lines_may_be_broken():
    codes: dict[str, int] = {}
    columns = {"e": column_of(("x  y", "x y"), np.arange(2), codes)}
    assert evaluate(Condition('e ==\n"x  y"'), columns, codes).true.tolist() == [True, False]


def test_numbers_are_equal_but_for_rounding():
    codes: dict[str, int] = {}
    columns = {"a": column_of((1, 1 + 1e-13, 1 + 1e-9, math.nextafter(1, 0)), np.arange(4), codes)}
    assert evaluate(Condition("a == 1"), columns, codes).true.tolist() == [True, True, False, True]
    assert evaluate(Condition("a > 1"), columns, codes).true.tolist() == [False, False, True, False]
