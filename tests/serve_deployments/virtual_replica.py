"""A replica as Serve would start it, in virtual time and without Serve."""

import asyncio
from typing import Any

import pytest

from serve_deployments.fakes.virtual_replicas import run_virtual
from serve_deployments.models.live import live_model
from serve_deployments.replicas.replica import ReplicaServer
from serve_deployments.settings import Settings


class AtOnce:
    """In place of the model's thread, which knows nothing of virtual time."""

    async def call(self, function, *args, **kwargs):
        return function(*args, **kwargs)

    async def run(self, coroutine):
        return await coroutine


def served(source, settings, main, **more):
    """What `main` makes of a replica of this model under these settings; None: one that starts parked."""

    async def all_of_it():
        server: Any = object.__new__(ReplicaServer)
        await server.__init__(source, settings.as_dict() if isinstance(settings, Settings) else settings, **more)
        return await main(server)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live_model, "ModelThread", AtOnce)
        return run_virtual(all_of_it())


async def later(server, at_s, payload):
    """A request that is sent then."""
    await asyncio.sleep(at_s)
    return await server.infer(payload)
