"""A replica in virtual time, without Ray: what it answers, over HTTP too, and who is served while it is changed."""

import asyncio
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from serve_deployments.batches.passing_on import AnswerWait
from serve_deployments.endpoint import DescribedError
from serve_deployments.models.model import Builder
from serve_deployments.replicas.application import application
from serve_deployments.replicas.hosting import HostedModel
from serve_deployments.replicas.replica import NotServing
from serve_deployments.settings import Settings
from tests.serve_deployments.virtual_replica import served

# Emulated, so that nothing is pinned: the replica is in the tests' own process.
MEASURED = Settings(cpu_cores=2, max_batch_size=3, batch_wait_ms=250, emulated=True, args={"factor": 10})


def model(factor, precision="float32"):
    """Says with whom each was answered."""

    async def batch(payloads):
        return [{"times": factor * payload["x"], "of": len(payloads)} for payload in payloads]

    return batch


SOURCE = Builder(f"{__name__}:model")


def posted(body):
    """An HTTP request as Starlette has it: its body has to be waited for."""

    async def receive():
        await asyncio.sleep(0)
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


def test_over_http_the_decoded_body_is_the_payload():
    async def ask(server):
        return await server(posted(b'{"x": 4}'))

    answer = served(SOURCE, MEASURED, ask)
    assert json.loads(answer.body) == {"times": 40, "of": 1}
    assert (answer.status_code, answer.media_type) == (200, "application/json")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "the body must be the payload: it is not JSON: Expecting property name"),
        (b"", 400, "the body must be the payload: it is empty"),
        (b"\xff\xfe{", 400, "the body must be the payload: it is not JSON: "),
        (b"[" * 100_000, 400, "the body must be the payload: it is nested too deeply"),
        (b'{"y": 1}', 500, "KeyError: 'x'"),
    ],
)
def test_what_cannot_be_answered_over_http_is_said_with_its_status(body, status, said):
    async def ask(server):
        refused, fine = await server(posted(body)), await server(posted(b'{"x": 4}'))
        return refused.status_code, json.loads(refused.body), json.loads(fine.body)

    found, told, fine = served(SOURCE, replace(MEASURED, batch_wait_ms=0), ask)
    assert found == status and told["error"].startswith(said) and fine == {"times": 40, "of": 1}


def test_a_parked_replica_answers_that_it_does_not_serve():
    async def ask(server):
        refused = await server(posted(b'{"x": 1}'))
        return refused.status_code, json.loads(refused.body)["error"]

    status, said = served(SOURCE, None, ask)
    assert status == 503 and said.startswith("NotServing: ")


def test_a_deployed_replica_batches_as_it_did_while_it_was_measured():
    """Batches of three at most; a single request waits 250 ms for others, and no longer."""

    async def ask(server):
        loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()

        async def one(x):
            answer = json.loads((await server(posted(json.dumps({"x": x}).encode()))).body)
            return answer["of"], round(loop.time() - began, 6)

        alone = await one(1)
        began = loop.time()
        return alone, await asyncio.gather(*(one(x) for x in range(4)))

    alone, four = served(SOURCE, MEASURED, ask)
    assert alone == (1, 0.25)
    assert four == [(3, 0.0)] * 3 + [(1, 0.25)]


def test_a_parked_or_changed_replica_serves_what_it_is_told_and_nobody_meanwhile():
    async def ask(server):
        before = await server.facts()
        with pytest.raises(NotServing):
            await server.infer({"x": 1})
        changed = await server.change({**MEASURED.as_dict(), "batch_wait_ms": 0}, pid=None)
        answer = await server.infer({"x": 1})
        parked = await server.park("cores of t")
        with pytest.raises(NotServing):
            await server.infer({"x": 1})
        idle = await server.facts()
        again = await server.change({**MEASURED.as_dict(), "batch_wait_ms": 500})
        both = await asyncio.gather(server.infer({"x": 1}), server.infer({"x": 2}))
        return before, changed, answer, parked, idle, again, both, await server.facts(), await server.usage()

    before, changed, answer, parked, idle, again, both, after, usage = served(SOURCE, None, ask)
    assert before.failure is None and before.idle_with is None and changed.failure is None
    assert answer == {"times": 10, "of": 1} and parked.idle_with is None and idle.idle_with == "cores of t"
    assert again.failure is None and after.idle_with is None
    assert both == [{"times": 10, "of": 2}, {"times": 20, "of": 2}] and usage.batches == {1: 1, 2: 1}
    assert before.pid == os.getpid() and 0 < after.free_memory < 1 and after.raised == 0


def test_a_process_that_is_not_the_one_that_was_meant_is_not_changed():
    async def ask(server):
        facts = await server.change(MEASURED.as_dict(), pid=-5)
        with pytest.raises(NotServing):
            await server.infer({"x": 1})
        return facts.failure

    assert served(SOURCE, None, ask) == "NotServing: process -5 has ended"


