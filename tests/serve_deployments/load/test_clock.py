"""Clocks: the machine's own is what the system says, the virtual one is exact and can be off."""

import asyncio
import threading
import time

import pytest

from serve_deployments.fakes.virtual_replicas import VirtualClock, run_virtual
from serve_deployments.load.clock import RealClock


def test_the_real_clock_is_the_machines():
    clock = RealClock()
    for told, system in ((clock.now, time.monotonic), (clock.unix_s, time.time), (clock.cpu_s, time.process_time)):
        before, now, after = system(), told(), system()
        assert before <= now <= after


def test_cpu_of_all_threads_of_the_process_counts():
    """The one that sends, and those of gRPC beside it."""
    clock, used_s = RealClock(), []

    def beside():
        while time.thread_time() < 0.02:
            pass
        used_s.append(time.thread_time())

    before_s, thread = clock.cpu_s(), threading.Thread(target=beside)
    thread.start()
    thread.join()
    assert clock.cpu_s() - before_s >= used_s[0] >= 0.02


def test_a_sleep_of_the_real_clock_ends_no_sooner_than_asked_and_lets_others_run():
    async def sleeps():
        clock = RealClock()
        ran: list[str] = []
        task = asyncio.create_task(run(ran))
        await clock.sleep_until(clock.now() - 5)  # has passed
        ran_meanwhile = list(ran)
        until_s = clock.now() + 0.01
        await clock.sleep_until(until_s)
        await task
        # A timer of asyncio may fire as early as its loop's resolution.
        return ran_meanwhile, clock.now() - until_s

    async def run(ran):
        ran.append("ran")

    ran, late_s = asyncio.run(sleeps())
    assert ran == ["ran"] and late_s > -0.001


@pytest.mark.parametrize(("ahead_s", "drift"), [(0.0, 0.0), (9.0, 0.0), (-4.0, 0.5), (0.0, -0.5)])
def test_a_virtual_clock_that_is_off_still_wakes_when_it_says_so(ahead_s, drift):
    async def sleeps():
        clock = VirtualClock(ahead_s=ahead_s, drift=drift, cpu_share=0.5)
        start = clock.now()
        await clock.sleep_until(start + 3.0)
        return start, clock.now(), clock.unix_s(), asyncio.get_running_loop().time(), clock.cpu_s()

    start, now, unix, loop, cpu_s = run_virtual(sleeps())
    assert start == ahead_s and now == unix == pytest.approx(ahead_s + 3.0)
    assert loop == pytest.approx(3.0 / (1 + drift)) and cpu_s == pytest.approx(loop / 2)
