"""Replicas that are kept between trials: taken from a pool and changed in place if possible, else newly started."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from serve_deployments.backend import CouldNotRun, NoRoom, ReplicaFacts, Startup
from serve_deployments.endpoint import first_line
from serve_deployments.models.model import identity
from serve_deployments.replicas.cores import (
    NODE_ID,
    SHORT_S,
    check_alive,
    is_alive,
    options_on,
    release,
    reserve,
    reserved,
)
from serve_deployments.replicas.serve_backend import ServeBackend, ServeReplica, applications, check, check_same, delete
from serve_deployments.replicas.warm.pool import Pool
from serve_deployments.replicas.warm.shared_pool import SharedPool
from serve_deployments.replicas.warm.transition import WarmReplica
from serve_deployments.settings import Settings


@dataclass(frozen=True)
class WarmBackend:
    """Replicas of one model, reused from trial to trial.

    Cores are reserved in Ray for a serving replica, and stay reserved while it is idle until another trial of the study
    needs cores; its leases on the machine end as soon as it is idle. A replica that failed in any way is taken down:
    one that raised or hangs, did not answer in time or came back as another process is never used again. If a change in
    place failed, the trial gets a new replica: a configuration counts as failed only if it fails on a new one.

    Args:
        fresh: backend that deploys new replicas.
        pool: pool of the live replicas, shared by all trials.
    """

    fresh: ServeBackend
    pool: Pool | SharedPool

    @contextmanager
    def running(self, settings: Settings, name: str) -> Iterator[ServeReplica]:
        """See `Backend.running`."""
        lease = _ReplicaLease(self, settings, name)
        try:
            kept, facts = lease.ready()
            replica = ServeReplica(kept.app, lease.startup, facts.streams)
            yield replica
            after = check_same(facts.pid, replica.park(lease.group, longest_batch_s=facts.longest_batch_s))
            # Else it may work, but the state of its model or process is uncertain.
            if after.raised == after.unanswered == 0 and after.spoilt is None:
                lease.leave(kept, after)
        finally:
            lease.clear()

    def remove(self, name: str) -> None:
        """See `Backend.remove`."""
        take_down(self.pool.drop(name))
        own, groups = self.fresh.app(name), self.pool.groups()
        if self.pool.gone:
            delete(own)  # without a pool, replicas are not handed on, so this one must be the trial's own
        for group in {own, _asking(own)} - groups:
            release(group)  # reserved, but not yet recorded in the pool

    def close(self) -> None:
        """Give back all core reservations at the end of the study; its replicas are deleted elsewhere, by prefix.

        Idle models that have a `close` are closed first: Serve leaves a replica that it deletes a second for it.
        """
        for kept in self.pool.idle():
            if kept.closes:
                close(kept)
        for group in reserved(f"{self.fresh.prefix}-"):
            release(group)

    def sweep(self) -> None:
        """Take down idle replicas once the pool is lost: nobody would use them, and they keep cores, memory and GPUs.

        The replicas themselves are asked whether they are idle, as nobody else knows. One that a trial has taken but
        not yet changed may be taken down too: that trial then gets a new one.
        """
        for app in applications(self.fresh.prefix):
            with suppress(CouldNotRun):  # it does not answer: the trial that measures it takes it down
                if (group := ServeReplica(app).facts().idle_with) is not None:
                    delete(app)
                    release(group)


def take_down(kept: Iterable[WarmReplica], *, wait: bool = True) -> None:
    """Take replicas down and give back their core reservations.

    Args:
        kept: the replicas.
        wait: whether to wait until they are gone.
    """
    for replica in kept:
        if replica.closes:
            close(replica)
        delete(replica.app, deadline_s=30.0 if wait else 0.0)
        if replica.group:
            release(replica.group)


def close(kept: WarmReplica) -> WarmReplica | None:
    """Close the model of an idle replica; returns the replica as it is then, or None if that failed."""
    try:
        facts = check(ServeReplica(kept.app).close())
        check_same(kept.pid, facts)
    except CouldNotRun:
        return None
    return replace(kept, closes=False)


@dataclass
class _ReplicaLease:
    """The replica and the reserved cores of one trial, which it takes down unless they are passed on.

    Args:
        backend: backend of the replicas.
        settings: settings that the trial wants.
        name: the trial's name.
        startup: what was done so far to get the replica, with its times.
        group: name of the core reservation; empty if there is none.
        mine: the replica that the trial holds; None if it holds none.
    """

    backend: WarmBackend
    settings: Settings
    name: str
    startup: Startup = field(default_factory=Startup)
    group: str = ""
    mine: WarmReplica | None = None

    def ready(self) -> tuple[WarmReplica, ReplicaFacts]:
        """Provides a replica under the settings, on cores that stay reserved until `leave` or `clear`."""
        with self._timed("reserve"):
            node = self._place()
            self._close_others(node)
        if self.mine is not None:
            try:
                with self._timed("change"):
                    done = self._changed(self.mine)
                self.startup = replace(self.startup, in_place=True)
                return done
            except CouldNotRun as error:
                self.startup = replace(self.startup, not_changed=first_line(error))
                self._end(self.mine)
        try:
            with self._timed("deploy"):
                return self._new(node)
        except CouldNotRun:
            if is_alive(node):
                raise
            self.clear()
            return self.ready()  # terminates: each time there is one node fewer

    def leave(self, kept: WarmReplica, facts: ReplicaFacts) -> None:
        """Return the replica and its cores to the pool for another trial."""
        left = replace(kept, settings=self.settings, group=self.group, closes=facts.closes)
        gone = self.backend.pool.park(self.name, left, facts.free_memory)
        self.mine, self.group = None, ""
        for old in gone:
            # Other replicas hold no cores that anyone waits for.
            take_down([old], wait=old.app == kept.app)
            self.backend.pool.forget(old.app)

    def clear(self) -> None:
        """Take down the replica and the cores that the trial still holds."""
        if self.mine is not None:
            self._end(self.mine)
        if self.group:
            release(self.group)
            self.group = ""

    def _close_others(self, node: str) -> None:
        """Close the idle models of this node that have a `close`: what they hold, such as a port, others may need."""
        for kept in self.backend.pool.open(self.name, node):
            if (closed := close(kept)) is None:
                self._end(kept)
            else:
                self.backend.pool.park(self.name, closed)

    def _place(self) -> str:
        """Reserve cores on a node and take an idle replica there if one is suitable; returns the node's id."""
        pool = self.backend.pool
        if (kept := self._take()) is not None:
            if self.group:
                return kept.node
            try:
                return self._reserve({NODE_ID: kept.node}, SHORT_S)
            except NoRoom:
                pool.park(self.name, kept)
                self.mine = None
        labels = dict(self.settings.node_labels)
        if self.settings.gpu_type is not None:
            labels = {NODE_ID: self._node_with_gpu(labels)}
        node = self._reserve(labels, self.backend.fresh.queue_s)
        self._take(node)
        return node

    def _take(self, node: str | None = None) -> WarmReplica | None:
        """Take a suitable idle replica from the pool, if there is one, with its core reservation; None if not."""
        model = identity(self.backend.fresh.source)
        self.mine = self.backend.pool.take(self.name, self.settings, node, model)
        while self.mine is not None and not is_alive(self.mine.node):
            self._end(self.mine)
            self.mine = self.backend.pool.take(self.name, self.settings, node, model)
        if self.mine is not None and self.mine.group:
            if self.group:
                release(self.mine.group)  # the trial has reserved cores already
            else:
                self.group = self.mine.group
            self.mine = replace(self.mine, group="")
        return self.mine

    def _reserve(self, labels: dict[str, str], wait_s: float) -> str:
        self._spare()
        name = self.backend.fresh.app(self.name)
        node = reserve(name, self.settings.cpu_cores, labels, wait_s=wait_s)
        self.group = name
        return node

    def _spare(self) -> None:
        """Give back the cores that are reserved for idle replicas."""
        for group in self.backend.pool.spare():
            release(group)
        if self.backend.pool.gone:
            self.backend.sweep()

    def _node_with_gpu(self, labels: dict[str, str]) -> str:
        """Id of a node with cores and a GPU free; takes idle replicas down if necessary."""
        self._spare()
        name, until = _asking(self.backend.fresh.app(self.name)), time.monotonic() + self.backend.fresh.queue_s
        while True:
            try:
                node = reserve(name, self.settings.cpu_cores, labels, wait_s=SHORT_S, gpus=1)
            except NoRoom:
                if time.monotonic() >= until:
                    raise
                self._evict()
            else:
                # Only a query: the reservation cannot be handed to the replica, which keeps its GPU after the trial.
                release(name)
                return node

    def _evict(self, node: str | None = None) -> None:
        assert self.settings.gpu_type is not None, "only GPUs are evicted for"
        kept = self.backend.pool.evict(self.name, self.settings.gpu_type, node)
        if kept is not None:
            self._end(kept)

    def _changed(self, kept: WarmReplica) -> tuple[WarmReplica, ReplicaFacts]:
        fresh = self.backend.fresh
        facts = ServeReplica(kept.app).change(self.settings, kept.pid, fresh.samples, deadline_s=fresh.deadline_s)
        return kept, check(facts)

    def _new(self, node: str) -> tuple[WarmReplica, ReplicaFacts]:
        fresh, settings = self.backend.fresh, self.settings
        kept = self.mine = WarmReplica(fresh.app(self.name), settings, node, model=identity(fresh.source))
        for old in self.backend.pool.add(self.name, replace(kept, group=self.group)):
            self._end(old)
        options = options_on(settings, node)
        if settings.gpu_type is not None:
            options["num_gpus"] = 1  # a GPU to itself while it is measured, whatever its share of it
        facts = fresh.deploy(kept.app, settings, options, while_waiting=lambda: self._make_room(node))
        return replace(kept, pid=facts.pid, changeable=facts.changeable), facts

    def _make_room(self, node: str) -> None:
        """Take down an idle replica if the new one waits for its GPU; raises NodeDied if the node is gone."""
        check_alive(node)
        if self.settings.gpu_type is not None:
            self._evict(node)  # another trial may have been faster

    def _end(self, kept: WarmReplica) -> None:
        take_down([kept])
        self.backend.pool.forget(kept.app)
        if self.mine is not None and self.mine.app == kept.app:
            self.mine = None

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            spent_s = self.startup.seconds.get(part, 0.0) + time.monotonic() - began
            self.startup = replace(self.startup, seconds={**self.startup.seconds, part: spent_s})


def _asking(group: str) -> str:
    """Name of the temporary reservation of cores and a GPU that finds out which node has them."""
    return f"{group}-gpu"
