"""A live model: wherever its builder wants to run, whether or not it is asynchronous, one call at a time or many."""

import asyncio
import threading
from contextlib import closing, nullcontext

import pytest

from serve_deployments.models.context import ModelContext, ModelError
from serve_deployments.models.live.live_model import LiveModel
from serve_deployments.models.model import Builder

DEADLINE_S = 60
events: list[object] = []


class Engine:
    """Answers from a background task, which it starts when it is made."""

    def __init__(self, loop):
        self.queue: asyncio.Queue = asyncio.Queue()
        self.task = loop.create_task(self.work())

    async def work(self):
        while True:
            payload, answer = await self.queue.get()
            answer.set_result(2 * payload)

    async def __call__(self, payloads):
        answers = [asyncio.get_running_loop().create_future() for _ in payloads]
        for pair in zip(payloads, answers, strict=True):
            self.queue.put_nowait(pair)
        return await asyncio.gather(*answers)

    async def reset(self):
        events.append(("reset", threading.current_thread().name))

    def close(self):
        self.task.cancel()
        events.append(("close", threading.current_thread().name))


def of_the_current_loop():
    return Engine(asyncio.get_event_loop())


def of_the_running_loop():
    return Engine(asyncio.get_running_loop())


async def later():
    await asyncio.sleep(0)
    return Engine(asyncio.get_running_loop())


async def _weights():
    await asyncio.sleep(0)
    return 2


def with_a_loop_of_its_own():
    factor = asyncio.run(_weights())
    return lambda payloads: [factor * payload for payload in payloads]


def built(name, **more):
    live = LiveModel(Builder(f"{__name__}:{name}", **more))
    asyncio.run(live.build({}, ModelContext()))
    return live


@pytest.mark.parametrize(
    ("name", "concurrent"),
    [
        ("of_the_current_loop", False),
        ("of_the_current_loop", True),
        ("of_the_running_loop", True),
        ("later", False),
        ("later", True),
        ("with_a_loop_of_its_own", False),
    ],
)
def test_a_builder_has_the_loop_that_it_wants(name, concurrent):
    live = built(name, concurrent=concurrent)
    # Each in a loop of its own: the model's is another one, which goes on between calls.
    for payloads in ([1, 2], [3]):
        assert asyncio.run(live(payloads)) == [2 * payload for payload in payloads]


def begins_and_wants_the_running_loop():
    events.append("built")
    return of_the_running_loop()


def begins_and_runs(run):
    events.append("built")
    with closing(_weights()) as weights:  # also where it is refused: a coroutine that nobody awaits is a warning
        factor = run(weights)
    return lambda payloads: [factor * payload for payload in payloads]


def begins_and_runs_a_loop():
    return begins_and_runs(asyncio.run)


def begins_and_runs_the_loop():
    return begins_and_runs(asyncio.get_event_loop().run_until_complete)


@pytest.mark.parametrize(
    ("name", "concurrent", "says"),
    [
        ("begins_and_wants_the_running_loop", True, None),
        ("begins_and_wants_the_running_loop", None, "no running event loop; .* make it `async def`"),
        ("begins_and_runs_a_loop", None, None),
        ("begins_and_runs_a_loop", True, "from a running event loop; .* make it `async def`, and await there"),
        ("begins_and_runs_the_loop", False, None),
        ("begins_and_runs_the_loop", True, "event loop is already running; .* make it `async def`, and await there"),
    ],
)
def test_a_builder_is_called_once_and_told_what_to_be_where_it_wants_another_loop(name, concurrent, says):
    """A second call would start a second server on its port, or download again."""
    events.clear()
    with nullcontext() if says is None else pytest.raises(ModelError, match=says):
        built(name, concurrent=concurrent)
    assert events == ["built"]


def test_an_asynchronous_builder_that_returns_no_function_is_refused():
    with pytest.raises(ModelError, match="_weights returned int, expected a function"):
        built("_weights")


