"""All shapes that the load can bring are recorded before it, none during it, and none that a model has outgrown."""

import asyncio
import itertools
import math
import random
import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from serve_deployments.batches import kept_on_device
from serve_deployments.batches.batch_parts import Parts
from serve_deployments.batches.cuda_graphs import MOST
from serve_deployments.batches.device_batches import DeviceBatches
from serve_deployments.batches.packing import bucket
from serve_deployments.batches.shapes import batches_of, combinations, shapes_of
from serve_deployments.fakes.fake_accelerator import FakeAccelerator
from serve_deployments.models.model import Builder
from serve_deployments.replicas.hosting import HostedModel, NotRebuilt
from serve_deployments.settings import Settings

never = bool  # `bool()` is False


def pairs(rows):
    """Texts and questions, each with a length of its own, as tensors filled up to the longest."""

    def padded(column):
        return torch.nn.utils.rnn.pad_sequence([torch.ones(row[column]) for row in rows], batch_first=True)

    return {"text": padded(0), "question": padded(1)}


def both(seen):
    def forward(tensors):
        seen.append((tuple(tensors["text"].shape), tuple(tensors["question"].shape)))
        return {"sum": tensors["text"].sum(1) + tensors["question"].sum(1)}

    return Parts(pairs, forward, lambda made: made["sum"].tolist(), {"text": 0, "question": 0}, longest=64)


def every_shape(samples, most_rows):
    """By hand: each batch of up to so many samples, however they are drawn."""
    lengths = {(bucket(text), bucket(question)) for text, question in samples}
    found = set()
    for size in range(1, most_rows + 1):
        for drawn in itertools.combinations_with_replacement(lengths, size):
            text, question = (max(column) for column in zip(*drawn, strict=True))
            found.add((bucket(size), text, question))
    return found


@pytest.mark.parametrize("seed", range(8))
def test_no_batch_of_the_samples_has_a_shape_that_was_not_run_before(seed):
    rng = random.Random(seed)
    samples = [(rng.randint(1, 64), rng.randint(1, 20)) for _ in range(rng.randint(1, 5))]
    most_rows = rng.randint(1, 4)
    seen: list[tuple[tuple[int, ...], ...]] = []
    device = DeviceBatches(both(seen), FakeAccelerator(), cuda_graphs=True)
    batches = device.shapes(samples, most_rows, never)
    assert len(set(batches)) == len(batches)
    for numbers in batches:
        device([samples[number] for number in numbers])
    assert {(text[0], text[1], question[1]) for text, question in seen} == every_shape(samples, most_rows)


def test_the_largest_shape_is_run_first_as_it_shows_whether_memory_suffices():
    found = shapes_of(both([]), [(3, 3), (60, 3), (20, 16)], never)
    combined = combinations(found, most_rows=2, most=99)
    assert combined[0] == (1, 2) and sorted(combined[1:]) == [(0,), (1,), (2,)]
    assert batches_of(combined, (4, 1)) == [
        (1, 2, 1, 2), (1, 1, 1, 1), (2, 2, 2, 2), (0, 0, 0, 0), (1,), (2,), (0,),
    ]  # fmt: skip


def test_there_are_never_more_shapes_than_graphs_are_kept():
    found = shapes_of(both([]), [(8 * n, 8 * (8 - n)) for n in range(1, 8)], never)
    assert len(combinations(found, most_rows=8, most=10)) == 10 and len(combinations(found, 8, 999)) == 28
    device = DeviceBatches(both([]), FakeAccelerator(), cuda_graphs=True)
    assert len(device.shapes([(n, 65 - n) for n in range(1, 65)], 64, never)) == MOST


def test_samples_that_a_model_refuses_and_those_beyond_the_time_are_left_out():
    asked = iter([False, False, False, True])
    found = shapes_of(both([]), ["no pair", (3, 3), (3, 2), (60, 3)], lambda: next(asked))
    assert list(found.values()) == [1, 2]


def test_tensors_that_cannot_be_in_one_batch_are_not_combined():
    def collate(rows):
        return {"x": torch.stack([torch.ones(row) for row in rows])}

    parts = Parts(collate, lambda t: t, lambda made: made["x"].tolist(), {})
    found = shapes_of(parts, [(2,), (2, 2)], never)
    assert combinations(found, 4, 99) == [(1,), (0,)]


def test_without_graphs_shapes_cost_nothing():
    assert DeviceBatches(both([]), FakeAccelerator()).shapes([(3, 3)], 8, never) == ()


LENGTHS = [3, 7, 9, 30, 60]
made: list[DeviceBatches] = []
journal: list[str] = []
weight = [1.0]
cannot: list[Exception] = []


def texts():
    """As `model.build`: a model with graphs, whose weight may change."""

    def collate(rows):
        return {"x": torch.nn.utils.rnn.pad_sequence([torch.ones(row) for row in rows], batch_first=True)}

    def forward(tensors):
        journal.append("run")
        return {"y": tensors["x"].sum(1) * weight[0]}

    accelerator = FakeAccelerator(cannot_record=cannot[0] if cannot else None)
    parts = Parts(collate, forward, lambda out: out["y"].tolist(), {"x": 0}, longest=64)
    made.append(DeviceBatches(parts, accelerator, cuda_graphs=True))
    return made[-1]


class Wrapped:
    """A model around batches on a device, which can change its weight."""

    def __init__(self, factor):
        weight[0] = factor
        self._batches = texts()

    def __call__(self, payloads):
        return self._batches(payloads)

    def change(self, factor):
        weight[0] = factor


