import asyncio

import pytest
import torch

from cluster.emulated import devices as emulated
from cluster.emulated import profiles, roofline
from cluster.fakes import FakeTime
from cluster.gpu_names.gpu_names import AmbiguousGpu, UnknownGpu, find


def build(time, **changes):
    asked = {"profile": "resnet-50", "gpu_type": "T4", "cpu_cores": 2, **changes}
    return emulated.model(**asked, clock=time.clock, sleep=time.sleep)


def test_parse():
    assert emulated.parse("T4:1, V100:2,M60") == ((find("T4"), 1), (find("V100"), 2), (find("M60"), 1))
    assert len(emulated.parse("T4:1,T4:1")) == 2


@pytest.mark.parametrize("spec", ["", "T4:0", "T4:", "T4:x", "T4:1,,V100:1", ":2", "T4:1.5", "T4:-1"])
def test_parse_refuses(spec):
    with pytest.raises(ValueError, match="TYPE:COUNT"):
        emulated.parse(spec)


def test_a_gpu_to_emulate_is_one_card():
    with pytest.raises(AmbiguousGpu, match="'a100' may be A100-40G, A100-80G, "):
        emulated.parse("T4:1,a100:2")


def test_parse_unknown_gpu():
    with pytest.raises(UnknownGpu, match="no GPU 'T5'"):
        emulated.parse("T5:1")


def test_a_batch_takes_its_service_time():
    time = FakeTime()
    model = build(time, gpu_share=0.5, gpu_memory_gib=8.0)
    results = asyncio.run(model([None] * 4))
    expected = roofline.service_time_s(profiles.profile("resnet-50"), find("T4"), batch=4, cpu_cores=2, gpu_share=0.5)
    assert time.now_s == pytest.approx(expected)
    assert len(results) == 4 and results[0] == {"model": "resnet-50", "batch": 4, "emulated": True}
    assert asyncio.run(model([])) == []


def test_late_timers_do_not_add_up():
    time = FakeTime(overshoot_s=0.002)
    model = build(time)

    async def run():
        for _ in range(20):
            await model([None])

    asyncio.run(run())
    assert time.now_s == pytest.approx(20 * model.service_time_s(1) + 0.002)


def test_a_process_that_stood_still_does_not_catch_up_in_a_burst():
    time = FakeTime(overshoot_s=5.0)
    model = build(time)
    asyncio.run(model([None]))
    time.overshoot_s, stalled_s = 0.0, time.now_s

    async def run():
        for _ in range(20):
            await model([None])

    asyncio.run(run())
    assert time.now_s - stalled_s == pytest.approx(19 * model.service_time_s(1))


def test_an_idle_device_owes_nothing():
    time = FakeTime(overshoot_s=0.002)
    model = build(time)
    asyncio.run(model([None]))
    time.now_s += 10.0
    start = time.now_s
    asyncio.run(model([None]))
    # at most the one overshoot is taken off, and the late timer puts it on again
    assert time.now_s - start == pytest.approx(model.service_time_s(1))


def test_one_batch_at_a_time():
    class ManualTime(FakeTime):
        async def sleep(self, seconds):
            deadline = self.now_s + seconds
            while self.now_s < deadline:
                await asyncio.sleep(0)

    time = ManualTime()
    model = build(time)
    ends = []

    async def one():
        await model([None])
        ends.append(time.now_s)

    async def run():
        tasks = [asyncio.create_task(one()) for _ in range(3)]
        while not all(task.done() for task in tasks):
            time.now_s += 1e-4
            await asyncio.sleep(0)

    asyncio.run(run())
    assert ends == pytest.approx([model.service_time_s(1) * n for n in (1, 2, 3)], abs=5e-4)


def test_a_batch_that_does_not_fit():
    time = FakeTime()
    model = build(time, gpu_memory_gib=0.8)
    asyncio.run(model([None] * 8))
    says = r"CUDA out of memory. Tried to allocate \d+\.\d\d GiB \(emulated T4 with 0.80 GiB\)"
    with pytest.raises(torch.OutOfMemoryError, match=says):
        asyncio.run(model([None] * 128))
    before = time.now_s
    asyncio.run(model([None]))  # the next one that fits runs
    assert time.now_s - before == pytest.approx(model.service_time_s(1))


@pytest.mark.parametrize(
    ("precision", "tried_gib"),
    # resnet-50 keeps half of its 11.1 million outputs at a time: 128 times 22.2 MB, and half as much in 16 bit.
    [("float32", 128 * 22.2e6 / 2**30), ("float16", 128 * 11.1e6 / 2**30)],
)
def test_a_batch_tries_to_allocate_what_comes_on_top_of_the_weights(precision, tried_gib):
    model = build(FakeTime(), gpu_memory_gib=0.8, precision=precision)
    with pytest.raises(torch.OutOfMemoryError) as raised:
        asyncio.run(model([None] * 128))
    assert str(raised.value) == (
        f"CUDA out of memory. Tried to allocate {tried_gib:.2f} GiB (emulated T4 with 0.80 GiB)"
    )


def test_weights_that_do_not_fit_fail_when_built():
    # The context, and 340 million weights of four bytes: 0.4 + 1.27 GiB.
    with pytest.raises(torch.OutOfMemoryError) as raised:
        build(FakeTime(), profile="bert-large", gpu_memory_gib=0.8)
    assert str(raised.value) == "CUDA out of memory. Tried to allocate 1.67 GiB (emulated T4 with 0.80 GiB)"


def test_without_torch_the_error_is_our_own(monkeypatch):
    monkeypatch.delitem(emulated.sys.modules, "torch")
    with pytest.raises(emulated.OutOfMemory, match="CUDA out of memory"):
        build(FakeTime(), profile="bert-large", gpu_memory_gib=0.8)


def test_memory_defaults_to_the_card_and_a_cpu_has_no_limit():
    build(FakeTime(), profile="albert-xxlarge", gpu_type="M60")
    cpu = build(FakeTime(), profile="resnet-18", gpu_type=None)
    assert cpu.service_time_s(1) > build(FakeTime(), profile="resnet-18").service_time_s(1)


def test_bad_arguments_fail_when_built():
    with pytest.raises(ValueError, match="a batch needs"):
        build(FakeTime(), gpu_share=2.0)
    with pytest.raises(ValueError, match="unknown precision"):
        build(FakeTime(), precision="fp8")
    with pytest.raises(ValueError, match="no profile"):
        build(FakeTime(), profile="resnet-51")


def test_says_that_it_is_emulated():
    assert getattr(emulated.model, "emulated", None) is True