def test_hooks_are_called_in_the_models_thread_and_a_closed_model_is_gone():
    live = built("later")
    events.clear()
    assert live.has("reset") and live.has("close") and not live.has("change")

    async def use():
        await live.call("reset")
        await live.call("no_such_hook")
        await live.close()

    asyncio.run(use())
    assert events == [("reset", "model"), ("close", "model")]
    assert not live.is_built and not live.has("close") and live.told() == ()
    events.clear()
    live.end(patience_s=DEADLINE_S)
    assert events == []


@pytest.mark.parametrize("name", ["later", "closes_later"])
def test_at_the_end_of_the_process_it_is_closed_without_a_loop(name):
    live = built(name)
    events.clear()
    live.end(patience_s=DEADLINE_S)
    assert events in ([("close", "model")], [("close", "")]) and not live.is_built


def closes_later():
    class ClosesLater:
        def __call__(self, payloads):
            return payloads

        async def close(self):
            await asyncio.sleep(0)
            events.append(("close", ""))

    return ClosesLater()


def closes_with_exit():
    class ClosesWithExit:
        def __call__(self, payloads):
            return payloads

        def close(self):
            events.append(("close", ""))
            raise SystemExit(3)

    return ClosesWithExit()


def test_a_close_that_ends_the_process_does_not_keep_the_rest_from_being_ended():
    live = built("closes_with_exit")
    events.clear()
    live.end(patience_s=DEADLINE_S)
    assert events == [("close", "")] and not live.is_built


TOGETHER = 8


def engine():
    """Answers none before so many are under way."""
    there, all_there = 0, asyncio.Event()

    async def answer(payloads):
        nonlocal there
        there += len(payloads)
        if there == TOGETHER:
            all_there.set()
        await all_there.wait()
        return payloads

    return answer


def in_threads():
    """The same of a function that waits for a server, as clients of one do."""
    there = threading.Barrier(TOGETHER)

    def answer(payloads):
        there.wait(timeout=DEADLINE_S)
        return payloads

    return answer


@pytest.mark.parametrize("name", ["engine", "in_threads"])
def test_a_concurrent_model_has_many_calls_under_way(name):
    live = built(name, concurrent=True)

    async def ask():
        async with asyncio.timeout(DEADLINE_S):
            return await asyncio.gather(*(live([payload]) for payload in range(TOGETHER)))

    assert live.concurrent and asyncio.run(ask()) == [[payload] for payload in range(TOGETHER)]


@pytest.mark.parametrize(("concurrent", "said"), [(None, True), (False, False), (True, False)])
def test_that_an_asynchronous_model_is_called_for_one_batch_at_a_time_is_said_unless_it_is_meant(concurrent, said):
    told = built("engine", concurrent=concurrent).told()
    assert [one.limit for one in told] == ["calls at a time"] * said
    assert all("`concurrent: true` under `model`" in one.how for one in told)
    assert built("in_threads", concurrent=concurrent).told() == ()


def raises():
    async def answer(payloads):
        raise payloads[0]

    return answer


@pytest.mark.parametrize(
    ("error", "said"),
    [(SystemExit(3), "SystemExit: 3"), (asyncio.CancelledError(), "cancelled"), (ValueError("v"), "v")],
)
def test_nothing_that_a_model_raises_ends_its_thread(error, said):
    live = built("raises")

    async def ask(payload):
        with pytest.raises(Exception) as raised:
            await live([payload])
        return str(raised.value)

    assert said in asyncio.run(ask(error))
    assert asyncio.run(ask(KeyError("again"))) == "'again'"


def waits():
    async def answer(payloads):
        try:
            events.append("begun")
            await asyncio.Event().wait()
        finally:
            events.append("cancelled")

    return answer


def test_a_request_that_is_given_up_is_given_up_in_the_model():
    live = built("waits", concurrent=True)
    events.clear()

    async def give_up():
        task = asyncio.create_task(live(["x"]))
        await live.in_thread(events.clear)  # the thread has begun what came before
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(DEADLINE_S):
            while "cancelled" not in events:
                await live.in_thread(lambda: None)

    asyncio.run(give_up())
