"""CUDA graphs on the device: all recorded before the load, none of what a model was, and what a failure leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch as real

from serve_deployments.batches.accelerator import Accelerator, Cuda
from serve_deployments.batches.batch_parts import Parts, Tensors
from serve_deployments.batches.device_batches import DeviceBatches
from serve_deployments.fakes.fake_accelerator import FakeAccelerator

_LENGTHS = (3, 9, 20, 40, 60)
_ROWS = 16
_WIDTH = 2048  # numbers of a token: some MiB of scratch memory a graph, so that what is kept can be seen


def parts(weight: real.Tensor, *, looks: bool = False) -> Parts:
    """A model that sums tokens times a weight; with `looks` it waits for the device, which cannot be recorded."""

    def collate(lengths: list[int]) -> Tensors:
        return {"x": real.nn.utils.rnn.pad_sequence([real.ones(n) for n in lengths], batch_first=True)}

    def forward(tensors: Tensors) -> Tensors:
        wide = tensors["x"].unsqueeze(-1).expand(-1, -1, _WIDTH) * weight
        if looks:
            wide[0, 0, 0].item()
        return {"sum": wide.sum(1)[:, 0]}

    return Parts(collate, forward, lambda made: made["sum"].tolist(), {"x": 0.0}, longest=64)


def graphs(job: Any, torch: Any, clock: Callable[[], float]) -> Callable[[], dict[str, Any]]:
    """Records, replays, changes and gives up graphs; then tries to record what cannot be recorded."""
    on_gpu = job.device != "cpu"

    def accelerator() -> Accelerator:
        # The fake cannot see what a model does: it is told that this one cannot be recorded.
        return Cuda() if on_gpu else FakeAccelerator()

    def measure() -> dict[str, Any]:
        weight = real.ones(_WIDTH, device=job.device)
        batches = DeviceBatches(parts(weight), accelerator(), cuda_graphs=True)
        start = clock()
        for numbers in (planned := batches.shapes(list(_LENGTHS), _ROWS, bool)):
            batches([_LENGTHS[number] for number in numbers])
        spent_s, before = clock() - start, batches.told()[0].how
        batches.record(False)
        right = all(batches([n] * rows) == [n] * rows for rows in range(1, _ROWS + 1) for n in _LENGTHS)
        after, held = batches.told()[0].how, torch.cuda.memory_reserved()
        batches.give_up()
        torch.cuda.empty_cache()
        freed, kept = held - torch.cuda.memory_reserved(), torch.cuda.memory_reserved()
        batches.record(True)
        changed = parts(2 * weight)
        again = DeviceBatches(changed, accelerator(), cuda_graphs=True)
        doubled = all(again([n, n]) == [2 * n, 2 * n] for _ in range(2) for n in _LENGTHS)
        return {
            "shapes": len(planned), "seconds": spent_s, "before": before, "after": after, "right": right,
            "freed_bytes": freed, "kept_bytes": kept, "doubled": doubled, **failed(weight, job.device, torch),
        }  # fmt: skip

    return measure


def failed(weight: real.Tensor, device: str, torch: Any) -> dict[str, Any]:
    """Tries to record a model that waits for the device: what it says, and the bytes that stay once it is gone."""
    cannot = FakeAccelerator(cannot_record=RuntimeError("operation not permitted when stream is capturing"))
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    batches = DeviceBatches(parts(weight, looks=True), Cuda() if device != "cpu" else cannot, cuda_graphs=True)
    answers = batches([3, 3])
    said, spoilt = batches.told()[0].how, batches.spoilt
    del batches
    torch.cuda.empty_cache()
    return {
        "failed": said, "spoilt": spoilt, "serves_on": answers == [3, 3],
        "leaked_bytes": torch.cuda.memory_reserved() - before,
    }  # fmt: skip
