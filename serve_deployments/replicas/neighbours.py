"""Neighbours of a running replica: other replicas on the same node and the same GPU, while that one is measured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from serve_deployments.backend import Running, Startup
from serve_deployments.replicas.cores import NODE_ID, SHORT_S, check_alive, options_on, release, reserve
from serve_deployments.replicas.serve_backend import ServeBackend, ServeReplica, check_same, delete
from serve_deployments.replicas.warm.pool import Pool
from serve_deployments.replicas.warm.shared_pool import SharedPool
from serve_deployments.settings import Settings


@dataclass(frozen=True)
class ServeNeighbours:
    """Starts neighbours as Serve applications; see `Beside`.

    In Ray's books the whole GPU is the measured replica's, so a neighbour asks Ray for none and is told which it is.
    It is taken down at the end: a replica that holds no GPU in the books cannot be kept for another trial.

    Args:
        fresh: backend that deploys new replicas.
        pool: pool of the warm replicas, whose idle ones give back the cores that are reserved for them.
    """

    fresh: ServeBackend
    pool: Pool | SharedPool

    @contextmanager
    def __call__(self, replica: Running, settings: Settings, name: str) -> Iterator[ServeReplica]:
        """See `Beside`."""
        began_s = time.monotonic()
        there, app = replica.facts(), self.fresh.app(name)
        for group in self.pool.spare():
            release(group)
        reserve(app, settings.cpu_cores, {NODE_ID: there.node}, wait_s=SHORT_S)
        try:
            same = {} if there.visible_gpus is None else {"CUDA_VISIBLE_DEVICES": there.visible_gpus}
            options = options_on(settings, there.node, same)
            before = self.fresh.deploy(app, settings, options, while_waiting=lambda: check_alive(there.node))
            startup = Startup(seconds={"deploy": time.monotonic() - began_s})
            yield (neighbour := ServeReplica(app, startup, there.streams))
            check_same(before.pid, neighbour.facts())
        finally:
            delete(app)
            release(app)
