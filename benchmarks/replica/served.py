"""Starts a real replica on a local Ray Serve, reachable by handle and over HTTP, for benchmarks with several tools."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray import serve

from benchmarks.recording.origin import ROOT
from benchmarks.replica.over_http import HOST, encoded, free_port, wait_until_up
from benchmarks.replica.services import Service
from raytune_infer.study.connection.session import ray_session
from serve_deployments.measuring.in_cluster.load_side import release_cores
from serve_deployments.replicas.serve_backend import ServeBackend, ServeReplica, delete_left_behind

PREFIX = "benchmark"


def others() -> str:
    """How busy the machine was, in words; figures from shared cores should state it."""
    return f"load average {os.getloadavg()[2]:.1f} over the last 15 minutes, this benchmark included"


@contextmanager
def local_serve(*, http: bool = True) -> Iterator[int]:
    """Runs Ray and Serve on this machine, with an HTTP proxy on loopback only; yields the proxy's port.

    Args:
        http: whether to start the proxy; otherwise nothing listens on the port.

    Raises:
        SystemExit: RAY_ADDRESS names a cluster, whose Serve belongs to others.
    """
    if "RAY_ADDRESS" in os.environ:
        raise SystemExit("RAY_ADDRESS names a cluster; this benchmark starts a Ray of its own: unset RAY_ADDRESS")
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    port = free_port()
    with ray_session(address=None, emulate=None, folder=ROOT, runs_code=True):
        serve.start(proxy_location="HeadOnly" if http else "Disabled", http_options={"host": HOST, "port": port})
        try:
            yield port
        finally:
            release_cores()
            delete_left_behind(PREFIX)


@contextmanager
def up(service: Service, port: int, *, http: bool = True) -> Iterator[tuple[ServeReplica, str]]:
    """Starts a new replica; yields it and its URL, which is only reachable if there is a proxy."""
    backend = ServeBackend(service.source, service.payloads, PREFIX, route=f"/{service.name}")
    url = f"http://{HOST}:{port}/{service.name}"
    with backend.running(service.settings, service.name) as replica:
        if http:
            wait_until_up(url, encoded(service.payloads)[0])
        yield replica, url


@contextmanager
def actor(kind: Callable[..., Any], *args: Any) -> Iterator[Any]:
    """An actor of this class that reserves no resources and is killed at the end of the context."""
    made = ray.remote(kind).options(num_cpus=0).remote(*args)
    try:
        yield made
    finally:
        ray.kill(made)
