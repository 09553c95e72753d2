"""A backend whose replicas are known exactly: whole studies in seconds, without Serve, in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from serve_deployments import rates
from serve_deployments.backend import CouldNotRun
from serve_deployments.fakes import FakeServer, VirtualClock, run_virtual
from serve_deployments.measurement import Measurement
from serve_deployments.plan import LoadPlan
from serve_deployments.replica import ReplicaFacts
from serve_deployments.settings import Settings


@dataclass(frozen=True)
class FakeReplica:
    """A server that batches as Serve does.

    Args:
        endpoint: the server.
    """

    endpoint: FakeServer

    def facts(self) -> ReplicaFacts:
        """It is on no machine and nothing went wrong."""
        return ReplicaFacts("fake", 0, (), (), "cpu", None, None)


@dataclass
class FakeBackend:
    """Replicas in virtual time.

    Args:
        service_s: settings and batch size → seconds that the batch takes.
        refuses: settings → why they cannot run; None if they can.
        alive: how many replicas are running now.
    """

    service_s: Callable[[Settings, int], float]
    refuses: Callable[[Settings], CouldNotRun | None] = lambda settings: None
    alive: int = field(default=0, init=False)

    @contextmanager
    def running(self, settings: Settings, name: str) -> Iterator[FakeReplica]:
        """See `Backend.running`."""
        if (refusal := self.refuses(settings)) is not None:
            raise refusal
        self.alive += 1
        try:
            yield FakeReplica(
                FakeServer(
                    lambda batch: self.service_s(settings, batch),
                    max_batch=settings.max_batch_size,
                    wait_s=settings.batch_wait_ms / 1000,
                )
            )
        finally:
            self.alive -= 1

    def remove(self, name: str) -> None:
        """See `Backend.remove`; a fake replica is part of the process that died."""


@dataclass(frozen=True)
class VirtualMeasure:
    """Measures a fake replica in virtual time, by the same rules as a load actor does a real one."""

    plan: LoadPlan
    at_most: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, running: FakeReplica, settings: Settings, *, to_beat_rps: float | None = None) -> Measurement:
        """The measurement."""
        if self.at_most:
            test = rates.highest_rate(
                running.endpoint, ["x"], self.plan, self.at_most, clock=VirtualClock(), to_beat_rps=to_beat_rps
            )
        else:
            test = rates.peak_rate(running.endpoint, ["x"], self.plan, clock=VirtualClock(), to_beat_rps=to_beat_rps)
        return run_virtual(test)
