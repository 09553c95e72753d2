"""A replica of `holder` as the dispatcher sees it: through a Serve handle."""

from __future__ import annotations

import asyncio
from typing import Any

from ray.serve.handle import DeploymentHandle

from serve_deployments.endpoint import DescribedError, first_line
from serve_deployments.replicas.many.entry import ModelEntry
from serve_deployments.replicas.many.errors import ReplicaLost
from serve_deployments.replicas.many.holder import HolderFacts, Reply
from serve_deployments.replicas.many.line import Loaded

_AGAIN_S = 0.2
"""Seconds between two questions to a process that is not there yet. Our choice: it takes seconds to start."""


class HandleReplica:
    """See `ManyReplica`.

    What the replica's own code raises comes as words in its reply. So whatever the handle raises means that the process
    has ended, or that nothing can be sent to it.

    Args:
        handle: handle of a deployment with one replica.
    """

    def __init__(self, handle: DeploymentHandle[Any]) -> None:
        by_value = handle.options(_by_reference=False)
        self._hold, self._infer = by_value.options(method_name="hold"), by_value.options(method_name="infer")
        self._drop, self._facts = by_value.options(method_name="drop"), by_value.options(method_name="facts")

    async def started(self) -> str:
        """See `ManyReplica.started`."""
        while True:
            try:
                facts: HolderFacts = await _answer(self._facts.remote())
                return facts.node
            except ReplicaLost:
                await asyncio.sleep(_AGAIN_S)

    async def hold(self, entry: ModelEntry) -> Loaded:
        """See `ManyReplica.hold`."""
        reply: Reply = await _answer(self._hold.remote(entry))
        if reply.failure is not None:
            raise DescribedError(f"model {entry.name} cannot be loaded: {reply.failure}")
        loaded: Loaded = reply.value
        return loaded

    async def infer(self, entry: ModelEntry, payload: Any) -> Any:
        """See `ManyReplica.infer`."""
        reply: Reply = await _answer(self._infer.remote(entry.name, payload))
        if not reply.held:
            raise ReplicaLost(reply.failure)
        if reply.failure is not None:
            raise DescribedError(reply.failure)
        return reply.value

    async def drop(self) -> None:
        """See `ManyReplica.drop`."""
        await _answer(self._drop.remote())


async def _answer(response: Any) -> Any:
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()
        raise
    except Exception as error:
        raise ReplicaLost(first_line(error)) from error
