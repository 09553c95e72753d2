"""Requests for an engine: passed on at once, and given up once it has surely dropped them."""

import asyncio
import gc
from typing import Any

import pytest

from serve_deployments.batches.passing_on import AnswerWait, PassingOn
from serve_deployments.endpoint import DescribedError
from serve_deployments.fakes.virtual_replicas import run_virtual

WAIT = AnswerWait(least_s=12.0, first_s=60.0, most_s=600.0, turns=16)


@pytest.mark.parametrize(
    ("longest_s", "wait_s"), [(0.0, 60.0), (0.1, 12.0), (0.75, 12.0), (2.0, 32.0), (37.5, 600.0), (100.0, 600.0)]
)
def test_the_wait_follows_the_longest_answer_within_its_bounds(longest_s, wait_s):
    assert WAIT.until_s(longest_s) == wait_s
    assert AnswerWait.always(90.0).until_s(longest_s) == 90.0


@pytest.mark.parametrize("values", [(0, 1, 1, 1), (2, 1, 3, 1), (1, 3, 2, 1), (1, 1, 1, 0.5)])
def test_a_wait_whose_bounds_contradict_each_other_is_refused(values):
    with pytest.raises(ValueError, match="a wait for answers needs"):
        AnswerWait(*values)


async def engine(payloads):
    """Answers after so many seconds, or never where there are none."""
    [seconds] = payloads
    await (asyncio.get_running_loop().create_future() if seconds is None else asyncio.sleep(seconds))
    return [seconds]


async def ended(call):
    """What became of a call, and when."""
    answers: Any = await asyncio.gather(call, return_exceptions=True)
    return answers[0], round(asyncio.get_running_loop().time(), 3)


def test_a_dropped_request_ends_in_words_and_the_others_are_answered():
    async def main():
        passing = PassingOn(engine, lambda: 12.0)
        calls = [asyncio.create_task(ended(passing(seconds))) for seconds in (None, 11.0)]
        await asyncio.sleep(5.0)
        assert not passing.idle
        calls += [asyncio.create_task(ended(passing(seconds))) for seconds in (None, 1.0)]
        (dropped, at_s), *others = await asyncio.gather(*calls)
        assert passing.idle and await passing(1.0) == 1.0
        return str(dropped), type(dropped), at_s, others

    words, kind, at_s, (slow, (later, later_s), quick) = run_virtual(main())
    assert (words, kind, at_s) == ("the model never answered this request: given up after 12 s", DescribedError, 12.0)
    assert slow == (11.0, 11.0) and quick == (1.0, 6.0)
    assert str(later) == words and later_s == 17.0


def test_what_is_learned_of_the_model_meanwhile_counts():
    """It waits longer once an answer took longer, and a model that takes time is not taken for one that drops."""
    wait_s = [10.0]

    async def main():
        passing = PassingOn(engine, lambda: wait_s[0])
        slow = asyncio.create_task(ended(passing(15.0)))
        await asyncio.sleep(9.0)
        wait_s[0] = 20.0
        return await slow, await ended(passing(None))

    slow, (dropped, at_s) = run_virtual(main())
    assert slow == (15.0, 15.0) and isinstance(dropped, DescribedError) and at_s == 35.0


def test_a_timeout_of_the_models_own_is_its_error():
    async def gives_up(payloads):
        raise TimeoutError("the engine's")

    async def main():
        return await ended(PassingOn(gives_up, lambda: 12.0)(1))

    error, _ = run_virtual(main())
    assert type(error) is TimeoutError and str(error) == "the engine's"


def test_who_gives_a_request_up_cancels_it():
    async def main():
        passing = PassingOn(engine, lambda: 12.0)
        call = asyncio.create_task(passing(None))
        await asyncio.sleep(1.0)
        call.cancel()
        await asyncio.wait({call})
        await asyncio.sleep(60.0)
        return call.cancelled(), passing.idle

    assert run_virtual(main()) == (True, True)


def test_a_request_whose_future_nobody_holds_is_not_collected_with_it():
    """Its caller is told: a task that waits is referred to by what it waits for alone."""
    told = []

    async def main():
        passing = PassingOn(engine, lambda: 12.0)

        async def asks():
            told.append(await ended(passing(None)))

        asyncio.get_running_loop().create_task(asks())  # and kept by nobody
        await asyncio.sleep(1.0)
        gc.collect()
        await asyncio.sleep(60.0)

    run_virtual(main())
    [(error, at_s)] = told
    assert isinstance(error, DescribedError) and at_s == 12.0
