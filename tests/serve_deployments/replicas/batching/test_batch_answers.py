"""A payload that the model refuses fails alone: the others of its batch are answered."""

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_deployments.replicas.batching.batch_answers import Failed, answer_each


class Refusing:
    """Doubles its payloads; refuses every batch with a payload of its bad ones."""

    def __init__(self, *bad):
        self.bad, self.batches = set(bad), []

    async def __call__(self, payloads):
        self.batches.append(list(payloads))
        if refused := self.bad & set(payloads):
            raise ValueError(f"refused {sorted(refused)}")
        return [2 * payload for payload in payloads]


def answers(model, payloads, **options):
    found = asyncio.run(answer_each(model, payloads, **options))
    return [str(each.error) if isinstance(each, Failed) else each for each in found]


def test_a_batch_that_is_answered_is_one_call():
    model = Refusing()
    assert answers(model, [1, 2, 3]) == [2, 4, 6] and model.batches == [[1, 2, 3]]
    assert answers(model, []) == []


@given(size=st.integers(1, 64), data=st.data())
def test_of_a_batch_with_a_bad_payload_all_others_are_answered_within_two_calls_a_halving(size, data):
    bad = data.draw(st.integers(0, size - 1))
    model = Refusing(bad)
    expected = [f"refused [{bad}]" if i == bad else 2 * i for i in range(size)]
    assert answers(model, range(size)) == expected
    assert len(model.batches) <= 1 + 2 * math.ceil(math.log2(size))


def test_two_bad_payloads_of_sixteen_are_found_wherever_they_are():
    for one in range(16):
        for other in range(one):
            found = answers(Refusing(one, other), range(16))
            assert [i for i, each in enumerate(found) if isinstance(each, str)] == [other, one]


def test_a_model_that_refuses_everything_is_not_called_for_each_payload():
    model = Refusing(*range(64))
    assert all(isinstance(each, str) for each in answers(model, range(64)))
    assert len(model.batches) <= 25


def test_an_error_that_is_not_of_a_payload_fails_the_whole_batch_at_once():
    model = Refusing(3)
    found = answers(model, range(4), is_of_payload=lambda error: False)
    assert found == ["refused [3]"] * 4 and len(model.batches) == 1


@pytest.mark.parametrize("rows", [[], [1, 2, 3]])
def test_results_that_do_not_fit_the_payloads_reach_nobody(rows):
    async def model(payloads):
        return rows

    said = f"the model returned {len(rows)} results for 2 payloads; one each is needed"
    assert answers(model, ["a", "b"]) == [said] * 2
