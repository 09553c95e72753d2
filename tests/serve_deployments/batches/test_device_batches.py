"""Batches on a device: the same answers as on the CPU, however late the device's copies are; and graphs by shape."""

import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from serve_deployments.batches import accelerator
from serve_deployments.batches.batch_parts import Parts, TwoSteps
from serve_deployments.batches.cuda_graphs import Graphs
from serve_deployments.batches.device_batches import DeviceBatches
from serve_deployments.batches.fast_batches import fast_batches
from serve_deployments.batches.packing import Layout, bucket, buckets_up_to
from serve_deployments.batches.plain_batches import PlainBatches
from serve_deployments.fakes.fake_accelerator import FakeAccelerator
from serve_deployments.models.model import Builder
from serve_deployments.replicas.hosting import HostedModel
from serve_deployments.resources.enforcement import Enforcement
from serve_deployments.settings import Settings
from tests.repository import ROOT

torch.manual_seed(0)
WORDS = torch.randn(50, 6)


def texts(filling=("ids", "mask")):
    """The mean of the words of a text, and its length: a model whose answers do not depend on what is filled up."""

    def collate(payloads):
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(p) for p in payloads], batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(p)) for p in payloads], batch_first=True)
        return {"ids": ids, "mask": mask}

    def forward(tensors):
        mask = tensors["mask"]
        total = (WORDS[tensors["ids"]] * mask.unsqueeze(-1)).sum(1)
        return {"mean": total / mask.sum(1, keepdim=True), "words": mask.sum(1).to(torch.int64)}

    def split(made):
        return list(zip(made["mean"].tolist(), made["words"].tolist(), strict=True))

    return Parts(collate, forward, split, dict.fromkeys(filling, 0), longest=12)


BATCHES = [[[1, 2, 3]], [[4], [5, 6]], [[7, 8, 9, 10, 11], [12], [13, 14]], [[15, 16, 17]], [[18] * 11] * 9]


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_a_device_answers_as_the_cpu_does_however_late_it_is(cuda_graphs):
    plain = PlainBatches(texts())
    device = DeviceBatches(texts(), FakeAccelerator(), cuda_graphs=cuda_graphs)
    for batch in BATCHES * 2:
        for (mean, words), (told, counted) in zip(device(batch), plain(batch), strict=True):
            assert mean == pytest.approx(told, rel=1e-6) and words == counted


def test_two_batches_are_under_way_and_each_gets_its_own_answers():
    plain, device = PlainBatches(texts()), DeviceBatches(texts(), FakeAccelerator())
    begun = device.begin(BATCHES[0])
    for batch, after in zip(BATCHES, BATCHES[1:], strict=False):
        following = device.begin(after)
        with pytest.raises(RuntimeError, match="2 batches are already in progress"):
            device.begin(batch)
        assert device.finish(begun) == plain(batch)
        begun = following
    assert device.finish(begun) == plain(BATCHES[-1])


def test_results_do_not_change_when_their_buffers_are_used_again():
    parts = Parts(lambda rows: {"x": torch.tensor(rows)}, lambda t: t, lambda t: list(t["x"].numpy()))
    device = DeviceBatches(parts, FakeAccelerator())
    kept = [device([[float(i)]]) for i in range(4)]
    assert [float(rows[0][0]) for rows in kept] == [0, 1, 2, 3]


def test_one_copy_each_way_and_each_waits_for_what_it_needs():
    accelerator = FakeAccelerator()
    DeviceBatches(texts(), accelerator)(BATCHES[2])
    waits = ["compute waits for copy in", "copy out waits for compute"]
    assert accelerator.journal == ["copy in", *waits, "copy out"]


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_memory_of_the_device_belongs_to_the_stream_that_writes_it(cuda_graphs):
    """The allocator hands memory out again while its stream still uses it, as what comes later there waits anyway."""
    accelerator = FakeAccelerator()
    device = DeviceBatches(texts(), accelerator, cuda_graphs=cuda_graphs)
    begun = [device.begin(batch) for batch in (BATCHES[0], BATCHES[2])]
    of_graphs = ["compute", "compute"] if cuda_graphs else []  # what a graph reads and writes
    assert accelerator.owners == ["copy in", "compute", *of_graphs] * 2
    assert [len(device.finish(each)) for each in begun] == [1, 3]


