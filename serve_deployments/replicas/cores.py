"""Reservations of cores in Ray, separate from the replicas that run on them.

A replica itself reserves no cores: so an idle one need not keep any, and a replica with two cores and one with a single
core can both stay warm on a machine with two cores.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any

import ray
from ray._private.state import available_resources_per_node
from ray.util.placement_group import (
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from serve_deployments.backend import NodeDied, NoRoom
from serve_deployments.settings import Settings

NODE_ID = "ray.io/node-id"
"""Ray's label of a node with its id."""
SHORT_S = 2.0
"""Seconds to wait for cores on the node of an idle replica before any node is considered, and for a GPU before an
idle replica is taken down for it. Ray takes up to 1 s to see that a resource has become free."""

_SEEN_S = 0.3
"""Seconds to wait for Ray to see that cores were given back. It does after 0.1 s (Ray 2.60), but a placement group that
is requested earlier is retried only after up to 1 s more."""
_POLL_S = 0.01


def reserve(name: str, cores: int, labels: Mapping[str, str], *, wait_s: float, gpus: int = 0) -> str:
    """Reserve cores of one node by a placement group, until `release`; returns the node's id.

    A placement group belongs to no process: it outlives the one that requested it, up to the end of the job (in Ray
    2.60 it outlives the actor that created it, unless that was detached).

    Args:
        name: unique name of the reservation, for `release`.
        cores: number of cores.
        labels: Ray's label selector of the suitable nodes.
        wait_s: how long to wait, rounded up to whole seconds, as Ray counts them.
        gpus: number of whole GPUs to reserve as well.

    Raises:
        NoRoom: the resources did not become free in time; nothing is reserved.
    """
    bundle = {"CPU": float(cores)} | ({"GPU": float(gpus)} if gpus else {})
    until = time.monotonic() + min(_SEEN_S, wait_s)
    while not _has_room(bundle, labels) and time.monotonic() < until:
        time.sleep(_POLL_S)
    group = placement_group([bundle], name=name, bundle_label_selector=[dict(labels)] if labels else None)
    try:
        # Not group.ready(): that starts a task, in a process of its own.
        if group.wait(math.ceil(wait_s)):
            node: str = placement_group_table(group)["bundles_to_node_id"][0]
            return node
    except BaseException:
        remove_placement_group(group)
        raise
    remove_placement_group(group)
    where = f" with labels {dict(labels)}" if labels else ""
    raise NoRoom(
        f"no node{where} had {bundle} free within {wait_s:g} s; free these resources, add a node that has them, "
        "or remove this value from the search"
    )


def _has_room(bundle: Mapping[str, float], labels: Mapping[str, str]) -> bool:
    """Whether Ray sees all resources of the bundle free on one node; of the labels, only single values are checked."""
    free = available_resources_per_node()
    nodes = [node for node in ray.nodes() if node["Alive"]]
    for key, value in labels.items():
        if not value.startswith(("!", "in(")):
            nodes = [node for node in nodes if node["Labels"].get(key) == value]
    return any(
        all(free.get(node["NodeID"], {}).get(name, 0.0) >= amount for name, amount in bundle.items()) for node in nodes
    )


def reserved(prefix: str) -> tuple[str, ...]:
    """Names of all reservations with this prefix, whichever process made them."""
    groups = placement_group_table().values()
    return tuple(g["name"] for g in groups if g["name"].startswith(prefix) and g["state"] != "REMOVED")


def is_alive(node: str) -> bool:
    """Whether a node is alive, as far as Ray knows: it notices a sudden death only after seconds."""
    return any(each["NodeID"] == node and each["Alive"] for each in ray.nodes())


def check_alive(node: str) -> None:
    """Raise NodeDied if a node is gone, as far as Ray knows."""
    if not is_alive(node):
        raise NodeDied(f"node {node} is gone")


def options_on(settings: Settings, node: str, more: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """Serve's `ray_actor_options` for a replica on a node where its cores are reserved.

    Args:
        settings: settings of the replica.
        node: id of the node.
        more: environment variables beside those of the settings.
    """
    # The cores are reserved by the trial, not the actor, from whose number Ray would derive OpenMP's threads.
    environment = {"OMP_NUM_THREADS": str(settings.cpu_cores), **settings.environment, **more}
    return {"num_cpus": 0, "label_selector": {NODE_ID: node}, "runtime_env": {"env_vars": environment}}


def release(name: str) -> None:
    """Give back the reservation of this name; harmless if there is none."""
    with suppress(ValueError):  # raised by Ray if there is no such group
        remove_placement_group(get_placement_group(name))
