"""Places for senders: one for each core that no replica leases, on this machine and on others."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from serve_deployments.device.limits import machine_cores, unleased_cores
from serve_deployments.environment.serve_path import LOAD_ENVIRONMENT
from serve_deployments.load.remote_sender import SenderActor

_ANSWER_S = 10.0
"""A machine that does not report its free cores within this time is left out; it has to start a process first."""


@dataclass(frozen=True)
class Place:
    """A place for one sender.

    Args:
        node: Ray's id of the node.
        number: the place's number on its node: 0, 1, ….
        cores: numbers of the node's cores that no replica leases, the same for all its places, so that Ray's own
            threads have room too.
    """

    node: str
    number: int
    cores: frozenset[int] = field(compare=False)

    def start(self) -> Any:
        """Start a sender there and return its actor handle; it ends with this process."""
        where = NodeAffinitySchedulingStrategy(self.node, soft=False)
        options = {"num_cpus": 0, "scheduling_strategy": where, "runtime_env": {"env_vars": LOAD_ENVIRONMENT}}
        return ray.remote(SenderActor).options(**options).remote()


async def free_places() -> list[Place]:
    """All places that are free now, those of this machine first."""
    here, host = ray.get_runtime_context().get_node_id(), socket.gethostname()
    others = {
        node["NodeManagerHostname"]: node["NodeID"]
        for node in ray.nodes()
        if node["Alive"] and node["NodeManagerHostname"] != host
    }
    free = {here: _free_cores(), **dict(zip(others.values(), await _free_on(list(others.values())), strict=True))}
    return [Place(node, number, cores) for node, cores in free.items() for number in range(len(cores))]


async def _free_on(nodes: list[str]) -> list[frozenset[int]]:
    return await asyncio.gather(*(_asked(node) for node in nodes))


async def _asked(node: str) -> frozenset[int]:
    where = NodeAffinitySchedulingStrategy(node, soft=False)
    asked: Any = ray.remote(_free_cores).options(num_cpus=0, scheduling_strategy=where).remote()
    with suppress(TimeoutError, ray.exceptions.RayError):
        cores: frozenset[int] = await asyncio.wait_for(asked, _ANSWER_S)
        return cores
    return frozenset()


def _free_cores() -> frozenset[int]:
    return frozenset(unleased_cores(machine_cores()))
