"""The seam to whatever runs a replica, and the errors that mean "this configuration could not run".

CouldNotRun
├── DeployTimeout    no replica in time: nothing that it fits on, or the model takes too long to load
├── DeployFailed     the replica started and said why the model does not run
├── OutOfMemory      a batch did not fit in the memory allowed
├── ModelStuck       a batch did not come to an end
└── Lost             what it ran on was lost, which need not be the configuration's fault: worth another attempt
    ├── ReplicaDied  the replica's process ended
    ├── NodeDied     the node that the replica was to run on is gone
    └── LoadFailed   the load test did not come to an end
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from serve_deployments.endpoint import Endpoint
from serve_deployments.enforcement import Enforcement
from serve_deployments.settings import Settings


class CouldNotRun(RuntimeError):
    """The configuration cannot be measured; the message is the reason that the user reads."""


class DeployTimeout(CouldNotRun):
    """No replica was ready before the deadline."""


class DeployFailed(CouldNotRun):
    """The replica started, and the model did not."""


class OutOfMemory(CouldNotRun):
    """The model or a batch did not fit in the memory allowed."""


class ModelStuck(CouldNotRun):
    """A batch did not come to an end."""


class Lost(CouldNotRun):
    """What it ran on was lost, which need not be the configuration's fault."""


class ReplicaDied(Lost):
    """The replica's process ended."""


class NodeDied(Lost):
    """The node that the replica was to run on is gone."""


class LoadFailed(Lost):
    """The load test did not come to an end."""


@dataclass(frozen=True)
class Startup:
    """How a replica came to run under the settings asked for.

    Args:
        in_place: it was there already and was changed; False: it is new.
        seconds: what was done for it ("reserve", "deploy", "change") → how long that took.
    """

    in_place: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ReplicaFacts:
    """What a replica says of itself.

    Args:
        hostname: the machine it is on.
        pid: its process.
        cores: the cores it leased; empty where none could be, and while it is parked.
        enforcements: what became of each limit.
        device: "cpu" or "cuda".
        failure: why the model does not run here; None if it does.
        out_of_memory: the device's words when a batch did not fit; None if none did.
        raised: how many times the model raised.
        said: what it raised first; None if it never did.
        changeable: arguments that the model can change while it lives.
        free_memory: share of the machine's memory that is available.
        idle_with: of a parked replica the cores that stay reserved for it, by name; None while it is not parked.
    """

    hostname: str
    pid: int
    cores: tuple[int, ...]
    enforcements: tuple[Enforcement, ...]
    device: str
    failure: str | None
    out_of_memory: str | None
    raised: int = 0
    said: str | None = None
    changeable: frozenset[str] = frozenset()
    free_memory: float = 1.0
    idle_with: str | None = None


class Running(Protocol):
    """A replica that is up."""

    @property
    def startup(self) -> Startup:
        """What it took to have it."""
        ...

    @property
    def endpoint(self) -> Endpoint:
        """Where to send requests; can be sent to another process."""
        ...

    def facts(self) -> ReplicaFacts:
        """What the replica says of itself now."""
        ...


class Backend(Protocol):
    """Runs replicas."""

    def running(self, settings: Settings, name: str) -> AbstractContextManager[Running]:
        """A replica under these settings for as long as the context lasts.

        Then it is gone; or, if all went well, kept by a backend that has another use for it: idle, without cores,
        until another trial comes or the study ends.

        Args:
            settings: what it runs under.
            name: of the trial; unique within the study.

        Raises:
            CouldNotRun: one of its kinds.
        """
        ...

    def remove(self, name: str) -> None:
        """Take down what a trial left behind whose process died inside `running`; harmless otherwise."""
        ...
