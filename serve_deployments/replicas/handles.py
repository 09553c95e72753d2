"""Serve handles to replicas: one for each application in each process, created once and discarded when not needed."""

from __future__ import annotations

import asyncio
import math
from array import array
from collections import OrderedDict
from functools import partial
from typing import Any

from ray.serve.handle import DeploymentHandle

from serve_deployments.endpoint import Answer, DescribedError, Payload, Sizes
from serve_deployments.resources.usage import Usage

DEPLOYMENT = "Replica"
"""Name of the deployment in every application."""

_MOST = 32
"""Largest number of handles kept, each with a router that listens to Serve's controller. Our choice: more than a study
has replicas at a time."""

_handles: OrderedDict[str, DeploymentHandle[Any]] = OrderedDict()
"""Application → handle in this process, the least recently used first. Serve's own cache keeps the handles of deleted
applications, which then fail to reach a new application of the same name, and evicts at random."""


def handle_of(app: str) -> DeploymentHandle[Any]:
    """The handle to an application's replica, whether or not the replica is running."""
    if app not in _handles:
        _handles[app] = DeploymentHandle(DEPLOYMENT, app)
        if len(_handles) > _MOST:
            forget(next(iter(_handles)))
    _handles.move_to_end(app)
    return _handles[app]


def forget(app: str) -> None:
    """Discard the handle to an application."""
    if (handle := _handles.pop(app, None)) is not None:
        handle.shutdown()


class HandleEndpoint:
    """An Endpoint that sends through a Serve handle: router, queue and replica, without HTTP.

    Args:
        app: name of the Serve application.
        streams: whether answers come in parts, each of which is timed as it arrives here.
    """

    def __init__(self, app: str, *, streams: bool = False) -> None:
        self.app, self._streams = app, streams
        self._methods: dict[str, DeploymentHandle[Any]] = {}

    async def infer(self, payload: Payload) -> Answer:
        """Sends one request to the application; raises what the replica raised."""
        if self._streams:
            return await self._streamed(payload)
        return Answer(content=await self._answer(self._method("infer").remote(payload)))

    async def _streamed(self, payload: Payload) -> Answer:
        now = asyncio.get_running_loop().time
        asked_s, before_s, first_after_s = now(), math.nan, math.nan
        sizes, parts, gaps_s = Sizes(), list[Any](), array("f")
        response: Any = self._method("stream", stream=True).remote(payload)
        try:
            async for part in response:
                if isinstance(part, Sizes):
                    sizes = part
                    continue
                arrived_s = now()
                if parts:
                    gaps_s.append(arrived_s - before_s)
                else:
                    first_after_s = arrived_s - asked_s
                parts.append(part)
                before_s = arrived_s
        except asyncio.CancelledError:
            response.cancel()
            raise
        if not parts:
            raise DescribedError("the answer has no part")
        content = "".join(parts) if all(isinstance(part, str) for part in parts) else parts
        return Answer(first_after_s, len(parts), sizes.size_in, sizes.size_out, content, gaps_s)

    async def usage(self) -> Usage | None:
        """The replica's resource use, as it reports it."""
        used: Usage = await self._answer(self._method("usage").remote())
        return used

    def _method(self, name: str, *, stream: bool = False) -> DeploymentHandle[Any]:
        """The handle to a method; kept, as each `handle.method` creates another handle."""
        if name not in self._methods:
            # Created where it is used, as a handle belongs to its process. By value (gRPC): 2 to 3 times the
            # requests/s of the path by reference, for small payloads.
            more: dict[str, Any] = {"stream": True} if stream else {}
            self._methods[name] = handle_of(self.app).options(method_name=name, _by_reference=False, **more)
        return self._methods[name]

    async def _answer(self, response: Any) -> Any:
        try:
            return await response
        except asyncio.CancelledError:
            response.cancel()  # else it stays in the replica's queue, in the way of the next load level
            raise

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(HandleEndpoint, self.app, streams=self._streams), ()