def test_what_waits_is_refused_and_what_runs_ends_before_a_change(monkeypatch):
    """A batch of two runs for a second, a third request waits: the change comes after the two were answered."""

    async def slow(self, payloads):
        await asyncio.sleep(1.0)
        return payloads

    monkeypatch.setattr(HostedModel, "__call__", slow)

    async def ask(server):
        loop = asyncio.get_running_loop()
        two = [asyncio.create_task(server.infer({"x": x})) for x in range(2)]
        await asyncio.sleep(0.5)
        third = asyncio.create_task(server.infer({"x": 3}))
        await asyncio.sleep(0.1)
        began = loop.time()
        facts = await server.change(replace(MEASURED, max_batch_size=2).as_dict())
        return facts.failure, loop.time() - began, await asyncio.gather(*two, third, return_exceptions=True)

    failure, took_s, (first, second, third) = served(SOURCE, replace(MEASURED, max_batch_size=2), ask)
    assert failure is None and 0.4 <= took_s < 0.5
    assert (first, second) == ({"x": 0}, {"x": 1}) and isinstance(third, NotServing)


def test_a_batch_that_does_not_end_makes_parking_fail_in_time(monkeypatch):
    async def stuck(self, payloads):
        await asyncio.sleep(3600)

    monkeypatch.setattr(HostedModel, "__call__", stuck)

    async def ask(server):
        task = asyncio.create_task(server.infer({"x": 1}))
        await asyncio.sleep(1.0)
        facts, took_s = await server.park("cores"), asyncio.get_running_loop().time() - 1.0
        task.cancel()
        return facts, took_s

    facts, took_s = served(SOURCE, MEASURED, ask)
    assert facts.failure == "a running batch did not finish within 10 s" and took_s == pytest.approx(10, abs=0.3)
    assert facts.idle_with is None


class SharesTheTime:
    """An engine: each request takes a second, however many there are; nobody is answered while it is closed."""

    async def __call__(self, payloads):
        await asyncio.sleep(1.0)
        return [len(payloads)] * len(payloads)

    def reset(self):
        calls.append("reset")

    def close(self):
        calls.append("close")


calls: list[str] = []


def shares_the_time():
    return SharesTheTime()


ENGINE = Builder(f"{__name__}:shares_the_time", concurrent=True)


def test_requests_reach_an_engine_one_by_one_and_at_once():
    """A hundred requests of a second each take a second; what is under way is waited for before a change."""

    async def ask(server):
        loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(server.infer({"x": x}) for x in range(100)))
        took_s = loop.time() - began
        late = asyncio.create_task(server.infer({"x": 1}))
        await asyncio.sleep(0.25)
        changed = await server.change(Settings(emulated=True).as_dict())
        return answers, took_s, await late, changed.failure, loop.time() - began - took_s, await server.usage()

    answers, took_s, late, failure, changed_s, usage = served(ENGINE, Settings(emulated=True), ask)
    assert answers == [1] * 100 and late == 1 and took_s == pytest.approx(1.0)
    assert failure is None and changed_s == pytest.approx(1.0, abs=0.01)
    # Nothing is told of the time of one call, from which a queue of one batch after the other would be simulated.
    assert usage.batches == {1: 101} and usage.recent == () and usage.queue == 0


async def first_then_never(payloads):
    """An engine that answers requests for numbers after so many seconds, and hangs at others."""
    await asyncio.sleep(payloads[0]["s"] or 3600.0)
    return payloads


def hangs_at_nothing():
    return first_then_never


@pytest.mark.parametrize(
    ("at_once_s", "then_s", "unanswered"),
    [([None], [], 1), ([0.5, None], [None], 1), ([100.0, 0.5, 2.0], [100.0], 0)],
    ids=["hangs at once", "hangs, and a client has sent again", "has too much to do"],
)
def test_a_call_that_is_given_up_counts_unless_others_are_answered_meanwhile(at_once_s, then_s, unanswered):
    """All are given up at 5 s, as at the end of a level. What is sent then is sent at 1 s."""

    async def ask(server):
        answered = await server.infer({"s": 1.0})
        calls = [asyncio.create_task(server.infer({"s": s})) for s in at_once_s]
        await asyncio.sleep(1.0)
        calls += [asyncio.create_task(server.infer({"s": s})) for s in then_s]
        await asyncio.sleep(4.0)
        for call in calls:
            call.cancel()
        return answered, await server.park("cores")

    answered, facts = served(Builder(f"{__name__}:hangs_at_nothing", concurrent=True), Settings(emulated=True), ask)
    assert answered == {"s": 1.0} and facts.failure is None and facts.raised == 0
    assert facts.unanswered == unanswered


