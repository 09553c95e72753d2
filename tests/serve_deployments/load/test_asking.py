"""Each sample is asked once, as many at a time as there are clients, and no longer than the bounds allow."""

import asyncio

from serve_deployments.endpoint import Answer
from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.load.asking import AskingBounds, ask
from serve_deployments.metrics.answers.content import Unanswered


def server(**options) -> FakeServer:
    return FakeServer(lambda batch: 1.0, answers=lambda payload: {"is": payload}, **options)


def asked(endpoint, payloads, clients=1, **bounds):
    return run_virtual(ask(endpoint, payloads, clients, AskingBounds(**bounds), clock=VirtualClock()))


def test_answers_come_in_the_order_of_the_samples_from_batches_as_under_load():
    replica = server(max_batch=4)
    assert asked(replica, list("abcdefgh"), clients=4) == [{"is": letter} for letter in "abcdefgh"]
    assert replica.most_in_flight == 4 and replica.payloads == list("abcdefgh")


def test_no_further_sample_is_asked_once_time_is_up_or_answers_are_large():
    assert len(asked(server(), list("abcdefgh"), begin_s=2.5)) == 3  # begun at 0, 1 and 2 s
    assert len(asked(server(), list("abcdefgh"), most_bytes=5)) == 2  # 3 bytes each


def test_what_fails_or_comes_too_late_is_no_answer_and_says_why():
    fails = asked(server(fails=lambda number: number == 1), list("abc"))
    assert fails == [{"is": "a"}, Unanswered("ConnectionError: request 1 fails, as arranged"), {"is": "c"}]
    late = asked(server(), list("abcd"), end_s=2.5)
    assert late == [{"is": "a"}, {"is": "b"}, *[Unanswered("none within 2.5 s")] * 2]


def test_a_timeout_of_the_model_is_its_own_error():
    class Slow:
        async def infer(self, payload) -> Answer:
            raise TimeoutError("no GPU")

        async def usage(self):
            return None

    assert asked(Slow(), ["a"], end_s=5.0) == [Unanswered("TimeoutError: no GPU")]


def test_a_request_that_the_server_cancels_is_no_answer():
    class Cancels:
        async def infer(self, payload) -> Answer:
            raise asyncio.CancelledError

        async def usage(self):
            return None

    assert asked(Cancels(), ["a"]) == [Unanswered("the server cancelled the request")]
