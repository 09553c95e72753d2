"""A payload that the model refuses fails alone: the others of its batch are answered."""

import asyncio
import math
import threading

import numpy as np
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


def halved(pixels):
    """Scales arrays in place; refuses NaN."""
    pixels /= 2
    if np.isnan(pixels).any():
        raise ValueError("no picture")
    return float(pixels[0])


def taken(payload):
    """Takes the text out of its payload; refuses one."""
    if (text := payload.pop("text")) == "bad":
        raise ValueError("no such language")
    return text


@pytest.mark.parametrize(
    ("answer", "payloads", "expected"),
    [
        (halved, lambda: [np.array([x]) for x in (2.0, 4.0, math.nan, 8.0)], [1.0, 2.0, "no picture", 4.0]),
        (taken, lambda: [{"text": text} for text in ("a", "bad", "c", "d")], ["a", "no such language", "c", "d"]),
    ],
    ids=["arrays", "mappings"],
)
@pytest.mark.parametrize("emptied", [False, True], ids=["the list is kept", "the list is emptied"])
def test_a_model_that_changes_its_payloads_is_given_them_again_as_they_were(answer, payloads, expected, emptied):
    async def model(rows):
        given = list(rows)
        if emptied:
            rows.clear()
        return [answer(row) for row in given]

    assert answers(model, payloads()) == expected


def test_a_batch_with_a_payload_that_cannot_be_copied_fails_as_a_whole_rather_than_being_run_again():
    payloads = [{"text": text, "lock": threading.Lock()} for text in ("a", "bad")]
    batches = []

    async def model(rows):
        batches.append(len(rows))
        return [taken(row) for row in rows]

    assert answers(model, payloads) == ["no such language"] * 2 and batches == [2]
    assert answers(model, [{"text": "a", "lock": threading.Lock()} for _ in range(2)]) == ["a", "a"]


class Copied:
    """A payload that counts how often it is copied."""

    times = 0

    def __reduce__(self):
        Copied.times += 1
        return Copied, ()


@pytest.mark.parametrize("size", [1, 2])
def test_only_payloads_of_a_batch_that_can_be_halved_are_copied_before_it_runs(size):
    """docs/measurement.md says so; a copy is part of what is measured."""

    async def model(rows):
        return [0] * len(rows)

    Copied.times = 0
    assert answers(model, [Copied() for _ in range(size)]) == [0] * size and Copied.times == (size if size > 1 else 0)


def test_a_batch_that_is_answered_was_given_the_payloads_themselves():
    payloads = [np.array([float(n)]) for n in range(3)]

    async def model(rows):
        return [id(row) for row in rows]

    assert answers(model, payloads) == [id(payload) for payload in payloads]


@pytest.mark.parametrize(
    ("size", "failed_percent"), [(16, 5), (32, 7), (64, 12), (128, 26), (256, 49)], ids=lambda value: f"{value:g}"
)
def test_what_fails_where_five_percent_are_bad_is_as_documented(size, failed_percent):
    """docs/measurement.md says so; 200 batches, seeded."""

    async def failed(seed):
        model = Refusing(*np.flatnonzero(np.random.default_rng(seed).random(size) < 0.05).tolist())
        found = await answer_each(model, range(size))
        assert len(model.batches) <= 1 + 4 * math.log2(size)
        assert all(isinstance(found[bad], Failed) for bad in model.bad)
        return sum(isinstance(each, Failed) for each in found) / size

    async def mean():
        return sum([await failed(seed) for seed in range(200)]) / 200

    assert round(100 * asyncio.run(mean())) == failed_percent
