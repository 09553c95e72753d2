"""A `Pool` shared by all trial processes of a job, in a Ray actor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from serve_deployments.metrics.shown.gauges import Gauges
from serve_deployments.metrics.shown.series import WARM_REPLICAS
from serve_deployments.replicas.warm.pool import MOST_IDLE, Pool
from serve_deployments.replicas.warm.transition import WarmReplica
from serve_deployments.settings import Settings

T = TypeVar("T")


class SharedPool:
    """A `Pool` in an actor. If the actor is gone, there are no idle replicas any more, and trials use new ones.

    Args:
        actor: handle of `ray.remote(Pool)`.
    """

    def __init__(self, actor: Any) -> None:
        self._actor = actor
        self.gone = False

    def take(self, trial: str, settings: Settings, node: str | None = None, model: str = "") -> WarmReplica | None:
        """See `Pool.take`."""
        return self._ask(None, self._actor.take, trial, settings, node, model)

    def add(self, trial: str, kept: WarmReplica) -> tuple[WarmReplica, ...]:
        """See `Pool.add`."""
        return self._ask((), self._actor.add, trial, kept)

    def park(self, trial: str, kept: WarmReplica, free_memory: float | None = None) -> tuple[WarmReplica, ...]:
        """See `Pool.park`; if the pool is gone, the replica is to be taken down."""
        return self._ask((kept,), self._actor.park, trial, kept, free_memory)

    def evict(self, trial: str, gpu_type: str, node: str | None = None) -> WarmReplica | None:
        """See `Pool.evict`."""
        return self._ask(None, self._actor.evict, trial, gpu_type, node)

    def open(self, trial: str, node: str) -> tuple[WarmReplica, ...]:
        """See `Pool.open`."""
        return self._ask((), self._actor.open, trial, node)

    def forget(self, app: str) -> None:
        """See `Pool.forget`; does not wait for the actor."""
        self._actor.forget.remote(app)

    def drop(self, trial: str) -> tuple[WarmReplica, ...]:
        """See `Pool.drop`."""
        return self._ask((), self._actor.drop, trial)

    def spare(self) -> tuple[str, ...]:
        """See `Pool.spare`."""
        return self._ask((), self._actor.spare)

    def groups(self) -> frozenset[str]:
        """See `Pool.groups`."""
        return self._ask(frozenset(), self._actor.groups)

    def idle(self) -> tuple[WarmReplica, ...]:
        """See `Pool.idle`."""
        return self._ask((), self._actor.idle)

    def held(self) -> dict[str, str]:
        """See `Pool.held`."""
        return self._ask({}, self._actor.held)

    def _ask(self, gone: T, method: Any, *args: Any) -> T:
        try:
            answer: T = ray.get(method.remote(*args))
        except ray.exceptions.RayActorError:
            self.gone = True
            return gone
        return answer


class _Shown:
    """Shows by a gauge how many replicas there are."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._gauges = Gauges([WARM_REPLICAS], labels)

    def __call__(self, idle: int, held: int) -> None:
        self._gauges.set(WARM_REPLICAS, idle, state="idle")
        self._gauges.set(WARM_REPLICAS, held, state="held by a trial")


@contextmanager
def shared_pool(most_idle: int = MOST_IDLE, labels: Mapping[str, str] | None = None) -> Iterator[SharedPool]:
    """Provides a pool for all processes of this job, on this process's node; it ends with the context or the job.

    Args:
        most_idle: see `Pool`.
        labels: labels of the gauge that shows how many replicas it has; None or empty: that is not shown.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    named = {"name": f"raytune-infer: replicas of {labels['study']}, {labels['run']}"} if labels else {}
    make: Callable[..., Any] = ray.remote(Pool).options(num_cpus=0, scheduling_strategy=here, **named).remote
    actor = make(most_idle, shown_to=_Shown(labels) if labels else None)
    try:
        yield SharedPool(actor)
    finally:
        ray.kill(actor)
