"""Replicas that stay between trials: taken from a pool and changed in place where that will do, new where not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from serve_deployments.backend import CouldNotRun, Readied
from serve_deployments.cores import NoRoom, release, reserved
from serve_deployments.pool import Kept, Pool
from serve_deployments.replica import ReplicaFacts
from serve_deployments.serve_backend import ServeBackend, ServeReplica, check_same, delete
from serve_deployments.settings import Settings
from serve_deployments.shared_pool import SharedPool

_NODE_ID = "ray.io/node-id"
_SAME_NODE_S = 1.0
"""How long to wait for cores where an idle replica is before those of any node will do: less than a new one takes."""

_GPU_S = 0.5
"""How long to wait for a GPU before an idle replica has to give up its own."""


@dataclass(frozen=True)
class WarmBackend:
    """Replicas of one model, reused from trial to trial.

    A trial reserves its cores in Ray for itself, and a replica leases them only while it serves: an idle one keeps
    nothing but memory, and a GPU if it has one. A replica of which anything went wrong is taken down: what raised,
    did not answer in time or came back as another process is never used again. If that was a change in place, the
    trial gets a new replica: only what a new one cannot do counts against a configuration.

    Args:
        fresh: deploys the new ones.
        pool: the replicas there are; shared by all trials.
    """

    fresh: ServeBackend
    pool: Pool | SharedPool

    @contextmanager
    def running(self, settings: Settings, name: str) -> Iterator[ServeReplica]:
        """See `Backend.running`."""
        stay = _Stay(self, settings, name)
        try:
            with ExitStack() as stack:
                kept, facts = stay.ready(stack)
                replica = ServeReplica(kept.app, stay.readied)
                yield replica
                after = check_same(facts.pid, replica.park())
                if after.raised == 0:  # else it works, but who knows what its model is like now
                    stay.leave(replace(kept, settings=settings), after)
        finally:
            stay.clear()

    def remove(self, name: str) -> None:
        """See `Backend.remove`."""
        held = self.pool.drop(name)
        # Without a pool, replicas are not handed on, so this one must be the trial's own.
        for app in (self.fresh.app(name),) if self.pool.gone else held:
            delete(app)
        release(self.fresh.app(name))


@dataclass
class _Stay:
    """One trial with its replica; knows what to take down."""

    backend: WarmBackend
    settings: Settings
    name: str
    readied: Readied = field(default_factory=Readied)
    mine: set[str] = field(default_factory=set)

    def ready(self, stack: ExitStack) -> tuple[Kept, ReplicaFacts]:
        """A replica under the settings, on cores that are reserved until the stack is left."""
        with self._timed("reserve"):
            kept, node = self._placed(stack)
        if kept is not None:
            try:
                with self._timed("change"):
                    done = self._changed(kept)
                self.readied = replace(self.readied, in_place=True)
                return done
            except CouldNotRun:
                self.clear()
        with self._timed("deploy"):
            return self._new(node)

    def leave(self, kept: Kept, facts: ReplicaFacts) -> None:
        """Leave the replica to whoever comes next."""
        self.mine.discard(kept.app)
        for app in self.backend.pool.park(self.name, kept, facts.free_memory):
            self._take_down(app, wait=app == kept.app)  # those of others hold no cores that anyone waits for

    def clear(self) -> None:
        """Take down what is still this trial's."""
        for app in tuple(self.mine):
            self._take_down(app)
            self.mine.discard(app)

    def _placed(self, stack: ExitStack) -> tuple[Kept | None, str]:
        """Cores of a node, and an idle replica there if one will do."""
        pool = self.backend.pool
        kept = pool.take(self.name, self.settings)
        if kept is not None:
            try:
                return self._mine(kept), stack.enter_context(self._cores({_NODE_ID: kept.node}, _SAME_NODE_S))
            except NoRoom:
                pool.park(self.name, kept)
                self.mine.discard(kept.app)
        labels = dict(self.settings.node_labels)
        if self.settings.gpu_type is not None:
            labels = {_NODE_ID: self._node_with_gpu(labels)}
        node = stack.enter_context(self._cores(labels, self.backend.fresh.queue_s))
        kept = pool.take(self.name, self.settings, node)
        return (None if kept is None else self._mine(kept)), node

    def _node_with_gpu(self, labels: dict[str, str]) -> str:
        """A node that has cores and a GPU free, if need be because an idle replica there has to go."""
        until = time.monotonic() + self.backend.fresh.queue_s
        while True:
            try:
                # Only to ask: what is reserved here cannot be handed to the replica, whose GPU outlasts the trial.
                with self._cores(labels, _GPU_S, gpus=1) as node:
                    return node
            except NoRoom:
                if time.monotonic() >= until:
                    raise
                self._evict()

    def _evict(self, node: str | None = None) -> None:
        assert self.settings.gpu_type is not None, "only GPUs are evicted for"
        app = self.backend.pool.evict(self.name, self.settings.gpu_type, node)
        if app is not None:
            self._take_down(app)

    def _changed(self, kept: Kept) -> tuple[Kept, ReplicaFacts]:
        facts = ServeReplica(kept.app).change(self.settings, deadline_s=self.backend.fresh.deadline_s)
        return kept, check_same(kept.pid, facts)

    def _new(self, node: str) -> tuple[Kept, ReplicaFacts]:
        fresh, settings = self.backend.fresh, self.settings
        kept = self._mine(Kept(fresh.app(self.name), settings, node))
        for app in self.backend.pool.add(self.name, kept):
            self._take_down(app)
        # The cores are the trial's. Ray would derive the threads of OpenMP from what the actor reserves.
        environment = {"OMP_NUM_THREADS": str(settings.cpu_cores), **settings.environment}
        options: dict[str, Any] = {
            "num_cpus": 0, "label_selector": {_NODE_ID: node}, "runtime_env": {"env_vars": environment},
        }  # fmt: skip
        make_room: Callable[[], None] | None = None
        if settings.gpu_type is not None:
            options["num_gpus"] = 1  # a GPU to itself while it is measured, whatever its share of it
            make_room = lambda: self._evict(node)  # noqa: E731  # another trial may have been quicker
        facts = fresh.deploy(kept.app, settings, options, while_waiting=make_room)
        return replace(kept, pid=facts.pid, changeable=facts.changeable), facts

    def _cores(self, labels: dict[str, str], wait_s: float, gpus: int = 0) -> AbstractContextManager[str]:
        name = self.backend.fresh.app(self.name)
        return reserved(name, self.settings.cpu_cores, labels, wait_s=wait_s, gpus=gpus)

    def _mine(self, kept: Kept) -> Kept:
        self.mine.add(kept.app)
        return kept

    def _take_down(self, app: str, *, wait: bool = True) -> None:
        delete(app, deadline_s=30.0 if wait else 0.0)
        self.backend.pool.forget(app)

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.readied = replace(self.readied, seconds={**self.readied.seconds, part: time.monotonic() - began})
