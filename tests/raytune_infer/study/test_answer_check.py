"""The reference's answers are taken within bounds, and why fewer samples are compared is known."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from raytune_infer.store.reference_answers import ReferenceAnswers
from raytune_infer.study.answer_check import MOST_BYTES, NoReference, take_reference
from serve_deployments.fakes.fake_backend import FakeBackend, VirtualAsk
from serve_deployments.settings import Settings


def taken(samples: Sequence[Any], answer: Callable[[Any], Any], total_max_s: float = 1000.0) -> ReferenceAnswers:
    """Of a replica that takes a second for a request."""
    backend = FakeBackend(lambda settings, batch: 1.0, answers=lambda settings, payload: answer(payload))
    settings = Settings(max_batch_size=1, precision="float32")
    return take_reference(VirtualAsk(tuple(samples)), backend, settings, {"max_batch_size": 1}, total_max_s)


def fails_on(*refused: str) -> Callable[[str], str]:
    def answer(payload: str) -> str:
        if payload in refused:
            raise ValueError(f"no {payload}")
        return payload

    return answer


def test_where_all_are_compared_nothing_is_left_out():
    found = taken("abcd", str)
    assert (found.numbers, found.answers, found.left_out) == ((0, 1, 2, 3), tuple("abcd"), None)


@pytest.mark.parametrize(
    ("samples", "answer", "total_max_s", "numbers", "why"),
    [
        ("abcd", fails_on("b", "c"), 1000.0, (0, 3), "it did not answer 2 of 4, the first with ValueError: no b"),
        ("abcd", str, 8.0, (0, 1), "after 2 it had been asked for 2 s, 25% of load.total_max_s"),
        ("abcd", lambda payload: bytes(MOST_BYTES), 1000.0, (0,), "its answers to 1 are 64 MiB, the most that is kept"),
        ("abcd", fails_on("a"), 8.0, (1,),
         "it did not answer 1 of 2, the first with ValueError: no a, and after 2 it had been asked for 2 s, 25% of "
         "load.total_max_s"),
    ],
)  # fmt: skip
def test_why_fewer_are_compared_is_the_cause_and_no_other(samples, answer, total_max_s, numbers, why):
    found = taken(samples, answer, total_max_s)
    assert (found.numbers, found.left_out) == (numbers, why)


def test_a_reference_that_answers_nothing_is_none():
    with pytest.raises(NoReference, match="it answered none of 2 samples, the first with ValueError: no a"):
        taken("ab", fails_on("a", "b"))
