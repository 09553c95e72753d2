"""The interface to whatever runs a replica, and the errors that mean "this configuration could not run".

CouldNotRun
├── DeployTimeout    no replica was ready in time: no node has room for it, or the model takes too long to load
│   └── NoRoom       no node had the resources free in time
├── DeployFailed     the replica started and reported why the model does not run
├── OutOfMemory      the model or a batch did not fit in the memory allowed
├── ModelStuck       a batch did not finish
└── Lost             infrastructure was lost, which need not be the configuration's fault: worth another attempt
    ├── ReplicaDied  the replica's process ended
    ├── NodeDied     the node that the replica was to run on is gone
    └── LoadFailed   the load test did not finish
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from serve_deployments.endpoint import Endpoint
from serve_deployments.resources.enforcement import Enforcement
from serve_deployments.settings import Settings


class CouldNotRun(RuntimeError):
    """The configuration cannot be measured; the message is the reason shown to the user."""


class DeployTimeout(CouldNotRun):
    """No replica was ready before the deadline."""


class NoRoom(DeployTimeout):
    """No node had the requested resources free in time."""


class DeployFailed(CouldNotRun):
    """The replica started, but the model does not run in it."""


class OutOfMemory(CouldNotRun):
    """The model or a batch did not fit in the memory allowed."""


class ModelStuck(CouldNotRun):
    """A batch did not finish."""


class Lost(CouldNotRun):
    """The replica, its node or the load test was lost, which need not be the configuration's fault."""


class ReplicaDied(Lost):
    """The replica's process ended."""


class NodeDied(Lost):
    """The node that the replica was to run on is gone."""


class LoadFailed(Lost):
    """The load test did not finish."""


@dataclass(frozen=True)
class Startup:
    """How a replica was brought to the requested settings.

    Args:
        in_place: whether an existing replica was changed; False: a new one was started.
        seconds: step ("reserve", "deploy", "change") → seconds that it took.
        not_changed: why a replica that could have been changed was not, so that a new one was started; None if it was,
            or if there was none.
    """

    in_place: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)
    not_changed: str | None = None


@dataclass(frozen=True)
class ReplicaFacts:
    """The state that a replica reports of itself.

    Args:
        hostname: name of the machine that it runs on.
        pid: id of its process.
        cores: numbers of the cores that it has leased; empty where none could be leased, and while it is parked.
        enforcements: for each limit, whether and how it is enforced.
        device: "cpu" or "cuda".
        failure: why the model does not run here; None if it does.
        out_of_memory: first line of the last out-of-memory error; None if there was none.
        raised: how many times the model raised an exception.
        said: first line of the first exception that the model raised; None if it never did.
        changeable: names of the arguments that the model can change while it is running.
        closes: whether its model has a method `close`, and is not closed.
        free_memory: share of the machine's memory that is available.
        idle_with: name of the core reservation that a parked replica keeps ("" if it keeps none); None while it is
            not parked.
        longest_batch_s: seconds of the longest batch so far; it is waited for before the replica changes or parks.
        unanswered: how many calls of the model were given up by their callers although no other had been answered since
            they began: the model may hang. Only of models that batch for themselves; the others' batches are not given
            up but waited for.
        spoilt: why its process must not be used for another trial, though it serves; None if it may.
        node: id of the Ray node that it runs on; empty outside of Ray.
        visible_gpus: GPUs that its process may use, in the form of `CUDA_VISIBLE_DEVICES`; None where that is not set.
        streams: whether its model answers a request in parts.
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
    closes: bool = False
    free_memory: float = 1.0
    idle_with: str | None = None
    longest_batch_s: float = 0.0
    unanswered: int = 0
    spoilt: str | None = None
    node: str = ""
    visible_gpus: str | None = None
    streams: bool = False


class Running(Protocol):
    """A running replica."""

    @property
    def startup(self) -> Startup:
        """How it was brought to its settings, and how long that took."""
        ...

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint that takes its requests; can be pickled and sent to another process."""
        ...

    def facts(self) -> ReplicaFacts:
        """The replica's current state, as it reports it."""
        ...


class Backend(Protocol):
    """Something that runs replicas."""

    def running(self, settings: Settings, name: str) -> AbstractContextManager[Running]:
        """Runs a replica under these settings for as long as the context lasts.

        Afterwards the replica is taken down. If all went well, a backend that reuses replicas may keep it instead:
        idle and without cores, until another trial takes it or the study ends.

        Args:
            settings: the settings that the replica runs under.
            name: the trial's name; unique within the study.

        Raises:
            CouldNotRun: one of its subclasses.
        """
        ...

    def remove(self, name: str) -> None:
        """Take down what is left of a trial whose process died inside `running`; harmless otherwise."""
        ...


class Beside(Protocol):
    """Function that runs a neighbour of a running replica, on the same GPU, for as long as the context lasts."""

    def __call__(self, replica: Running, settings: Settings, name: str) -> AbstractContextManager[Running]:
        """Start the neighbour; Ray's books need not have room for it on the GPU, which the replica holds as a whole.

        Args:
            replica: the running replica.
            settings: settings that the neighbour runs under.
            name: the neighbour's name; unique within the study.

        Raises:
            NoRoom: its node has no cores for a neighbour.
            CouldNotRun: another of its subclasses: the neighbour does not run beside the replica, or lacked memory.
        """
        ...
