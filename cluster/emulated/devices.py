"""Emulated hardware: a local Ray cluster with GPU nodes, and a model that sleeps for its service time.

With it the whole path (placement, replicas, batching, load, search) runs on a laptop. The results are the
numbers of `cluster.emulated.roofline`, not of any card, and everything that shows them must say so: the nodes carry a
label, and the model's builder has `emulated = True`.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cluster import gpus
from cluster.emulated import profiles, roofline
from cluster.emulated.shared_card import SharedCard, card_here
from cluster.gpu_names import gpu_names
from cluster.inventory import ACCELERATOR_LABEL, ACCELERATOR_RESOURCE, EMULATED_LABEL
from cluster.starting.own_ray import closed_ray

HEAD_CPU_CORES = 4
"""CPU cores of the head node, which has no GPU: for trials, load and models without a GPU. Our choice."""
GPU_NODE_CPU_CORES = 8
"""CPU cores that each GPU node declares: those of p3.2xlarge and g4dn.2xlarge, as in Morphling (SoCC 2021)."""


class OutOfMemory(RuntimeError):
    """A batch or the model does not fit in memory; replaces torch.OutOfMemoryError where torch is not loaded."""


def parse(spec: str) -> tuple[tuple[gpus.Gpu, int], ...]:
    """`"T4:1,V100:2"` → one node with a T4 and one with two V100s; without a number, one GPU.

    Each entry is a node, so a type may be named several times.
    """
    nodes = []
    for part in spec.split(","):
        name, colon, number = (piece.strip() for piece in part.partition(":"))
        if not name or (colon and not (number.isdecimal() and int(number) >= 1)):
            raise ValueError(
                f"{part.strip()!r} in {spec!r} is not a valid node for an emulated cluster; write "
                "TYPE:COUNT with a count of 1 or more, separated by commas, as in T4:1,V100:2"
            )
        nodes.append((gpu_names.exact(name), int(number) if colon else 1))
    return tuple(nodes)


@contextmanager
def emulated_cluster(spec: str) -> Iterator[str]:
    """A local Ray cluster with emulated GPUs, on loopback; yields its address, and shuts everything down at the end.

    Args:
        spec: the GPU nodes, see `parse`.
    """
    import ray
    from ray.cluster_utils import Cluster

    nodes = parse(spec)  # before anything is started
    with closed_ray():
        cluster = Cluster(initialize_head=False)
        try:
            head = {EMULATED_LABEL: "true"}
            cluster.add_node(num_cpus=HEAD_CPU_CORES, num_gpus=0, include_dashboard=False, labels=head)
            for gpu, count in nodes:
                cluster.add_node(
                    num_cpus=GPU_NODE_CPU_CORES,
                    num_gpus=count,
                    resources={f"{ACCELERATOR_RESOURCE}{gpu.name}": 1},
                    labels={ACCELERATOR_LABEL: gpu.name, EMULATED_LABEL: "true"},
                )
            yield cluster.address
        finally:
            # A driver still connected would wait for a cluster that is gone.
            if ray.is_initialized() and ray.get_runtime_context().gcs_address == cluster.address:
                ray.shutdown()
            cluster.shutdown()


class EmulatedModel:
    """A model that takes as long as the profiled model would on its share of the device; `model` builds one.

    The device serves one batch at a time: a second batch starts when the first one ends. Each batch has a
    deadline on a monotonic clock, so time spent outside the sleep is part of it. The overshoot of a sleep is
    subtracted from a batch that follows at once, so that timers late by a millisecond do not add up to a slower
    model. Other processes on the same card, whose batches run when one begins, leave it less of the memory bandwidth.
    """

    def __init__(
        self,
        profile: roofline.ModelProfile,
        gpu: gpus.Gpu | None,
        *,
        cpu_cores: float,
        gpu_share: float,
        gpu_memory_gib: float | None,
        precision: str,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        card: SharedCard | None = None,
    ) -> None:
        self._profile, self._gpu, self._precision = profile, gpu, precision
        self._cpu_cores, self._gpu_share = cpu_cores, gpu_share
        self._memory_gib = gpu_memory_gib if gpu_memory_gib is not None else gpu.memory_gib if gpu else 0.0
        self._clock, self._sleep, self._card = clock, sleep, card
        self._free_at_s, self._overshoot_s = clock(), 0.0
        self._check_memory(batch=0)
        self.service_time_s(1)  # rejects a wrong share, cores or precision now and not at the first request

    def service_time_s(self, batch: int) -> float:
        """Seconds the device takes for a batch that begins now."""
        return roofline.service_time_s(
            self._profile,
            self._gpu,
            batch=batch,
            cpu_cores=self._cpu_cores,
            gpu_share=self._gpu_share,
            precision=self._precision,
            others=0.0 if self._card is None else self._card.others_ask(self._clock()),
        )

    async def __call__(self, payloads: list[Any]) -> list[Any]:
        """Returns one result per payload after the batch's service time; raises if the batch does not fit in memory."""
        called_s = self._clock()
        if not payloads:
            return []
        self._check_memory(batch=len(payloads))
        takes_s = self.service_time_s(len(payloads))
        deadline_s = max(self._free_at_s, called_s - self._overshoot_s) + takes_s
        self._free_at_s = deadline_s
        if self._card is not None:
            self._card.busy_until(deadline_s)
        while (left_s := deadline_s - self._clock()) > 0:
            await self._sleep(left_s)
        if self._free_at_s == deadline_s:  # no batch is waiting: the next one may start this much earlier,
            # but a process that stood still for seconds must not make up for them in a burst.
            self._overshoot_s = min(self._clock() - deadline_s, takes_s)
        return [{"model": self._profile.name, "batch": len(payloads), "emulated": True} for _ in payloads]

    def _check_memory(self, *, batch: int) -> None:
        need_gib = roofline.memory_gib(self._profile, batch=batch, precision=self._precision)
        if self._gpu is None or need_gib <= self._memory_gib:
            return
        loaded_gib = roofline.memory_gib(self._profile, batch=0, precision=self._precision)
        tried_gib = need_gib if batch == 0 else need_gib - loaded_gib
        # Importing torch takes seconds, too long for its exception alone; a caller that catches it has torch loaded.
        kind = getattr(sys.modules.get("torch"), "OutOfMemoryError", OutOfMemory)
        raise kind(
            f"CUDA out of memory. Tried to allocate {tried_gib:.2f} GiB "
            f"(emulated {self._gpu.name} with {self._memory_gib:.2f} GiB)"
        )