def test_a_request_that_an_engine_drops_ends_in_words_and_the_replica_serves_on():
    """By what it took before: a second answer took a second here, of which sixteen are waited for."""

    async def ask(server):
        server._model.longest_answer_s = 1.0
        dropped = asyncio.create_task(server.infer({"s": None}))
        await asyncio.sleep(15.5)
        fine = asyncio.create_task(server.infer({"s": 1.0}))
        done, _ = await asyncio.wait({dropped}, timeout=1.0)
        assert done == {dropped}
        parked = await server.park("cores")
        return str(dropped.exception()), await fine, parked

    wait = AnswerWait(least_s=12.0, first_s=60.0, most_s=600.0, turns=16)
    engine = Builder(f"{__name__}:hangs_at_nothing", concurrent=True, wait=wait)
    words, fine, facts = served(engine, Settings(emulated=True), ask)
    assert words == "the model never answered this request: given up after 16 s" and fine == {"s": 1.0}
    assert facts.failure is None and facts.raised == 0 and facts.unanswered == 1


def needs_too_much():
    def answer(payloads):
        calls.append(f"{len(payloads)} at once")
        raise MemoryError("9 GiB do not fit")

    return answer


def test_a_batch_that_runs_out_of_memory_fails_as_a_whole_and_is_not_tried_in_parts():
    async def ask(server):
        before = len(calls)
        failed = await asyncio.gather(*(server.infer({"x": x}) for x in range(3)), return_exceptions=True)
        return calls[before:], [str(each) for each in failed], await server.park("cores")

    once, said, facts = served(Builder(f"{__name__}:needs_too_much"), replace(MEASURED, args={}), ask)
    assert once == ["3 at once"] and ["9 GiB do not fit" in each for each in said] == [True] * 3
    assert facts.out_of_memory == "9 GiB do not fit"


def counts_calls():
    def answer(payloads):
        calls.append(f"{len(payloads)} of {sorted(set(payloads))}")
        return payloads

    return answer


def test_an_exported_replica_is_ready_once_it_has_run_its_first_batches():
    async def ask(server):
        before = list(calls)
        return before, await server.infer("c")

    calls.clear()
    args = {
        "model": {"reference": f"{__name__}:counts_calls"},
        "settings": replace(MEASURED, args={}).as_dict(),
        "payload": {"kind": "text"},
        "warm_up": ["a", "b"],
    }
    bound: Any = application(args)._bound_deployment
    source, settings = bound.init_args
    before, answer = served(source, settings, ask, **bound.init_kwargs)
    assert before[:3] == ["3 of ['a', 'b']", "2 of ['a', 'b']", "1 of ['a']"] and answer == "c"


def reads(weights):
    words = Path(weights).read_text()
    return lambda payloads: [words for _ in payloads]


def test_an_exported_replica_finds_what_its_arguments_name_beside_its_service(tmp_path, monkeypatch):
    """Wherever its process was started."""
    service, elsewhere = tmp_path / "service", tmp_path / "elsewhere"
    for folder in (service, elsewhere):
        folder.mkdir()
    (service / "weights.txt").write_text("beside")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(elsewhere)  # and back afterwards, as a replica goes to the folder of its service
    args = {
        "model": {"reference": f"{__name__}:reads", "folder": str(service)},
        "settings": Settings(emulated=True, args={"weights": "weights.txt"}).as_dict(),
    }
    bound: Any = application(args)._bound_deployment
    source, settings = bound.init_args

    async def ask(server):
        return await server.infer("x")

    assert served(source, settings, ask, **bound.init_kwargs) == "beside"


def drops_the_first():
    dropped: list[asyncio.Future] = []

    async def answer(payloads):
        if not dropped:
            dropped.append(asyncio.get_running_loop().create_future())
            await dropped[0]
        return payloads

    return answer


def test_a_replica_whose_engine_drops_its_first_request_does_not_start_for_ever():
    """Serve starts it again."""

    async def ask(server):
        raise AssertionError("not reached")

    engine = Builder(f"{__name__}:drops_the_first", concurrent=True, wait=AnswerWait.always(20.0))
    with pytest.raises(DescribedError, match="the model never answered this request: given up after 20 s"):
        served(engine, Settings(emulated=True), ask, samples=["a", "b"])


def test_a_model_is_reset_before_each_trial_and_closed_only_while_it_is_parked():
    async def ask(server):
        refused = await server.close()
        await server.park("cores of t")
        told = await server.facts()
        return refused, told, await server.close(), list(calls)

    calls.clear()
    refused, told, closed, called = served(ENGINE, Settings(emulated=True), ask)
    assert refused.failure == "NotServing: the replica serves, so its model is not closed" and refused.closes
    assert told.closes and not closed.closes and called == ["reset", "close"]


def test_a_closed_model_is_built_anew_when_its_replica_is_used_again():
    async def ask(server):
        await server.park()
        await server.close()
        again = await server.change(Settings(emulated=True).as_dict())
        return again, await server.infer({"x": 1})

    calls.clear()
    again, answer = served(ENGINE, Settings(emulated=True), ask)
    assert again.failure is None and again.closes and answer == 1
    assert calls[:3] == ["reset", "close", "reset"]
