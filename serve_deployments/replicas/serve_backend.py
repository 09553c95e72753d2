"""Replicas on Ray Serve: each in its own application, deployed with a deadline and always taken down."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import serve
from ray.serve.api import RunTarget, run_many
from ray.serve.context import _get_global_client as get_global_client
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatus

from serve_deployments.backend import (
    CouldNotRun,
    DeployFailed,
    DeployTimeout,
    ModelStuck,
    OutOfMemory,
    ReplicaDied,
    ReplicaFacts,
    Startup,
)
from serve_deployments.endpoint import LONGEST_WORDS, Payload
from serve_deployments.models.model import ModelSource
from serve_deployments.replicas.handles import HandleEndpoint, forget, handle_of
from serve_deployments.replicas.replica import Replica
from serve_deployments.settings import Settings

_POLL_S = 0.05
_LOOK_S = 0.5
"""Period in seconds at which the status of an unfinished deployment is checked."""
_ANSWER_S = 30.0
"""A replica that does not report its state within this time counts as hung."""


@dataclass(frozen=True)
class ServeReplica:
    """A Serve application with one replica.

    Args:
        app: name of the application.
        startup: how it was brought to its settings, and how long that took.
        streams: whether its model answers a request in parts.
    """

    app: str
    startup: Startup = field(default_factory=Startup)
    streams: bool = False

    @property
    def endpoint(self) -> HandleEndpoint:
        """The endpoint that takes its requests."""
        return HandleEndpoint(self.app, streams=self.streams)

    def facts(self) -> ReplicaFacts:
        """The replica's current state, as it reports it."""
        return self._told(self.handle.facts.remote(), _ANSWER_S)

    def change(self, settings: Settings, pid: int, samples: Sequence[Payload], *, deadline_s: float) -> ReplicaFacts:
        """Change the replica in place; see `ReplicaServer.change`."""
        return self._told(self.handle.change.remote(settings.as_dict(), pid, samples), deadline_s)

    def park(self, group: str = "", *, longest_batch_s: float = 0.0) -> ReplicaFacts:
        """Make the replica idle, without cores, once its last batch has ended; see `ReplicaServer.park`."""
        return self._told(self.handle.park.remote(group), _ANSWER_S + 2 * longest_batch_s)

    def close(self) -> ReplicaFacts:
        """Close the model of the parked replica; see `ReplicaServer.close`."""
        return self._told(self.handle.close.remote(), _ANSWER_S)

    @property
    def handle(self) -> DeploymentHandle[Any]:
        """Serve's handle to the replica, which need not be running yet."""
        return handle_of(self.app)

    def _told(self, response: Any, deadline_s: float) -> ReplicaFacts:
        try:
            facts: ReplicaFacts = response.result(timeout_s=deadline_s)
        except TimeoutError as error:
            raise ReplicaDied(f"the replica no longer answers: it did not within {deadline_s:.3g} s") from error
        except (ray.exceptions.RayError, RayServeException) as error:
            raise ReplicaDied(f"the replica no longer answers: {type(error).__name__}") from error
        return facts


@dataclass(frozen=True)
class ServeBackend:
    """Deploys a new replica of one model for each trial.

    Args:
        source: where the model comes from.
        samples: payloads for the replica's first, unmeasured batch; `StoredSamples`, lest each replica be sent all.
        prefix: prefix of the applications' names, `PREFIX-TRIAL`; each study has its own, so that the applications that
            a killed driver left behind can be found.
        deadline_s: how long a replica may take from its start until it is ready, or to be changed.
        queue_s: how long a replica may wait for resources that other trials hold.
        route: path under which Serve's HTTP proxy, if there is one, passes requests to the replica; None: no path.
    """

    source: ModelSource
    samples: Sequence[Payload]
    prefix: str
    deadline_s: float = 120.0
    queue_s: float = 900.0
    route: str | None = None

    @contextmanager
    def running(self, settings: Settings, name: str) -> Iterator[ServeReplica]:
        """See `Backend.running`."""
        app, began = self.app(name), time.monotonic()
        try:
            before = self.deploy(app, settings, {**settings.ray_actor_options, **_whole_gpu(settings)})
            replica = ServeReplica(app, Startup(seconds={"deploy": time.monotonic() - began}), before.streams)
            yield replica
            check_same(before.pid, replica.facts())
        finally:
            delete(app)

    def remove(self, name: str) -> None:
        """See `Backend.remove`."""
        delete(self.app(name))

    def app(self, name: str) -> str:
        """Name of a trial's application."""
        return f"{self.prefix}-{name}"

    def deploy(
        self, app: str, settings: Settings, options: dict[str, Any], *, while_waiting: Callable[[], None] | None = None
    ) -> ReplicaFacts:
        """Start an application and apply the settings to its replica; the caller has to take it down, also on errors.

        Args:
            app: name of the application.
            settings: settings that the replica runs under.
            options: Serve's `ray_actor_options`.
            while_waiting: called periodically while no node has room; may raise.

        Raises:
            CouldNotRun: one of its subclasses.
        """
        deployment = Replica.options(
            num_replicas=1,
            max_ongoing_requests=settings.max_ongoing_requests,
            ray_actor_options=with_job_environment(options),
            graceful_shutdown_wait_loop_s=0.05,
            graceful_shutdown_timeout_s=1.0,
            health_check_period_s=2.0,
        )
        bound = deployment.bind(self.source)
        # Not serve.run: that waits forever if no node has room.
        run_many([RunTarget(bound, name=app, route_prefix=self.route)], wait_for_applications_running=False)
        # Sent now, the call arrives as soon as the replica is up, without polling for that.
        change = handle_of(app).change.remote(settings.as_dict(), None, self.samples)
        try:
            return check(self._awaited(change, app, options, while_waiting or (lambda: None)))
        except (ray.exceptions.RayError, RayServeException) as error:
            raise ReplicaDied(f"the replica's process ended before it was ready ({_said(_details(app))})") from error
        finally:
            change.cancel()  # harmless once it has ended

    def _awaited(
        self, change: Any, app: str, options: dict[str, Any], while_waiting: Callable[[], None]
    ) -> ReplicaFacts:
        asked, started = time.monotonic(), None
        while True:
            with suppress(TimeoutError):
                facts: ReplicaFacts = change.result(timeout_s=_LOOK_S)
                return facts
            details = _details(app)
            if details.get("status") == ApplicationStatus.DEPLOY_FAILED:
                raise DeployFailed(_said(details))
            now = time.monotonic()
            if started is None and _has_node(details):
                started = now
            if now >= (asked + self.queue_s if started is None else started + self.deadline_s):
                raise DeployTimeout(
                    f"no node had room for {options} within {self.queue_s:g} s; free these resources, or remove "
                    "this value from the search"
                    if started is None
                    else f"the replica was not ready after {self.deadline_s:g} s ({_said(details)}); "
                    "raise `budget.deploy_s` if the model takes longer to load"
                )
            if started is None:
                while_waiting()


