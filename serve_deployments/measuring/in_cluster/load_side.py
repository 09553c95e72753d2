"""Load actors that are kept between trials: one for each node that this process sends load from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from serve_deployments.environment.serve_path import LOAD_ENVIRONMENT
from serve_deployments.measuring.in_cluster.actor import LoadActor

_ANSWER_S = 5.0
"""Seconds within which a kept actor must answer, or it is replaced: it is idle, so it should answer at once."""

_kept: dict[str, Any] = {}
"""Node → the load actor that this process keeps there. An actor ends with the process that created it, so it is not
shared with other processes."""


@contextmanager
def load_actor(node: str) -> Iterator[Any]:
    """Provides a load actor on a node for one measurement; it is kept for the next one unless an exception is raised.

    Args:
        node: Ray's id of the node. The affinity is hard: with a soft one, Ray may place an actor that reserves no
            resources on any node. It also keeps the actor out of the trial's placement group.
    """
    actor = _kept.pop(node, None)  # removed: the measurement of another thread needs another actor
    if actor is None or not _alive(actor):
        where, environment = NodeAffinitySchedulingStrategy(node, soft=False), {"env_vars": LOAD_ENVIRONMENT}
        actor = ray.remote(LoadActor).options(num_cpus=0, scheduling_strategy=where, runtime_env=environment).remote()
    try:
        yield actor
    except BaseException:
        ray.kill(actor)  # a test may still be running in it and sending requests
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
