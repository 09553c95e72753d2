"""What a replica did: counters that subtract, gauges that do not, with a fake process, clock and NVML."""

import math
import mmap
import sys
from dataclasses import dataclass, replace
from time import process_time
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cluster.fakes import FakeDevice, FakeNvml, FakeTime
from serve_deployments.device.meter import Meter, meter_of
from serve_deployments.resources.usage import RECENT, Usage


@dataclass
class FakeProcess:
    user_s: float = 0.0
    system_s: float = 0.0
    rss: int = 100

    def cpu_s(self):
        return self.user_s + self.system_s

    def memory_bytes(self):
        return self.rss

    def waited_s(self):
        return math.inf


def test_a_level_is_the_difference_of_two_readings():
    time, process = FakeTime(), FakeProcess(user_s=5.0)
    meter = Meter(process, now=time.clock)
    meter.batch(4, 0.5)
    time.now_s, process.user_s = 10.0, 7.0
    before = meter.read()
    assert (before.seconds, before.cpu_s, before.batches, before.busy_s) == (10.0, 2.0, {4: 1}, 0.5)

    for size in (4, 8, 8, 8):
        meter.batch(size, 0.25)
    meter.queued(30)
    meter.queued(3)
    time.now_s, process.user_s, process.system_s, process.rss = 14.0, 8.0, 1.0, 250
    level = meter.read().since(before)
    assert level.batches == {4: 1, 8: 3} and level.mean_batch == 7.0
    assert (level.busy_share, level.cpu_cores) == (0.25, 0.5)
    assert (level.queue, level.queue_most, level.memory_bytes) == (3, 30, 250)
    assert level.gpu_utilisation is None and level.gpu_memory_bytes is None


def test_the_seconds_of_a_call_among_many_are_no_time_of_a_batch():
    """From them a queue of one batch after the other would be simulated."""
    time = FakeTime()
    meter = Meter(FakeProcess(), now=time.clock)
    for alone in (False, True):
        with meter.running(2, alone=alone):
            time.now_s += 3.0
    found = meter.read()
    assert found.batches == {2: 2} and found.busy_s == 6.0 and found.recent == ((2, 3.0),)


def test_time_in_which_two_batches_run_counts_once():
    """From 0 to 4 and from 1 to 3, then from 10 to 12 and from 11 to 15: nine seconds in all."""
    time = FakeTime()
    meter = Meter(FakeProcess(), now=time.clock)

    def run(*steps):
        running: dict[int, Any] = {}
        for at_s, size in steps:
            time.now_s = at_s
            if size in running:
                running.pop(size).__exit__(None, None, None)
            else:
                running[size] = meter.running(size)
                running[size].__enter__()

    run((0, 8), (1, 4), (3, 4), (4, 8))
    assert meter.read().busy_s == 4
    run((10, 8), (11, 4), (12, 8), (15, 4))
    reading = meter.read()
    assert reading.busy_s == 9 and reading.batches == {8: 2, 4: 2}


def test_a_level_has_the_batches_of_its_own_one_by_one_and_their_number_is_bounded():
    meter = Meter(FakeProcess(), now=FakeTime().clock)
    meter.batch(1, 0.1)
    before = meter.read()
    meter.batch(4, 0.5)
    meter.batch(2, 0.25)
    level = meter.read().since(before)
    assert level.recent == ((4, 0.5), (2, 0.25))
    for _ in range(2 * RECENT):
        meter.batch(8, 1.0)
    assert meter.read().since(before).recent == ((8, 1.0),) * RECENT
    assert meter.read().since(meter.read()).recent == ()


def test_each_reading_has_its_own_most():
    meter = Meter(FakeProcess(), now=FakeTime().clock)
    meter.queued(30)
    meter.queued(2)
    assert [meter.read().queue_most, meter.read().queue_most] == [30, 2]


def test_nothing_done_is_nothing_told():
    idle = Meter(FakeProcess(), now=FakeTime().clock).read()
    assert (idle.mean_batch, idle.busy_share, idle.cpu_cores) == (None, None, None)


def test_the_gpu_is_sampled_once_a_period_and_found_by_its_uuid():
    time = FakeTime()
    devices = [FakeDevice("T4", 16, 1.0, 10), FakeDevice("T4", 16, 2.0, 80)]
    nvml = FakeNvml(devices)
    meter = Meter(FakeProcess(), nvml=nvml, gpu_uuid="GPU-1", now=time.clock)
    for time.now_s in (0.5, 0.9, 1.0, 1.5, 2.25):
        meter.batch(1, 0.1)
        devices[1].utilisation_percent = 40
    reading = meter.read()
    # At 1.0 s and 2.25 s; by then it said 40 % both times.
    assert reading.gpu_seen_s == 2.0 and reading.gpu_utilisation == pytest.approx(0.4)
    assert reading.gpu_memory_bytes == 2 * 2**30
    meter.close()
    meter.close()
    assert nvml.open == 0 and meter.read().gpu_memory_bytes is None


