"""Load actors that stay between trials: one for each node that a process sends load from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from serve_deployments.measuring.in_cluster.actor import LoadActor
from serve_deployments.serve_path import LOAD_ENVIRONMENT

_ANSWER_S = 5.0
"""A kept actor that says nothing for this long is replaced: it has nothing else to do."""

_kept: dict[str, Any] = {}
"""Of this process, by node: an actor ends with the process that made it, so others could not rely on it."""


@contextmanager
def load_actor(node: str) -> Iterator[Any]:
    """A load actor on a node, for one measurement at a time; kept for the next one, unless something is raised.

    Args:
        node: its id in Ray. The actor is there or nowhere: Ray takes a soft affinity of an actor that asks for no
            resource lightly, and had it on any node. It also takes the actor out of the trial's placement group.
    """
    actor = _kept.pop(node, None)  # taken out: another thread's measurement needs another actor
    if actor is None or not _alive(actor):
        where, environment = NodeAffinitySchedulingStrategy(node, soft=False), {"env_vars": LOAD_ENVIRONMENT}
        actor = ray.remote(LoadActor).options(num_cpus=0, scheduling_strategy=where, runtime_env=environment).remote()
    try:
        yield actor
    except BaseException:
        ray.kill(actor)  # a test may still be running in it, and send requests to nobody knows whom
        raise
    if (other := _kept.get(node)) is not None:
        ray.kill(other)
    _kept[node] = actor


def _alive(actor: Any) -> bool:
    try:
        ray.get(actor.__ray_ready__.remote(), timeout=_ANSWER_S)
    except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
        ray.kill(actor)
        return False
    return True


def release_cores() -> None:
    """End the load actors that this process keeps."""
    while _kept:
        ray.kill(_kept.popitem()[1])