def check(facts: ReplicaFacts, failed: type[CouldNotRun] = DeployFailed) -> ReplicaFacts:
    """Returns the facts of a healthy replica; raises the failure that they report otherwise.

    Args:
        facts: the replica's facts.
        failed: exception type to raise if its model does not run.
    """
    if facts.out_of_memory is not None:
        raise OutOfMemory(facts.out_of_memory)
    if facts.failure is not None:
        raise failed(facts.failure)
    return facts


def check_same(pid: int, facts: ReplicaFacts) -> ReplicaFacts:
    """Returns the facts of a replica that is healthy and still the same process; raises otherwise."""
    # A batch under load may need more memory than the first one; and Serve silently replaces a replica that died.
    check(facts, ModelStuck)
    if facts.pid != pid:
        raise ReplicaDied(f"process {pid} on {facts.hostname} has ended")
    return facts


def _whole_gpu(settings: Settings) -> dict[str, Any]:
    # A replica has a GPU to itself while it is measured, whatever its share of it.
    return {} if settings.gpu_type is None else {"num_gpus": 1}


def with_job_environment(options: dict[str, Any]) -> dict[str, Any]:
    """Actor options with the job's runtime environment merged in, as Serve would let the options' own replace it."""
    job = dict(ray.get_runtime_context().runtime_env)
    own = options.get("runtime_env", {})
    variables = {**job.get("env_vars", {}), **own.get("env_vars", {})}
    environment = {**job, **own, **({"env_vars": variables} if variables else {})}
    return {**options, "runtime_env": environment} if environment else options


def delete(app: str, *, deadline_s: float = 30.0) -> None:
    """Take an application down and wait until it is gone, at most `deadline_s` (0: do not wait); never raises."""
    with suppress(Exception):  # teardown may run while another exception propagates, which it must not hide
        forget(app)
        serve.delete(app, _blocking=False)
        if not deadline_s:
            return
        until = time.monotonic() + deadline_s
        while app in serve.status().applications and time.monotonic() < until:
            time.sleep(_POLL_S)


def delete_left_behind(prefix: str) -> tuple[str, ...]:
    """Take down all applications of one study, which a killed driver may have left behind; returns their names."""
    left = applications(prefix)
    for app in left:
        delete(app)
    return left


def applications(prefix: str) -> tuple[str, ...]:
    """Names of all applications of one study that Serve knows."""
    return tuple(app for app in serve.status().applications if app.startswith(f"{prefix}-"))


def _details(app: str) -> dict[str, Any]:
    """Serve's details of one application and its replicas; empty while Serve does not know the application."""
    client = get_global_client()
    assert client is not None, "Serve was started before"
    details: dict[str, Any] = client.get_serve_details()
    return details["applications"].get(app, {})


def _has_node(details: dict[str, Any]) -> bool:
    replicas = [r for d in details.get("deployments", {}).values() for r in d["replicas"]]
    return any(replica.get("node_id") for replica in replicas)


def _said(details: dict[str, Any]) -> str:
    lines = [details.get("message", ""), *(d["message"] for d in details.get("deployments", {}).values())]
    return " ".join(" ".join(line.split()) for line in lines if line)[:LONGEST_WORDS] or "Serve gave no message"
