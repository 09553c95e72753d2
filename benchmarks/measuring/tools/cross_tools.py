"""Measures one replica by each tool: our load actor, MLPerf LoadGen and wrk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import ray

from benchmarks.measuring.rounds import Seen, seen_of
from benchmarks.measuring.tools import loadgen
from benchmarks.measuring.tools.wrk import wrk
from benchmarks.replica.over_http import HttpEndpoint, Proxy, encoded
from benchmarks.replica.served import actor, up
from benchmarks.replica.services import Service
from serve_deployments.device.limits import can_pin, machine_cores, pin, unleased_cores
from serve_deployments.endpoint import Endpoint, Payload
from serve_deployments.measuring.in_cluster.load_side import load_actor
from serve_deployments.measuring.in_cluster.measure import WithLoadActor
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.metrics.measurement import Measurement
from serve_deployments.replicas.serve_backend import ServeReplica

# The names of the measurements, as the tables show them.
CLOSED = "ours, closed"
OFFLINE = "LoadGen, Offline"
AT_ONCE = "the same set at once, our clock"
HTTP = "ours over HTTP, closed"
WRK = "wrk, closed"
OPEN = "ours, open"
SERVER = "LoadGen, Server"


class OtherClient:
    """An actor that runs LoadGen in a process of its own, on the same cores as the load actor."""

    def pin_to_free_cores(self) -> bool:
        """Pins this process to the cores that are not leased, if any; see `LoadActor.pin_to_free_cores`."""
        cores = unleased_cores(machine_cores())
        if cores and can_pin():
            pin(cores)
        return bool(cores)

    def loadgen(self, test: loadgen.Offline | loadgen.Server, endpoint: Endpoint, payloads: Sequence[Payload]) -> Seen:
        """One test by LoadGen."""
        return loadgen.run(test, lambda: endpoint, payloads)

    def at_once(self, endpoint: Endpoint, payloads: Sequence[Payload], samples: int) -> Seen:
        """Sends one set of requests at once, without LoadGen."""
        return asyncio.run(loadgen.at_once(endpoint, payloads, samples))


@dataclass(frozen=True)
class Tools:
    """All tools, aimed at one replica.

    Args:
        service: the service of the replica.
        replica: the replica, for requests by handle.
        url: its address, for requests over HTTP.
        ours: the load actor.
        other: an actor of `OtherClient`.
        proxy: Serve's HTTP proxy.
        seconds: least duration of a level.
        apart: whether the clients have cores that the replica does not use.
    """

    service: Service
    replica: ServeReplica
    url: str
    ours: Any
    other: Any
    proxy: Proxy
    seconds: float
    apart: bool

    def plan(self, seed: int = 0) -> LoadPlan:
        """A plan for levels as long as those of the other tools, or longer where the result is not sure by then."""
        return LoadPlan(level_min_s=self.seconds, level_max_s=2 * self.seconds, total_max_s=60.0, seed=seed)

    def peak(self) -> Measurement:
        """The most answers per second, as a trial finds it."""
        # As in a trial, levels may end as soon as they are sure: this only looks for how many clients are enough.
        plan = LoadPlan(level_max_s=2 * self.seconds, total_max_s=6 * self.seconds, max_concurrency=64)
        return WithLoadActor(LoadTest(plan), self.service.payloads)(self.replica, self.service.settings)

    def highest(self) -> Measurement:
        """The highest rate under the bound on p99, as a trial finds it."""
        plan = LoadPlan(level_max_s=4 * self.seconds, total_max_s=8 * self.seconds)
        find = WithLoadActor(LoadTest(plan, {"p99_ms": self.service.p99_ms}), self.service.payloads)
        return find(self.replica, self.service.settings)

    def measurements(self, clients: int, rate_rps: float, seed: int) -> Mapping[str, Callable[[], Seen]]:
        """Name → measurement, in closed loops with so many clients and open loops with arrivals at this rate."""
        # No more at once than the replica accepts: Serve waits up to 0.5 s, repeatedly, before it retries a full one.
        most = self.service.settings.max_ongoing_requests
        samples = min(max(8 * clients, round(self.seconds * rate_rps)), most)
        server = loadgen.Server(rate_rps, self.seconds, self.service.p99_ms, seed=seed)
        return {
            CLOSED: lambda: self.closed(clients),
            OFFLINE: lambda: self.by_loadgen(loadgen.Offline(samples, seed)),
            AT_ONCE: lambda: self._answer(
                self.other.at_once.remote(self.replica.endpoint, list(self.service.payloads), samples)
            ),
            HTTP: lambda: self.closed_over_http(clients),
            WRK: lambda: self.by_wrk(clients),
            OPEN: lambda: self.open(rate_rps, seed),
            SERVER: lambda: self.by_loadgen(server),
        }

    def closed(self, clients: int) -> Seen:
        """Measures with our closed loop by handle."""
        endpoint = self.replica.endpoint
        ray.get(self.ours.set_target.remote(lambda: endpoint, list(self.service.payloads)))
        return seen_of(ray.get(self.ours.closed.remote(clients, self.plan())))

    def open(self, rate_rps: float, seed: int) -> Seen:
        """Measures with our open loop by handle."""
        endpoint = self.replica.endpoint
        ray.get(self.ours.set_target.remote(lambda: endpoint, list(self.service.payloads)))
        return seen_of(ray.get(self.ours.open.remote(rate_rps, self.plan(seed))))

    def closed_over_http(self, clients: int) -> Seen:
        """Measures with our closed loop over HTTP."""
        url = self.url
        ray.get(self.ours.set_target.remote(lambda: HttpEndpoint(url), encoded(self.service.payloads)))
        return self._with_proxy(lambda: seen_of(ray.get(self.ours.closed.remote(clients, self.plan()))))

    def by_wrk(self, connections: int) -> Seen:
        """Measures with wrk's closed loop over HTTP."""
        cores = unleased_cores(machine_cores())
        bodies = encoded(self.service.payloads)
        return self._with_proxy(
            lambda: wrk(self.url, bodies, connections=connections, seconds=self.seconds, cores=cores)
        )

    def by_loadgen(self, test: loadgen.Offline | loadgen.Server) -> Seen:
        """Measures with a scenario of LoadGen by handle."""
        return self._answer(self.other.loadgen.remote(test, self.replica.endpoint, list(self.service.payloads)))

    def _answer(self, asked: Any) -> Seen:
        # No test takes longer; LoadGen would wait for ever for an answer that does not come.
        return ray.get(asked, timeout=120.0 + 10 * self.seconds)

    def _with_proxy(self, level: Callable[[], Seen]) -> Seen:
        """Runs a level and adds the proxy's CPU share during it."""
        began, cpu = time.monotonic(), self.proxy.cpu_s()
        seen = level()
        return replace(seen, proxy_cpu_share=(self.proxy.cpu_s() - cpu) / (time.monotonic() - began))


@contextmanager
def tools(service: Service, port: int, seconds: float) -> Iterator[Tools]:
    """Starts a new replica of the service and all tools, these on the cores that the replica does not use."""
    here = ray.get_runtime_context().get_node_id()
    with up(service, port) as (replica, url), actor(OtherClient) as other:
        proxy = Proxy()
        proxy.pin(unleased_cores(machine_cores()))
        with load_actor(here) as ours:  # it is kept, so `WithLoadActor` takes the same one
            apart = [ray.get(client.pin_to_free_cores.remote()) for client in (ours, other)]
        # A process's first requests make its connections; our levels leave them out as warm-up, LoadGen does not.
        ray.get(other.at_once.remote(replica.endpoint, list(service.payloads), 2 * service.settings.max_batch_size))
        yield Tools(service, replica, url, ours, other, proxy, seconds, all(apart))
