"""Key operators are the fewest; shares add up."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.operators.kinds import OUTSIDE
from cluster.operators.operator_call import OperatorCall, Tensor, Work
from cluster.operators.profile import fewest, profile_of
from cluster.operators.trace import Trace, median_of


def call(kind, time_s, *tensors, held=0.0, name=None):
    return OperatorCall(name or f"aten::{kind}", kind, tensors, time_s, Work(8.0, 4.0), held)


@given(st.dictionaries(st.sampled_from("abcdefg"), st.integers(0, 20)), st.sampled_from([0.5, 0.9, 1.0]))
def test_no_smaller_set_has_the_part(amounts, part):
    found, total = fewest(amounts, part), sum(amounts.values())
    assert sum(amounts[name] for name in found) >= part * total
    for smaller in combinations(amounts, max(0, len(found) - 1)):
        assert sum(amounts[name] for name in smaller) < part * total or not found


def test_key_operators_are_those_of_the_time_in_operators_and_shares_are_of_all():
    trace = Trace(1, (call("dense", 0.4), call("softmax", 0.05), call("add", 0.01)), 1.0, outside_s=0.54)
    found = profile_of(trace, 0.9)
    assert found.key_in_time == found.key == ("dense", "softmax")
    assert {line.kind: found.share(line) for line in found.lines}[OUTSIDE] == pytest.approx(0.54)
    assert sum(map(found.share, found.lines)) == pytest.approx(1)


def test_key_in_memory_is_of_weights_and_of_what_is_held():
    table, x = Tensor((100, 10), resident=1), Tensor((5, 10))
    calls = (call("embedding", 0.01, table), call("dense", 0.9, x, held=200.0), call("add", 0.01, x, held=10.0))
    found = profile_of(Trace(1, calls, 1.0), 1.0)
    assert found.key_in_time == ("dense",) and found.key_in_memory == ("embedding",)
    assert found.key == ("dense", "embedding")


def test_the_payloads_are_no_weights():
    calls = (call("dense", 1.0, Tensor((4, 4), resident=1), Tensor((4, 8), resident=2)),)
    assert profile_of(Trace(1, calls, 1.0), 1.0, inputs=frozenset({1})).lines[0].weight_bytes == 4 * 32


def test_the_median_of_traces_is_taken_call_by_call():
    traces = [Trace(1, (call("dense", a), call("add", b)), a + b) for a, b in ((3.0, 1.0), (1.0, 9.0), (2.0, 2.0))]
    assert [each.time_s for each in median_of(traces).calls] == [2.0, 2.0]
    other = Trace(1, (call("add", 5.0),), 5.0)
    assert median_of([*traces, other]) == other
    with pytest.raises(ValueError, match="one or more"):
        median_of([])
