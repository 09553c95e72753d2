"""The configurations that `planes` measures, their prices, and how long the measurement will take."""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.planes.timing import BATCH, Patience, Row, Value
from cluster.nvml import mps_running
from serve_deployments.settings import gpu_part

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
QUICK_BATCHES = (1, 2, 4)

# Only for the forecast of the duration: seconds until a worker has torch and its model, and the fraction of a large
# product's rate that whole models reach, both as seen in short trials on a Xeon with AMX.
WORKER_START_S = 4.0
PART_OF_PEAK = 0.6


@dataclass(frozen=True)
class Grid:
    """The space of configurations, the device that they are measured on, and prices.

    Args:
        device: "cpu" or "cuda".
        knobs: name → values in order. A worker process has one value of the first knob; batch sizes come last.
        usd_per_core: price of a CPU core for an hour.
        usd_per_gpu: price of a whole GPU for an hour, without CPU cores; 0 on the CPU.
        price_source: where the prices come from.
    """

    device: str
    knobs: Mapping[str, Sequence[Value]]
    usd_per_core: float
    usd_per_gpu: float
    price_source: str

    def configs(self) -> list[dict[str, Value]]:
        """All configurations, the last knob varying fastest: batch sizes ascend."""
        return [dict(zip(self.knobs, values, strict=True)) for values in itertools.product(*self.knobs.values())]

    def usd_per_hour(self, config: Row) -> float:
        """Price of a configuration: its cores, or one core and its part of a GPU, as a study prices it."""
        if self.device == "cpu":
            return self.usd_per_core * float(config["cpu_cores"])
        total_gib = max(float(gib) for gib in self.knobs["gpu_memory_gib"])
        part = gpu_part(float(config["gpu_share"]), float(config["gpu_memory_gib"]) / total_gib)
        return self.usd_per_core + self.usd_per_gpu * part


def physical_cpus() -> list[int]:
    """One logical CPU of each core that this process may use: two threads of one core are not two cores."""
    cores: dict[str, int] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.setdefault(siblings.read_text() if siblings.exists() else str(cpu), cpu)
    return list(cores.values())


def ask(asked: argparse.Namespace) -> Grid:
    """The grid that the command line asks for.

    Raises:
        ValueError: more cores are asked for than there are, or a GPU where there is none.
    """
    if asked.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda requested, but torch sees no GPU; leave it out to measure on the CPU")
    usd_core, usd_gpu, source = asked.usd_per_core, asked.usd_per_gpu, "given on the command line"
    if usd_core is None or (asked.device == "cuda" and usd_gpu is None):
        from cluster.prices import load_prices  # needs pyyaml, which may not be installed

        book = load_prices()
        usd_core, source = book.cpu_core_usd_per_hour, f"price book {book.name} of {book.date}: {book.source}"
        if asked.device == "cuda":
            gpu = torch.cuda.get_device_name()
            usd_gpu = book.usd_per_hour(cpu_cores=0, gpu_type=gpu, gpu_share=1.0)
    batches = tuple(asked.batches or (QUICK_BATCHES if asked.quick else BATCHES))
    if asked.device == "cuda":
        # Without MPS a share of the compute cannot be enforced.
        shares = tuple(asked.gpu_shares) if mps_running() else (1.0,)
        total_gib = torch.cuda.get_device_properties(0).total_memory / 2**30
        caps = tuple(round(total_gib * part, 2) for part in sorted(asked.gpu_memory))
        precisions = ("float32", "float16", "bfloat16")
        knobs = {"gpu_share": shares, "gpu_memory_gib": caps, "precision": precisions, BATCH: batches}
        return Grid("cuda", knobs, usd_core, usd_gpu, source)
    there = len(physical_cpus())
    cores = tuple(asked.cores or sorted({2**k for k in range(there.bit_length())} | {there}))
    if max(cores) > there:
        raise ValueError(f"{max(cores)} cores requested, but this process may use {there}; lower --cores")
    knobs = {"cpu_cores": cores, "precision": ("float32", "bfloat16"), BATCH: batches}
    return Grid("cpu", knobs, usd_core, 0.0, source)


def planned_s(grid: Grid, known: Mapping[str, Mapping[str, float]], patience: Patience) -> tuple[float, float]:
    """The seconds that all models will take: an estimate, and a maximum.

    Args:
        grid: the grid of configurations.
        known: facts of each model by name.
        patience: the rule by which each point is measured.
    """
    rates = {str(precision): probe(grid.device, str(precision)) for precision in grid.knobs["precision"]}
    first = next(iter(grid.knobs))
    about = most = WORKER_START_S * len(known) * len(grid.knobs[first])
    for facts_, config in itertools.product(known.values(), grid.configs()):
        units = float(config.get("cpu_cores", config.get("gpu_share", 1.0)))
        rate = rates[str(config["precision"])] * PART_OF_PEAK * units
        batch_s = float(config[BATCH]) * facts_["gflop_per_item"] * 1e9 / rate
        if batch_s <= patience.batch_limit_s:
            few = (patience.least_batches + 1) * batch_s  # and one to warm up
            about += max(patience.least_s * 1.2, min(few + 3 * batch_s, patience.most_s), few)
            most += max(patience.least_s * 1.2 + patience.most_s, few)
    return about, most


def probe(device: str, precision: str, side: int = 1024) -> float:
    """FLOP/s of a large matrix product on one core or the whole GPU; takes a quarter of a second."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    x = torch.randn(side, side, device=device).to(getattr(torch, precision))
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        (x @ x).sum().item()  # .item() waits for a GPU
        best = min(best, time.perf_counter() - start)
    torch.set_num_threads(threads)
    return 2 * side**3 / best