def test_after_an_idle_minute_the_gpu_is_asked_once_and_not_for_each_second_that_was_missed():
    """At 60 s, and again once a second of its own has passed, at 61.5 s: what was before 59 s nobody knows."""
    time, device = FakeTime(), FakeDevice("T4", 16, 1.0, 100)
    meter = Meter(FakeProcess(), nvml=FakeNvml([device]), gpu_uuid="GPU-0", now=time.clock)
    for time.now_s, device.utilisation_percent in ((60.0, 100), (60.25, 0), (60.5, 0), (60.75, 0), (61.5, 40)):
        meter.batch(1, 0.1)
    reading = meter.read()
    assert reading.gpu_seen_s == 2.0 and reading.gpu_busy_s == pytest.approx(1.0 + 0.4)


class TwoCards(FakeNvml):
    """NVML's own spelling of two cards, of which torch is left the second by CUDA_VISIBLE_DEVICES."""

    uuids = ("GPU-11111111-2222-3333-4444-555555555555", "GPU-5f2c81a0-8d1e-4b3c-9d4e-0a1b2c3d4e5f")

    def nvmlDeviceGetUUID(self, handle):
        return self.uuids[self.devices.index(handle)]


@pytest.mark.parametrize(
    ("properties", "gib"),
    [
        ({"uuid": "5f2c81a0-8d1e-4b3c-9d4e-0a1b2c3d4e5f"}, 5),  # as torch spells it
        ({"uuid": "00000000-8d1e-4b3c-9d4e-0a1b2c3d4e5f"}, None),
        ({}, None),  # a build for ROCm
    ],
)
def test_the_gpu_that_torch_computes_on_is_the_one_that_nvml_is_asked_about(monkeypatch, properties, gib):
    nvml = TwoCards([FakeDevice("T4", 16, 3.0, 10), FakeDevice("T4", 16, 5.0, 80)])
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "get_device_properties", [SimpleNamespace(**properties)].__getitem__)
    meter = meter_of("cuda")
    assert meter.read().gpu_memory_bytes == (None if gib is None else gib * 2**30)
    assert nvml.open == (gib is not None)
    meter.close()
    assert nvml.open == 0


def test_on_a_cpu_no_gpu_is_asked_about(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # to import it would fail
    assert meter_of("cpu").read().gpu_memory_bytes is None


@pytest.mark.parametrize(
    "nvml", [FakeNvml(driver=False), FakeNvml(), FakeNvml([FakeDevice("T4", 16)])], ids=["no driver", "none", "another"]
)
def test_without_its_gpu_it_says_nothing_and_leaves_nvml_closed(nvml):
    meter = Meter(FakeProcess(), nvml=nvml, gpu_uuid="GPU-7", now=FakeTime().clock)
    meter.batch(1, 0.1)
    assert meter.read().gpu_memory_bytes is None and nvml.open == 0


def test_a_card_that_keeps_no_utilisation_still_tells_its_memory():
    time = FakeTime()
    meter = Meter(
        FakeProcess(), nvml=FakeNvml([FakeDevice("A100", 40, 3.0, mig=True)]), gpu_uuid="GPU-0", now=time.clock
    )
    time.now_s = 5.0
    meter.batch(1, 0.1)
    reading = meter.read()
    assert reading.gpu_utilisation is None and reading.gpu_memory_bytes == 3 * 2**30


counts = st.dictionaries(st.integers(1, 64), st.integers(1, 99), max_size=5)
usages = st.builds(
    Usage, seconds=st.floats(0, 1e6), batches=counts, busy_s=st.floats(0, 1e6), cpu_s=st.floats(0, 1e6),
    memory_bytes=st.integers(0, 2**40), gpu_memory_bytes=st.none() | st.integers(0, 2**40), queue=st.integers(0, 999),
)  # fmt: skip


@given(usages)
def test_since_the_start_is_everything_and_since_now_is_nothing(usage):
    assert usage.since(Usage()) == usage
    nothing = usage.since(usage)
    assert (nothing.seconds, nothing.batches, nothing.busy_s) == (0, {}, 0) and nothing.queue == usage.queue


def test_another_replicas_reading_is_refused():
    reading = Usage(seconds=5, batches={4: 2}, cpu_s=1)
    with pytest.raises(ValueError, match="later or from another replica"):
        reading.since(replace(reading, seconds=6))
    with pytest.raises(ValueError, match="later or from another replica"):
        reading.since(replace(reading, batches={8: 1}))


@pytest.mark.parametrize("wrong", [{"busy_s": -1.0}, {"batches": {0: 1}}, {"queue": -1}])
def test_impossible_readings_are_refused(wrong):
    with pytest.raises(ValueError, match="or more"):
        Usage(**wrong)


def test_a_real_process_tells_its_cpu_and_memory():
    """CPU seconds as the system's own clock of this process has them, to the ticks of 10 ms that psutil reads; and
    memory that grows by what is put into it."""
    meter = Meter()
    before, began_s = meter.read(), process_time()
    while (spent_s := process_time() - began_s) < 0.2:
        pass
    burnt = meter.read()
    assert burnt.cpu_s - before.cpu_s == pytest.approx(spent_s, abs=0.04)
    with mmap.mmap(-1, 2**26) as kept:  # pages of its own: an allocator may hand out some that it has kept
        before_bytes = meter.read().memory_bytes
        kept.write(b"x" * 2**20 * 64)
        assert meter.read().memory_bytes - before_bytes == pytest.approx(len(kept), rel=0.25)
