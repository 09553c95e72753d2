"""Cores reserved in Ray apart from the replica that runs on them.

A replica reserves none itself: so one that is idle need keep none, and one with two cores and one with a single core
can both stay warm on a machine of two.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import suppress

import ray
from ray._private.state import available_resources_per_node
from ray.util.placement_group import (
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from serve_deployments.backend import DeployTimeout

_SEEN_S = 0.3
"""How long to wait until Ray sees that cores were given back. It does after 0.1 s (2.60), but a group that is asked for
before that is tried again only after up to 1 s more."""
_POLL_S = 0.01


class NoRoom(DeployTimeout):
    """No node had the cores free in time."""


def reserve(name: str, cores: int, labels: Mapping[str, str], *, wait_s: float, gpus: int = 0) -> str:
    """Reserve cores of one node until `release`; returns the node's id.

    A group is no process's: it outlives the one that asked for it, up to the end of the job (Ray 2.60 lets it outlive
    the actor that made it, unless that was detached).

    Args:
        name: what `release` knows it by; unique.
        cores: how many.
        labels: Ray's label selector of the nodes that will do.
        wait_s: how long to wait for them, in whole seconds, as Ray counts.
        gpus: whole GPUs on top.

    Raises:
        NoRoom: they did not become free; nothing is reserved.
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
        f"{bundle}{where} found no room in {wait_s:g} s; free the resources, add a node that has them, "
        "or drop the value"
    )


def _has_room(bundle: Mapping[str, float], labels: Mapping[str, str]) -> bool:
    """Whether Ray sees all of it free on one node. Of the labels those that name one value are looked at."""
    free = available_resources_per_node()
    nodes = [node for node in ray.nodes() if node["Alive"]]
    for key, value in labels.items():
        if not value.startswith(("!", "in(")):
            nodes = [node for node in nodes if node["Labels"].get(key) == value]
    return any(
        all(free.get(node["NodeID"], {}).get(name, 0.0) >= amount for name, amount in bundle.items()) for node in nodes
    )


def reserved(prefix: str) -> tuple[str, ...]:
    """Names of all groups that begin so, whoever made them."""
    groups = placement_group_table().values()
    return tuple(g["name"] for g in groups if g["name"].startswith(prefix) and g["state"] != "REMOVED")


def is_alive(node: str) -> bool:
    """Whether a node is there, as far as Ray knows: of one that died at once, it learns after seconds."""
    return any(each["NodeID"] == node and each["Alive"] for each in ray.nodes())


def release(name: str) -> None:
    """Give back what was reserved under a name; harmless if nothing was."""
    with suppress(ValueError):  # there is none, as Ray says it
        remove_placement_group(get_placement_group(name))