def test_buffers_are_used_again_and_grow():
    accelerator = FakeAccelerator()
    device = DeviceBatches(texts(), accelerator)
    for _ in range(10):
        device(BATCHES[0])
    assert len(accelerator.allocated) == 8  # in and out, host and device, twice
    for _ in range(10):
        device([[1] * 12] * 40)
    assert len(accelerator.allocated) == 16 and accelerator.allocated[-1] > accelerator.allocated[0]


def test_a_batch_that_fails_leaves_room_for_the_next():
    def forward(tensors):
        if len(tensors["x"]) > 1:
            raise MemoryError("no room for two")
        return tensors

    parts = Parts(lambda rows: {"x": torch.tensor(rows)}, forward, lambda t: t["x"].tolist())
    device = DeviceBatches(parts, FakeAccelerator())
    for _ in range(5):
        with pytest.raises(MemoryError, match="no room"):
            device([1.0, 2.0])
    assert device([3.0]) == [3.0]
    with pytest.raises(ValueError, match="0 results for 1 payloads"):
        DeviceBatches(Parts(parts.collate, forward, lambda t: []), FakeAccelerator())([3.0])


def test_similar_shapes_share_a_graph():
    accelerator, parts, shapes = FakeAccelerator(), texts(), []

    def forward(tensors):
        shapes.append(tuple(tensors["ids"].shape))
        return parts.forward(tensors)

    device = DeviceBatches(replace(parts, forward=forward), accelerator, cuda_graphs=True)
    for batch in ([[1] * 5] * 3, [[1] * 8] * 4, [[1, 2]] * 3 + [[1] * 6]):
        device(batch)
    assert accelerator.journal.count("record") == 1
    device([[1] * 11] * 3)  # would be filled up to 16, but 12 is the longest
    device([[1] * 9] * 4)
    device([[1] * 14])  # longer than the longest: as it is, since nothing of a text may be lost
    assert set(shapes) == {(4, 8), (4, 12), (1, 14)}
    [told] = device.told()
    assert told.enforced and told.how == "3 recorded, 3 batches replayed, 3 run without"


def test_a_model_that_cannot_be_recorded_runs_without_and_says_why():
    accelerator = FakeAccelerator(cannot_record=RuntimeError("operation not permitted when stream is capturing\nmore"))
    device = DeviceBatches(texts(), accelerator, cuda_graphs=True)
    assert [len(device(batch)) for batch in BATCHES] == [len(batch) for batch in BATCHES]
    [told] = device.told()
    assert not told.enforced
    assert told.how.endswith(
        "5 run without; recording failed: RuntimeError: operation not permitted when stream is capturing"
    )


class EndsBadly(FakeAccelerator):
    """As torch does it: what is raised while a graph is recorded breaks the end of the recording too."""

    def capture(self, run, stream):
        try:
            raise MemoryError("no room for 2 GiB")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")


def test_of_a_recording_that_failed_the_first_error_is_told():
    device = DeviceBatches(texts(), EndsBadly(), cuda_graphs=True)
    assert len(device(BATCHES[0])) == 1
    assert device.told()[0].how.endswith("recording failed: no room for 2 GiB")


def test_the_least_recently_used_graph_goes_first():
    accelerator, seen = FakeAccelerator(), []
    stream = accelerator.compute_stream()

    def forward(tensors):
        seen.append(1)
        return tensors

    graphs = Graphs(forward, accelerator, stream, most=2)

    def run(size):
        batch = {"x": torch.zeros(size)}
        layout = Layout.of(batch)
        buffer = torch.zeros(layout.size_bytes, dtype=torch.uint8)
        seen.clear()
        with accelerator.on(stream):
            graphs(layout, buffer, lambda n: torch.zeros(n, dtype=torch.uint8))
        return len(seen) == 1  # a replay, not a first run with warm-ups

    assert [run(size) for size in (1, 2, 1, 3, 1, 2)] == [False, False, True, False, True, False]


def test_tensors_of_every_kind_are_packed_and_found_again():
    tensors = {
        "half": torch.randn(3, 5, dtype=torch.bfloat16), "flags": torch.tensor([True, False, True]),
        "ids": torch.arange(6).view(3, 2).t(), "scalar": torch.tensor(2.5), "none": torch.empty(0, 4),
    }  # fmt: skip
    layout = Layout.of(tensors)
    buffer = torch.zeros(layout.size_bytes, dtype=torch.uint8)
    layout.write(buffer, tensors)
    for name, view in layout.views(buffer).items():
        assert view.storage_offset() * view.element_size() % 256 == 0 and torch.equal(view, tensors[name])