def wrapped(factor):
    return Wrapped(factor)


@pytest.fixture
def device(monkeypatch):
    """Of the model that a replica builds: its batches on a device."""
    for each in (made, journal, cannot):
        each.clear()
    weight[0] = 1.0
    yield made
    made.clear()


def recorded():
    return made[-1]._accelerator.journal.count("record")  # type: ignore[attr-defined]


def counts(host):
    """Numbers of batches that were replayed, and that ran without a graph."""
    numbers = re.findall(r"[0-9]+", host.told()[-1].how)
    return int(numbers[1]), int(numbers[2])


FOUR = Settings(emulated=True, max_batch_size=4)


def test_under_load_nothing_is_recorded_any_more(device):
    async def run():
        host = HostedModel(Builder(f"{__name__}:texts"), LENGTHS)
        await host.take_on(FOUR)
        before = recorded()
        assert before == 3 * 5  # 4, 2 and 1 rows of 4, 8, 16, 32 and 64
        replayed, without = counts(host)
        for rows in (rows for size in range(1, 5) for rows in itertools.combinations(LENGTHS, size)):
            assert await host(list(rows)) == [float(row) for row in rows]
        assert recorded() == before and counts(host) == (replayed + 30, without), "each batch is a replay"
        await host(list(range(50, 55)))  # a shape that no batch of the samples has
        assert recorded() == before and counts(host) == (replayed + 30, without + 1)

    asyncio.run(run())


def test_graphs_of_what_a_model_was_are_never_replayed(device):
    """The model gives its batches no methods for it: they are found all the same."""

    async def run():
        host = HostedModel(Builder(f"{__name__}:wrapped"), [3, 3])
        settings = Settings(emulated=True, max_batch_size=2, args={"factor": 1.0})
        await host.take_on(settings)
        assert await host([3, 3]) == [3.0, 3.0]
        await host.take_on(replace(settings, args={"factor": 10.0}))
        journal.clear()
        assert await host([3, 3]) == [30.0, 30.0] and journal.count("run") <= 1

    asyncio.run(run())
    assert made[-1]._accelerator.journal.count("forget") == 1  # type: ignore[attr-defined]


def test_what_larger_batches_took_does_not_count_against_smaller_ones(device):
    async def run():
        host = HostedModel(Builder(f"{__name__}:texts"), [60])
        await host.take_on(replace(FOUR, max_batch_size=64))
        [batches] = made
        large = sum(batches._accelerator.allocated)  # type: ignore[attr-defined]
        batches._accelerator.allocated.clear()  # type: ignore[attr-defined]
        await host.take_on(replace(FOUR, max_batch_size=2))
        small = sum(batches._accelerator.allocated)  # type: ignore[attr-defined]
        assert 0 < small < large / 8 and batches._accelerator.journal.count("forget") == 1  # type: ignore[attr-defined]
        assert await host([60, 60]) == [60.0, 60.0]
        before = recorded()
        await host.take_on(replace(FOUR, max_batch_size=2, batch_wait_ms=3))  # nothing has changed for the batches
        assert recorded() == before and not math.isclose(before, 0)
        await host.take_on(replace(FOUR, max_batch_size=64))
        assert recorded() > before, "larger ones are recorded before they are measured"

    asyncio.run(run())


def test_buffers_in_use_are_not_given_up(device):
    batches = texts()
    begun = batches.begin([3])
    with pytest.raises(RuntimeError, match="a batch is in progress"):
        batches.give_up()
    assert batches.finish(begun) == [3.0]
    batches.give_up()
    assert batches([3]) == [3.0]


def test_a_process_in_which_a_recording_failed_takes_on_nothing_more(device):
    """Torch keeps the pool of such a recording, and an entry for it that refers to memory which is used otherwise."""
    cannot.append(RuntimeError("operation not permitted when stream is capturing"))

    async def run():
        host = HostedModel(Builder(f"{__name__}:texts"), [3])
        assert host.spoilt is None
        await host.take_on(FOUR)
        assert await host([3, 3]) == [3.0, 3.0], "it serves on, without graphs"
        assert host.spoilt is not None and "could not be recorded" in host.spoilt
        with pytest.raises(NotRebuilt, match="could not be recorded, .*; a new replica is needed"):
            await host.take_on(replace(FOUR, precision="bfloat16"))
        made.clear()
        await host.close()
        return host.spoilt

    assert asyncio.run(run()) is not None, "also once the model is gone"
    assert "forget" not in journal


def test_memory_that_runs_out_before_the_recording_spoils_nothing(device):
    parts: Any = both([])
    calls = []

    def forward(tensors):
        calls.append(1)
        if len(calls) == 2:  # the first run besides the one that answers
            raise MemoryError("no room")
        return parts.forward(tensors)

    batches = DeviceBatches(replace(parts, forward=forward), FakeAccelerator(), cuda_graphs=True)
    assert batches([(1, 1)]) == [2.0] and batches.spoilt is None and not batches.told()[0].enforced
    batches.give_up()  # then there may be room again
    assert batches([(1, 1)]) == [2.0] and batches.told()[0].enforced


def test_each_thread_has_its_own_batches(device):
    texts()
    assert len(kept_on_device.of_this_thread()) == 1 and kept_on_device.give_up_all()
    made.clear()
    assert not kept_on_device.give_up_all() and kept_on_device.why_spoilt(kept_on_device.of_this_thread()) is None
