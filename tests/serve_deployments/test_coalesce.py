"""What waits while the model is busy is answered together; nobody gets another's answer."""

import asyncio

from serve_deployments.replicas.coalesce import Coalescing
from serve_deployments.replicas.fakes import run_virtual


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


def answers(parts, max_batch_size):
    model = Model()

    async def main():
        coalescing = Coalescing(model, max_batch_size)
        return await asyncio.gather(*(coalescing(part) for part in parts), return_exceptions=True)

    return run_virtual(main()), model.batches


def test_singles_that_wait_fill_the_largest_batch():
    rows, batches = answers([[i] for i in range(10)], max_batch_size=4)
    assert rows == [[2 * i] for i in range(10)]
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_no_batch_is_split_or_too_large():
    rows, batches = answers([[1, 2, 3], [4, 5], [6, 7], [8]], max_batch_size=4)
    assert rows == [[2, 4, 6], [8, 10], [12, 14], [16]]
    assert batches == [[1, 2, 3], [4, 5, 6, 7], [8]]


def test_a_batch_of_one_is_never_joined():
    assert answers([[1], [2]], max_batch_size=1)[1] == [[1], [2]]


def test_an_error_reaches_those_of_its_call_and_nobody_else():
    rows, _ = answers([[13], [1], [2]], max_batch_size=2)
    assert [type(r) for r in rows] == [RuntimeError, RuntimeError, list]


def test_who_gave_up_does_not_disturb_the_others():
    async def main():
        model = Model()
        coalescing = Coalescing(model, 3)
        tasks = [asyncio.create_task(coalescing([i])) for i in range(3)]
        await asyncio.sleep(0.5)
        tasks[1].cancel()
        first, last = await tasks[0], await tasks[2]
        assert (await coalescing([7])) == [14]
        return first, last

    assert run_virtual(main()) == ([0], [4])


def test_it_works_again_after_it_was_idle():
    async def main():
        coalescing = Coalescing(Model(), 2)
        return [await coalescing([1]), await coalescing([2])]

    assert run_virtual(main()) == [[2], [4]]


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
        coalescing = Coalescing(model, 2, ahead=lambda: 1)
        first = asyncio.create_task(coalescing([1]))
        await asyncio.sleep(0.25)
        others = [asyncio.create_task(coalescing([n])) for n in (2, 3, 4)]  # a full one, and one that has to wait
        assert [await task for task in (first, *others)] == [[1], [2], [3], [4]]
        started = model.calls[0][0]
        return [(begun - started, payloads) for begun, payloads in model.calls]

    assert run_virtual(main()) == [(0, [1]), (0.25, [2, 3]), (1.25, [4])]


def test_what_nobody_waits_for_is_not_computed_and_the_queue_is_told():
    async def main():
        model, told = Model(), []
        coalescing = Coalescing(model, 2, queued=told.append)
        tasks = [asyncio.create_task(coalescing([i])) for i in range(6)]
        await asyncio.sleep(0.5)
        for task in tasks[2:5]:
            task.cancel()
        rows = await asyncio.gather(*tasks, return_exceptions=True)
        return model.batches, told, [row for row in rows if isinstance(row, list)]

    batches, told, rows = run_virtual(main())
    assert batches == [[0, 1], [5]] and rows == [[0], [2], [10]]
    assert max(told) == 6 and told[-1] == 0


def test_too_few_results_are_an_error_for_all_of_the_call():
    async def main():
        async def short(payloads):
            return payloads[1:]

        coalescing = Coalescing(short, 3)
        return await asyncio.gather(*(coalescing([i]) for i in range(3)), return_exceptions=True)

    assert all("2 results for 3 payloads" in str(error) for error in run_virtual(main()))
