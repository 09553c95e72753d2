"""A process that measures one model on a fixed number of cores or a fixed share of a GPU.

It is a process of its own because torch's threads, their cores and the share of a GPU are fixed once per process. The
job comes as JSON on stdin; progress goes to stdout, one JSON object per line, so that the parent knows which
configuration was running if the system kills the process for its memory.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from benchmarks.planes.models.catalogue import MODELS
from benchmarks.planes.timing import BATCH, Patience, Row, Timing, left_out, measure
from cluster.gpus import GIB
from serve_deployments.endpoint import is_out_of_memory


@dataclass(frozen=True)
class Job:
    """The job of a worker.

    Args:
        model: name of the model in the catalogue of models.
        device: "cpu" or "cuda".
        cpus: CPUs that the process is pinned to, with one thread each.
        configs: configurations to measure, smaller batches before larger ones.
        rows: rows that earlier processes measured of the same model and first knob.
        patience: the rule by which each point is measured.
    """

    model: str
    device: str
    cpus: Sequence[int]
    configs: Sequence[Row]
    rows: Sequence[Row]
    patience: Patience


def batch_loop(net: torch.nn.Module, inputs: Sequence[torch.Tensor], device: str) -> Callable[[], object]:
    """A function that runs one batch on prepared inputs and returns when the result is there.

    On a GPU, the kernels are recorded once and replayed (CUDA graphs), so that launches from Python cost nothing.
    """
    if device == "cpu":
        return lambda: net(*inputs)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # as torch's notes on CUDA graphs require: a few eager runs on a side stream
        for _ in range(3):
            net(*inputs)
    torch.cuda.synchronize()
    torch.cuda.empty_cache()  # a graph has memory of its own and cannot reuse what those runs cached
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        net(*inputs)

    def replay() -> None:
        graph.replay()
        torch.cuda.synchronize()

    return replay


def prepared(model: str, precision: str, device: str) -> torch.nn.Module:
    torch.manual_seed(0)
    net = next(m for m in MODELS if m.name == model).build().eval()
    # The whole model in this precision: autocast would convert the weights again in each batch.
    net.to(device, getattr(torch, precision))
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def inputs_of(model: str, precision: str, device: str, batch: int) -> list[torch.Tensor]:
    tensors = [t.to(device) for t in next(m for m in MODELS if m.name == model).sample(batch)]
    typed = [t.to(getattr(torch, precision)) if t.is_floating_point() else t for t in tensors]
    return [t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t for t in typed]


def point(job: Job, net: torch.nn.Module, config: Row) -> Timing | None:
    """Measures one configuration; None if there is not enough memory."""
    try:
        inputs = inputs_of(job.model, str(config["precision"]), job.device, int(config[BATCH]))
        return measure(batch_loop(net, inputs, job.device), time.perf_counter, job.patience)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None


def rows(job: Job) -> Iterator[dict[str, object]]:
    """Yields for each configuration that it is tried, then its result; or that it is left out as too long.

    On a GPU it ends after one that ran out of memory: if that was while a graph was recorded, torch keeps the memory.
    """
    known, net, precision = list(job.rows), torch.nn.Module(), None
    for config in job.configs:
        if left_out(config, known, job.patience):
            yield {"left_out": config}
            continue
        yield {"trying": config}
        if job.device == "cuda":
            torch.cuda.empty_cache()
            cap = float(config["gpu_memory_gib"]) * GIB / torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, cap))
        if precision != config["precision"]:
            precision, net = config["precision"], torch.nn.Module()  # free the old model before the new one is built
            try:
                net = prepared(job.model, str(precision), job.device)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                precision = None  # so that it is built again under the next cap
                yield {"row": config, "spread": None, "batches": 0}
                continue
        timing = point(job, net, config)
        row = dict(config)
        if timing is not None:
            row |= {"rps": int(config[BATCH]) / timing.median_s, "latency_ms": 1e3 * timing.median_s}
        known.append(row)
        yield {"row": row, "spread": timing and timing.spread, "batches": timing.batches if timing else 0}
        if timing is None and job.device == "cuda":
            return


def main() -> None:
    fields = json.load(sys.stdin)
    job = Job(**{**fields, "patience": Patience(**fields["patience"])})
    # Threads inherit the affinity, so it is set before torch starts any.
    os.sched_setaffinity(0, job.cpus)
    torch.set_num_threads(len(job.cpus))
    gc.disable()  # nothing here makes cycles, and a collection would slow some batch
    with torch.inference_mode():
        for line in rows(job):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