def model(
    *,
    profile: str,
    gpu_type: str | None,
    cpu_cores: float,
    gpu_share: float = 1.0,
    gpu_memory_gib: float | None = None,
    precision: str = "float32",
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    card: SharedCard | None = None,
) -> EmulatedModel:
    """Builds an emulated model: an async callable that takes a batch and returns one result per item.

    Args:
        profile: name of a model in `cluster.emulated.profiles`.
        gpu_type: name or alias of the emulated GPU; None: the model runs on the CPU cores.
        cpu_cores: CPU cores it may use.
        gpu_share: part of the GPU it may use.
        gpu_memory_gib: GPU memory it may use; None: all of the card's.
        precision: precision of weights and arithmetic.
        clock: monotonic clock in seconds.
        sleep: waits for so many seconds.
        card: the card that it shares with other processes; None: in a replica on Ray the one that Ray gave it, else
            one of its own.

    Raises:
        torch.OutOfMemoryError: the weights do not fit (`OutOfMemory` where torch is not loaded); calling the model
            with a batch that does not fit raises the same.
    """
    if card is None and gpu_type is not None:
        card = card_here(roofline.bandwidth_asked(gpu_share))
    return EmulatedModel(
        profiles.profile(profile),
        None if gpu_type is None else gpu_names.find(gpu_type),
        cpu_cores=cpu_cores,
        gpu_share=gpu_share,
        gpu_memory_gib=gpu_memory_gib,
        precision=precision,
        clock=clock,
        sleep=sleep,
        card=card,
    )


model.emulated = True  # type: ignore[attr-defined]