def test_filling_repeats_a_row_and_hides_in_the_mask():
    tensors = {"ids": torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), "mask": torch.ones(3, 3), "table": torch.ones(7)}
    layout = Layout.of(tensors).filled(3, {"ids": 0, "mask": 0}, longest=None)
    buffer = torch.full((layout.size_bytes,), 0xA5, dtype=torch.uint8)
    layout.write(buffer, tensors, {"ids": 9, "mask": 0})
    views = layout.views(buffer)
    assert views["ids"].tolist() == [[1, 2, 3, 9], [4, 5, 6, 9], [7, 8, 9, 9], [1, 2, 3, 9]]
    assert views["mask"].sum(1).tolist() == [3, 3, 3, 3] and views["table"].shape == (7,)


def test_buckets_hold_what_goes_in_and_waste_little():
    sizes = [bucket(n) for n in range(1, 2000)]
    assert all(size >= n and bucket(size) == size for n, size in enumerate(sizes, 1)) and sizes == sorted(sizes)
    assert all(size <= 1.25 * n + 1 for n, size in enumerate(sizes, 1) if n > 32)
    assert buckets_up_to(10) == (16, 8, 4, 2, 1)
    assert len(buckets_up_to(64)) * len(buckets_up_to(512)) <= 256


def test_without_a_gpu_the_parts_run_as_they_are():
    batch: Any = fast_batches(texts(), "cpu", cuda_graphs=True)
    assert isinstance(batch, PlainBatches) and not isinstance(batch, TwoSteps)
    assert [told.how for told in batch.told()] == ["CUDA graphs are not available on 'cpu'"]
    assert isinstance(DeviceBatches(texts(), FakeAccelerator()), TwoSteps)
    assert batch.first_sizes(10) == (10,)
    every: Any = fast_batches(texts(), every_size=True)
    assert every.first_sizes(10) == (10, 8, 4, 2, 1)


COMPILED = Enforcement("compile", "default", True, "by hand")


@pytest.mark.parametrize("told", [(), (COMPILED,)])
@pytest.mark.parametrize("cuda_graphs", [False, True])
@pytest.mark.parametrize("every_size", [False, True])
def test_on_a_gpu_what_was_asked_for_is_done_and_told(monkeypatch, cuda_graphs, told, every_size):
    devices, made = [], FakeAccelerator()

    def cuda(device):
        devices.append(device)
        return made

    monkeypatch.setattr(accelerator, "Cuda", cuda)
    batch: Any = fast_batches(texts(), "cuda:1", cuda_graphs=cuda_graphs, told=told, every_size=every_size)
    assert devices == ["cuda:1"] and batch.first_sizes(4) == ((4, 2, 1) if cuda_graphs or every_size else (4,))
    for _ in range(2):
        assert batch(BATCHES[1]) == PlainBatches(texts())(BATCHES[1])
    graphs = Enforcement("cuda_graphs", "True", True, "1 recorded, 1 batches replayed, 1 run without")
    assert batch.told() == (*told, *([graphs] if cuda_graphs else []))
    assert made.journal.count("record") == cuda_graphs


def late():
    """As `model.build`: a model on a device that is not there."""
    return DeviceBatches(texts(), FakeAccelerator(), cuda_graphs=True)


def test_a_replica_begins_a_batch_while_another_computes():
    async def run():
        model = HostedModel(Builder(f"{__name__}:late"), [[1, 2], [3]])
        await model.take_on(Settings(max_batch_size=3, emulated=True))
        # 3, 2 and 1 payloads to begin with, so that little is recorded under load.
        assert model.live.ahead == 1 and int(model.told()[-1].how.split()[0]) >= 3
        both = await asyncio.gather(model(BATCHES[2]), model(BATCHES[0]))
        assert both == [PlainBatches(texts())(BATCHES[2]), PlainBatches(texts())(BATCHES[0])]

    asyncio.run(run())


def test_the_builder_in_the_docs_works():
    text = (ROOT / "docs" / "service-yaml.md").read_text(encoding="utf-8")
    [code] = [found for found in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "fast_batches" in found]
    names: dict[str, Any] = {}
    exec(code, names)
    rows = names["build"](size=3)([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert len(rows) == 2 and len(rows[0]) == 2
