"""What waits while the model is busy is answered together; nobody gets another's answer."""

import asyncio
import weakref

from hypothesis import given
from hypothesis import strategies as st

from serve_deployments.endpoint import DescribedError
from serve_deployments.fakes.virtual_replicas import run_virtual
from serve_deployments.replicas.batching.dynamic_batching import DynamicBatching


class Model:
    """Doubles its payloads in one second of virtual time, and remembers the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    async def __call__(self, payloads):
        self.batches.append(list(payloads))
        await asyncio.sleep(1)
        if 13 in payloads:
            raise RuntimeError("unlucky")
        return [2 * p for p in payloads]


def answers(payloads, max_batch_size):
    model = Model()

    async def main():
        batching = DynamicBatching(model, max_batch_size)
        return await asyncio.gather(*map(batching, payloads), return_exceptions=True)

    return run_virtual(main()), model.batches


def test_singles_that_wait_fill_the_largest_batch():
    rows, batches = answers(range(10), max_batch_size=4)
    assert rows == [2 * i for i in range(10)]
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_batch_of_one_is_never_joined():
    assert answers([1, 2], max_batch_size=1)[1] == [[1], [2]]


def test_an_error_reaches_the_request_that_causes_it_and_nobody_else():
    rows, batches = answers([13, 1, 2], max_batch_size=2)
    assert [type(r) for r in rows] == [RuntimeError, int, int]
    assert batches == [[13, 1], [13], [1], [2]]


def test_who_gave_up_does_not_disturb_the_others():
    async def main():
        model = Model()
        batching = DynamicBatching(model, 3)
        tasks = [asyncio.create_task(batching(i)) for i in range(3)]
        await asyncio.sleep(0.5)
        tasks[1].cancel()
        first, last = await tasks[0], await tasks[2]
        assert (await batching(7)) == 14
        return first, last

    assert run_virtual(main()) == (0, 4)


def test_it_works_again_after_it_was_idle():
    async def main():
        batching = DynamicBatching(Model(), 2)
        return [await batching(1), await batching(2)]

    assert run_virtual(main()) == [2, 4]


class Slow:
    """Takes a second a call; notes when each began and with what."""

    def __init__(self):
        self.calls = []

    async def __call__(self, payloads):
        self.calls.append((asyncio.get_running_loop().time(), payloads))
        await asyncio.sleep(1)
        return payloads


def test_only_a_full_batch_goes_ahead_of_the_one_that_runs():
    async def main():
        model = Slow()
        batching = DynamicBatching(model, 2, ahead=lambda: 1)
        first = asyncio.create_task(batching(1))
        await asyncio.sleep(0.25)
        others = [asyncio.create_task(batching(n)) for n in (2, 3, 4)]  # a full one, and one that has to wait
        assert [await task for task in (first, *others)] == [1, 2, 3, 4]
        started = model.calls[0][0]
        return [(begun - started, payloads) for begun, payloads in model.calls]

    assert run_virtual(main()) == [(0, [1]), (0.25, [2, 3]), (1.25, [4])]


def test_what_nobody_waits_for_is_not_computed_and_the_queue_is_told():
    async def main():
        model = Model()
        told: list[int] = []
        batching = DynamicBatching(model, 2, queued=told.append)
        tasks = [asyncio.create_task(batching(i)) for i in range(6)]
        await asyncio.sleep(0.5)
        for task in tasks[2:5]:
            task.cancel()
        rows = await asyncio.gather(*tasks, return_exceptions=True)
        return model.batches, told, [row for row in rows if isinstance(row, int)]

    batches, told, rows = run_virtual(main())
    assert batches == [[0, 1], [5]] and rows == [0, 2, 10]
    assert max(told) == 6 and told[-1] == 0


def test_too_few_results_are_an_error_for_all_of_the_call():
    async def main():
        async def short(payloads):
            return payloads[1:]

        batching = DynamicBatching(short, 3)
        return await asyncio.gather(*(batching(i) for i in range(3)), return_exceptions=True)

    assert all("2 results for 3 payloads" in str(error) for error in run_virtual(main()))


def begun(arrivals_s, max_batch_size, wait_s, **options):
    """(when, what) of each call of a model of a second, for requests 0, 1, … at these seconds."""

    async def main():
        model, loop = Slow(), asyncio.get_running_loop()
        batching, start = DynamicBatching(model, max_batch_size, wait_s, **options), loop.time()

        async def request(number, at_s):
            await asyncio.sleep(at_s)
            return await batching(number)

        rows = await asyncio.gather(*(request(*each) for each in enumerate(arrivals_s)))
        assert rows == list(range(len(arrivals_s))) and batching.idle
        return [(round(time_s - start, 6), payloads) for time_s, payloads in model.calls]

    return run_virtual(main())


def test_a_request_waits_for_others_while_the_model_is_free_and_no_longer():
    assert begun([0, 0.2, 0.6], 4, wait_s=0.5) == [(0.5, [0, 1]), (1.5, [2])]


def test_a_full_batch_waits_for_nobody():
    assert begun([0, 0.1, 0.2, 0.3], 3, wait_s=0.5) == [(0.2, [0, 1, 2]), (1.2, [3])]


def test_the_wait_is_over_for_those_who_waited_for_the_model():
    """The third is as old as its wait when the model becomes free; the fourth then has 0.3 s more."""
    assert begun([0, 0.9, 1.6, 3.3], 8, wait_s=0.5) == [(0.5, [0]), (1.5, [1]), (2.5, [2]), (3.8, [3])]


def test_a_wait_holds_no_full_batch_back_from_going_ahead():
    assert begun([0, 0.7, 0.8, 0.9], 2, wait_s=0.5, ahead=lambda: 1) == [(0.5, [0]), (0.8, [1, 2]), (1.8, [3])]


def test_who_is_refused_is_told_and_the_next_wait_is_a_new_one():
    async def main():
        model, loop = Slow(), asyncio.get_running_loop()
        batching, start = DynamicBatching(model, 4, 0.5), loop.time()
        first = asyncio.create_task(batching(1))
        await asyncio.sleep(0.4)
        batching.refuse(ValueError("being changed"))
        assert batching.idle
        assert await batching(2) == 2
        assert isinstance((await asyncio.gather(first, return_exceptions=True))[0], ValueError)
        return [(round(time_s - start, 6), payloads) for time_s, payloads in model.calls]

    assert run_virtual(main()) == [(0.9, [2])]


def test_who_is_refused_no_longer_counts_as_waiting():
    async def main():
        told: list[int] = []
        batching = DynamicBatching(Slow(), 1, queued=told.append)
        tasks = [asyncio.create_task(batching(number)) for number in range(3)]
        await asyncio.sleep(0.5)  # one runs, two wait
        batching.refuse(ValueError("being changed"))
        refused = told[-1]
        await asyncio.gather(*tasks, return_exceptions=True)
        return told, refused

    assert run_virtual(main()) == ([1, 2, 3, 2, 0], 0)


def test_nothing_is_kept_of_a_burst_that_is_over():
    """A replica lives for weeks."""
    tasks: list[weakref.ref] = []

    async def model(payloads):
        tasks.append(weakref.ref(asyncio.current_task()))
        return payloads

    async def main():
        batching = DynamicBatching(model, 2)
        for _ in range(20):
            await asyncio.gather(*(batching(number) for number in range(5)))
            await asyncio.sleep(1)
        return [task() for task in tasks if task() is not None], batching.idle

    assert run_virtual(main()) == ([], True) and len(tasks) == 60


tenths = st.integers(0, 100).map(lambda number: number / 10)


@given(
    st.lists(tenths, min_size=1, max_size=30), st.integers(1, 6), st.sampled_from([0.0, 0.3, 2.0]), st.integers(0, 1)
)
def test_what_holds_for_any_arrivals(arrivals_s, largest, wait_s, ahead):
    """Everyone is answered once; a batch is full, or the model was free and its oldest had waited long enough."""
    calls = begun(arrivals_s, largest, wait_s, ahead=lambda: ahead)
    assert sorted(number for _, payloads in calls for number in payloads) == list(range(len(arrivals_s)))
    ends_s: list[float] = []
    for time_s, payloads in calls:
        running = sum(end_s > time_s + 1e-6 for end_s in ends_s)
        assert running <= (ahead if len(payloads) == largest else 0)
        oldest_s = min(arrivals_s[number] for number in payloads)
        assert len(payloads) == largest or time_s >= oldest_s + wait_s - 1e-6
        # Nobody waits for no reason: it is when the wait was over, the batch became full, or the model free.
        newest_s = max(arrivals_s[number] for number in payloads)
        assert any(abs(time_s - reason_s) < 1e-5 for reason_s in (oldest_s + wait_s, newest_s, *ends_s))
        ends_s.append(time_s + 1)


def test_a_call_that_ends_in_no_ordinary_way_leaves_nobody_waiting():
    """Neither those of its batch nor those that wait for the next one."""

    class Cancelled(Model):
        async def __call__(self, payloads):
            if payloads == [0]:
                raise asyncio.CancelledError("by its own doing")
            return await super().__call__(payloads)

    async def main():
        batching = DynamicBatching(Cancelled(), 1)
        return await asyncio.gather(*map(batching, range(3)), return_exceptions=True)

    first, *others = run_virtual(main())
    assert isinstance(first, DescribedError) and str(first) == "CancelledError: by its own doing" and others == [2, 4]
