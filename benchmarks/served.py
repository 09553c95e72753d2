"""A real replica on a local Serve, reachable by handle and over HTTP, for benchmarks that load it by several tools."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from over_http import HOST, encoded, free_port, wait_until_up
from ray import serve

from raytune_infer.spec.service import Service as Described
from raytune_infer.spec.service_spec import load_spec
from raytune_infer.study.session import ray_session
from serve_deployments.endpoint import Payload
from serve_deployments.measuring.in_cluster.load_side import release_cores
from serve_deployments.models.model import Builder, ModelSource
from serve_deployments.replicas.serve_backend import ServeBackend, ServeReplica, delete_left_behind
from serve_deployments.settings import Settings

PREFIX = "benchmark"
BATCH = 8


@dataclass(frozen=True)
class Service:
    """What is measured.

    Args:
        name: also its path over HTTP.
        source: the model.
        settings: what the replica runs under.
        payloads: sent in turn.
        p99_ms: a bound on latency that it can keep at some rate.
        true_rps: what its model alone can do; None where nobody knows.
    """

    name: str
    source: ModelSource
    settings: Settings
    payloads: Sequence[Payload]
    p99_ms: float
    true_rps: float | None = None


def sleeping(service_ms: float) -> Service:
    """Batches of 8 that take a time known beforehand."""
    settings = Settings(max_batch_size=BATCH, args={"service_ms": service_ms})
    # Five times its service: room for a queue, though not for a long one.
    return Service(
        f"sleeping-{service_ms:g}", Builder("known_models:sleeping"), settings, ["x"], 5 * service_ms,
        BATCH / service_ms * 1e3,
    )  # fmt: skip


def echo() -> Service:
    """A model that takes no time: what is measured is the way to it."""
    return Service("echo", Builder("known_models:echo"), Settings(max_batch_size=BATCH), ["x"], 50.0)


def described(path: Path) -> Service:
    """The model and the sentences of a service.yaml, in batches of 8 on one core, under its limit on p99."""
    service = Described(load_spec(path))
    bound_ms = service.spec.latency_limits.get("p99_ms", 250.0)
    return Service(service.spec.name, service.source, Settings(max_batch_size=BATCH), service.samples, bound_ms)


def others() -> str:
    """How busy the machine was: a figure of shared cores should say so."""
    return f"load average {os.getloadavg()[2]:.1f} over the last 15 minutes, this benchmark included"


@contextmanager
def local_serve(*, http: bool = True) -> Iterator[int]:
    """Ray and Serve on this machine, its HTTP proxy on loopback alone; gives the proxy's port.

    Args:
        http: with a proxy; otherwise nobody listens at the port.

    Raises:
        SystemExit: a cluster is named by RAY_ADDRESS, whose Serve would be another's.
    """
    if "RAY_ADDRESS" in os.environ:
        raise SystemExit("RAY_ADDRESS names a cluster; this benchmark starts a Ray of its own: unset RAY_ADDRESS")
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    port = free_port()
    with ray_session(address=None, emulate=None, folder=Path(__file__).resolve().parent):
        serve.start(proxy_location="HeadOnly" if http else "Disabled", http_options={"host": HOST, "port": port})
        try:
            yield port
        finally:
            release_cores()
            delete_left_behind(PREFIX)


@contextmanager
def up(service: Service, port: int, *, http: bool = True) -> Iterator[tuple[ServeReplica, str]]:
    """A new replica, and where it is to be found over HTTP, if there is a proxy."""
    backend = ServeBackend(service.source, service.payloads, PREFIX, route=f"/{service.name}")
    url = f"http://{HOST}:{port}/{service.name}"
    with backend.running(service.settings, service.name) as replica:
        if http:
            wait_until_up(url, encoded(service.payloads)[0])
        yield replica, url


@contextmanager
def actor(kind: Callable[..., Any], *args: Any) -> Iterator[Any]:
    """An actor of this class that reserves nothing, for as long as the context lasts."""
    made = ray.remote(kind).options(num_cpus=0).remote(*args)
    try:
        yield made
    finally:
        ray.kill(made)
