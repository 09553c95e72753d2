"""A fake backend with exactly known replicas, for whole studies in seconds, without Serve and in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from serve_deployments.backend import CouldNotRun, ReplicaFacts, Running, Startup
from serve_deployments.endpoint import Endpoint, Payload
from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.load.asking import AskingBounds, ask
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.metrics.answers.content import Content, Unanswered
from serve_deployments.metrics.measurement import Measurement
from serve_deployments.replicas.warm.pool import Pool
from serve_deployments.replicas.warm.shared_pool import SharedPool
from serve_deployments.replicas.warm.transition import WarmReplica
from serve_deployments.settings import Settings

_STARTING = Lock()
"""Neighbours start at the same time, each in a thread. Not a field: backends are sent to other processes."""


@dataclass(frozen=True)
class FakeReplica:
    """A fake replica: a server that forms batches like a real one.

    Args:
        endpoint: the server.
        startup: how it was brought to its settings, with times in virtual seconds.
        card: the servers on its GPU, itself among them.
    """

    endpoint: Endpoint
    startup: Startup = field(default_factory=Startup)
    card: list[FakeServer] = field(default_factory=list)

    def facts(self) -> ReplicaFacts:
        """Facts of a healthy replica that is on no machine."""
        return ReplicaFacts("fake", 0, (), (), "cpu", None, None)


@dataclass
class FakeBackend:
    """A backend of fake replicas in virtual time.

    Args:
        service_s: settings and batch size → seconds that the batch takes.
        refuses: settings → error to raise if they cannot run; None if they can.
        pool: pool that keeps replicas between trials; None: each trial has a new one.
        new_s: virtual seconds that a new replica takes.
        change_s: virtual seconds that a change in place takes.
        answers: settings and payload → what the model answers.
        model: identity of the replicas' model, for pools with replicas of several models.
        crowding: number of other replicas on a GPU that have requests → factor by which a batch takes longer there.
        refuses_beside: settings and number of replicas that a GPU has → error to raise if it has no room for another.
        alive: number of replicas that are running now, without the idle ones.
        most_alive: the largest value that `alive` has had.
    """

    service_s: Callable[[Settings, int], float]
    refuses: Callable[[Settings], CouldNotRun | None] = lambda settings: None
    pool: Pool | SharedPool | None = None
    new_s: float = 0.0
    change_s: float = 0.0
    answers: Callable[[Settings, Payload], Any] = lambda settings, payload: None
    model: str = ""
    crowding: Callable[[int], float] = lambda busy: 1.0
    refuses_beside: Callable[[Settings, int], CouldNotRun | None] = lambda settings, there: None
    alive: int = field(default=0, init=False)
    most_alive: int = field(default=0, init=False)

    @contextmanager
    def running(self, settings: Settings, name: str) -> Iterator[FakeReplica]:
        """See `Backend.running`."""
        if (refusal := self.refuses(settings)) is not None:
            raise refusal
        kept = None if self.pool is None else self.pool.take(name, settings, None, self.model)
        startup = Startup(False, {"deploy": self.new_s}) if kept is None else Startup(True, {"change": self.change_s})
        if self.pool is not None and kept is None:
            kept = WarmReplica(name, settings, node="fake", model=self.model)
            self.pool.add(name, kept)
        self._count(1)
        try:
            yield self._on_card(settings, [], startup)
            if self.pool is not None and kept is not None:
                for gone in self.pool.park(name, replace(kept, settings=settings)):
                    self.pool.forget(gone.app)
        finally:
            self.remove(name)
            self._count(-1)

    @contextmanager
    def beside(self, replica: Running, settings: Settings, name: str) -> Iterator[FakeReplica]:
        """See `Beside`: on the card of a replica of this backend."""
        assert isinstance(replica, FakeReplica), "a replica of this backend"
        with _STARTING:
            if (refusal := self.refuses_beside(settings, len(replica.card))) is not None:
                raise refusal
            neighbour = self._on_card(settings, replica.card, Startup(False, {"deploy": self.new_s}))
            self._count(1)
        try:
            yield neighbour
        finally:
            self._count(-1)

    def _on_card(self, settings: Settings, card: list[FakeServer], startup: Startup) -> FakeReplica:
        """Makes a replica on a GPU, given by the servers that are on it already."""

        def service_s(batch: int) -> float:
            busy = sum(other.in_flight > 0 for other in card if other is not server)
            return self.service_s(settings, batch) * self.crowding(busy)

        server = FakeServer(
            service_s,
            max_batch=settings.max_batch_size,
            wait_s=settings.batch_wait_ms / 1000,
            answers=lambda payload: self.answers(settings, payload),
        )
        card.append(server)
        return FakeReplica(server, startup, card)

    def _count(self, more: int) -> None:
        self.alive += more
        self.most_alive = max(self.most_alive, self.alive)

    def remove(self, name: str) -> None:
        """See `Backend.remove`; a fake replica is part of the process that died."""
        if self.pool is not None:
            self.pool.drop(name)


@dataclass(frozen=True)
class VirtualMeasure:
    """Measures a fake replica in virtual time, by the same rules by which a load actor measures a real one."""

    load_test: LoadTest

    def __call__(self, running: Running, settings: Settings, *, to_beat_rps: float | None = None) -> Measurement:
        """Runs the load test and returns its measurement."""
        running_test = self.load_test.run(
            running.endpoint, ["x"], settings, clock=VirtualClock(), to_beat_rps=to_beat_rps
        )
        return run_virtual(running_test)


@dataclass(frozen=True)
class VirtualAsk:
    """Asks a fake replica in virtual time, as a load actor asks a real one.

    Args:
        samples: the samples whose answers are compared.
    """

    samples: Sequence[Payload]

    def __call__(
        self, running: Running, settings: Settings, payloads: Sequence[Payload], bounds: AskingBounds
    ) -> list[Content | Unanswered]:
        """Returns the answers to the payloads, in order."""
        clients, clock = settings.max_batch_size, VirtualClock()
        return run_virtual(ask(running.endpoint, payloads, clients, bounds, clock=clock))
