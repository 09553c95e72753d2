"""Serve's handles to replicas: one for each replica and process, made once and given up in time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any

from ray.serve.handle import DeploymentHandle

from serve_deployments.endpoint import WHOLE, Answer, Payload
from serve_deployments.usage import Usage

DEPLOYMENT = "Replica"
"""What the deployment is called in every application."""

_MOST = 32
"""Handles kept at most, each with a router that listens to Serve's controller. Our choice: more than a study has
replicas at a time."""

_handles: OrderedDict[str, DeploymentHandle[Any]] = OrderedDict()
"""Of this process. Serve's own cache keeps the handles of deleted applications, which then refuse to reach a new one of
the same name, and picks at random what to give up."""


def handle_of(app: str) -> DeploymentHandle[Any]:
    """The handle of an application's replica, whether or not it is up."""
    if app not in _handles:
        _handles[app] = DeploymentHandle(DEPLOYMENT, app)
        if len(_handles) > _MOST:
            forget(next(iter(_handles)))
    _handles.move_to_end(app)
    return _handles[app]


def forget(app: str) -> None:
    """Give the handle of an application up."""
    if (handle := _handles.pop(app, None)) is not None:
        handle.shutdown()


class HandleEndpoint:
    """An Endpoint over Serve's own path: router, queue and replica, without HTTP.

    Args:
        app: name of the Serve application.
    """

    def __init__(self, app: str) -> None:
        self.app = app
        self._methods: dict[str, DeploymentHandle[Any]] = {}

    async def infer(self, payload: Payload) -> Answer:
        """One request to the application; raises what the replica raised."""
        await self._answer(self._method("infer").remote(payload))
        return WHOLE

    async def usage(self) -> Usage | None:
        """What the replica says that it did."""
        used: Usage = await self._answer(self._method("usage").remote())
        return used

    def _method(self, name: str) -> DeploymentHandle[Any]:
        """The handle to a method: kept, as each `handle.method` makes another handle."""
        if name not in self._methods:
            # Made where it is used: a handle belongs to its process. By value (gRPC): 2 to 3 times the
            # requests/s of the path by reference, for small payloads.
            self._methods[name] = handle_of(self.app).options(method_name=name, _by_reference=False)
        return self._methods[name]

    async def _answer(self, response: Any) -> Any:
        try:
            return await response
        except asyncio.CancelledError:
            response.cancel()  # else it stays in the replica's queue, in the way of the next load level
            raise

    def __reduce__(self) -> tuple[type[HandleEndpoint], tuple[str]]:
        return HandleEndpoint, (self.app,)
