"""A replica that is measured among its copies: they have its load, and do not have a say in its answers."""

import asyncio
import pickle
from typing import Any

import numpy as np
import pytest

from serve_deployments.fakes.virtual_replicas import FakeServer, run_virtual
from serve_deployments.load.among_copies import AmongCopies


def server(**more):
    return FakeServer(lambda batch: 0.01 + 0.002 * batch, max_batch=8, **more)


def arriving(endpoint, rate_rps, seconds, seed=0):
    """Random arrivals, which nobody holds back; the seconds that each took."""

    async def main():
        loop, took_s = asyncio.get_running_loop(), []

        async def one(at_s):
            await asyncio.sleep(at_s)
            await endpoint.infer("x")
            took_s.append(loop.time() - at_s)

        gaps = np.random.default_rng(seed).exponential(1 / rate_rps, int(1.5 * rate_rps * seconds))
        await asyncio.gather(*(one(at_s) for at_s in gaps.cumsum() if at_s < seconds))
        await asyncio.sleep(1.0)
        return took_s

    return run_virtual(main())


def waiting(endpoint, clients, seconds):
    """So many clients, each with one request at a time; how many were answered."""

    async def main():
        loop, answered = asyncio.get_running_loop(), [0]

        async def client():
            while loop.time() < seconds:
                await endpoint.infer("x")
                answered[0] += 1

        await asyncio.gather(*(client() for _ in range(clients)))
        await asyncio.sleep(1.0)
        return answered[0]

    return run_virtual(main())


@pytest.mark.parametrize("rate_rps", [5.0, 50.0, 200.0])
def test_copies_get_as_many_requests_as_arrive(rate_rps):
    measured, copies = server(), [server(), server(), server()]
    arriving(AmongCopies(measured, copies), rate_rps, 20.0)
    for copy in copies:
        assert 0.97 * len(measured.arrived_s) <= len(copy.arrived_s) <= len(measured.arrived_s)
        assert copy.payloads == ["x"] * len(copy.arrived_s) and copy.in_flight == 0


@pytest.mark.parametrize("clients", [1, 4, 16, 64])
def test_copies_have_about_as_many_clients_that_wait(clients):
    measured, copies = server(), [server(), server()]
    answered = waiting(AmongCopies(measured, copies), clients, 10.0)
    for copy in copies:
        assert 0.95 * answered <= len(copy.arrived_s) <= answered
        assert copy.most_in_flight <= 2 * clients


def test_replicas_with_clients_of_their_own_do_not_get_their_requests_at_one_instant():
    measured, copies = server(), [server(), server()]
    arriving(AmongCopies(measured, copies), 50.0, 20.0)
    times = [set(np.round(each.arrived_s, 6)) for each in (measured, *copies)]
    assert all(len(one & other) < 0.05 * len(one) for i, one in enumerate(times) for other in times[:i])


@pytest.mark.parametrize(
    "copy", [server(fails=lambda number: True), server(max_queue=0), FakeServer(lambda batch: 1.0),
             server(drops=lambda number: True)],
    ids=["fails", "refuses", "slower", "hangs"],
)  # fmt: skip
def test_what_becomes_of_a_copy_changes_no_answer_and_nothing_piles_up(copy):
    alone = arriving(server(), 50.0, 20.0)
    measured = server()
    assert arriving(AmongCopies(measured, [copy]), 50.0, 20.0) == pytest.approx(alone)
    assert copy.most_in_flight <= 2 * measured.most_in_flight


def test_a_request_that_is_withdrawn_is_withdrawn_from_the_copies_too():
    slow, copies = FakeServer(lambda batch: 100.0), [FakeServer(lambda batch: 100.0) for _ in range(2)]

    async def main():
        endpoint = AmongCopies(slow, copies)
        asked = [asyncio.create_task(endpoint.infer("x")) for _ in range(5)]
        await asyncio.sleep(1.0)
        assert all(each.in_flight == 5 for each in copies)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        await asyncio.sleep(0)
        return [each.in_flight for each in (slow, *copies)]

    assert run_virtual(main()) == [0, 0, 0]


def test_it_answers_and_counts_as_the_measured_one_does_and_fails_as_it_does():
    measured = server(answers=str.upper, fails=lambda number: number == 1)
    endpoint = AmongCopies(measured, [server(answers=lambda payload: "not this")])

    async def main():
        first = await endpoint.infer("x")
        with pytest.raises(ConnectionError, match="request 1 fails"):
            await endpoint.infer("y")
        return first.content, await endpoint.usage()

    content, usage = run_virtual(main())
    assert content == "X" and usage.batches == {1: 2}


def test_it_can_be_sent_to_another_process():
    endpoints: Any = ["measured", "a", "b"]
    sent = pickle.loads(pickle.dumps(AmongCopies(endpoints[0], endpoints[1:])))
    assert (sent._measured, sent._copies) == ("measured", ("a", "b"))
