"""The fake engine against an account of its steps that shares no code with it; and what a load test finds of it."""

import asyncio

import numpy as np
import pytest

from serve_deployments.fakes.streaming_engine import FakeStreamingEngine, StepTimes
from serve_deployments.fakes.virtual_replicas import VirtualClock, run_virtual
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.metrics.request_limits import RequestLimits
from serve_deployments.settings import Settings
from tests.serve_deployments.fakes.engine_truth import answered, highest_rate

TIMES = (0.01, 0.0005, 0.0001)
RNG = np.random.default_rng(5)
SIZES = list(zip(RNG.integers(16, 257, 64).tolist(), RNG.integers(4, 33, 64).tolist(), strict=True))
"""Tokens of prompt and answer of 64 requests."""


def engine(most=8):
    return FakeStreamingEngine(lambda payload: payload, most, StepTimes(*TIMES))


async def at_times(server, arrived_s, payloads):
    async def one(at_s, payload):
        await asyncio.sleep(at_s)
        return await server.infer(payload)

    return await asyncio.gather(*(one(*each) for each in zip(arrived_s, payloads, strict=True)))


def test_alone_every_step_brings_one_token():
    [answer] = run_virtual(at_times(engine(), [0.0], [(100, 4)]))
    assert answer.first_after_s == pytest.approx(0.0105 + 0.01) and answer.parts == answer.size_out == 4
    assert list(answer.gaps_s) == pytest.approx([0.0105] * 3, rel=1e-6) and answer.size_in == 100


def test_under_load_each_token_comes_when_the_account_says():
    arrived_s = np.cumsum(np.random.default_rng(1).exponential(1 / 18, 400))
    payloads = [SIZES[n % len(SIZES)] for n in range(400)]
    answers = run_virtual(at_times(engine(), arrived_s, payloads))
    tokens_in, tokens_out = zip(*payloads, strict=True)
    first_s, per_token_s = answered(arrived_s, tokens_in, tokens_out, 8, *TIMES)
    np.testing.assert_allclose([one.first_after_s for one in answers], first_s, rtol=1e-6)
    np.testing.assert_allclose([np.sum(one.gaps_s) / (one.parts - 1) for one in answers], per_token_s, rtol=1e-5)


def test_a_request_that_is_withdrawn_frees_its_place():
    async def withdrawn():
        server = engine(most=1)
        first = asyncio.create_task(server.infer((10, 1000)))
        await asyncio.sleep(0.1)
        first.cancel()
        return await server.infer((10, 2)), asyncio.get_running_loop().time()

    answer, now_s = run_virtual(withdrawn())
    assert answer.parts == 2 and now_s < 0.2


def found(seed):
    """The highest rate within an attainment that a load test of some minutes finds, as LoadTest says it."""
    limits = RequestLimits({"ttft": 0.3, "tpot": 0.04})
    plan = LoadPlan(request_limits=limits, seed=seed, total_max_s=1200.0, level_max_s=120.0, rate_precision=0.015)
    test = LoadTest(plan, {"missed": 0.05})
    return run_virtual(test.run(engine(), SIZES, Settings(), clock=VirtualClock()))


@pytest.mark.parametrize(
    "seeds", [(0,), pytest.param(tuple(range(1, 10)), marks=pytest.mark.slow)], ids=["one", "nine"]
)
def test_the_highest_goodput_at_an_attainment_is_the_engine_s(seeds):
    truth = highest_rate(0.05, 10, 25, sizes=SIZES, ttft_s=0.3, tpot_s=0.04, most=8, times=TIMES)
    tests = [found(17 * seed) for seed in seeds]
    ratios = np.array([test.metrics["rps"] / truth for test in tests])
    assert (abs(ratios - 1) <= 0.05).mean() >= 8 / 9, ratios
    for test in tests:
        assert test.found and 0.93 <= test.metrics["attainment"] <= 1.0
        assert test.metrics["goodput"] == pytest.approx(test.metrics["attainment"] * test.metrics["rps"])


def test_a_limit_on_a_share_of_requests_needs_their_limits():
    with pytest.raises(ValueError, match="missed needs limits of each request"):
        LoadTest(LoadPlan(), {"missed": 0.05})
