"""A replica as Serve would start it, in virtual time and without Serve."""

import asyncio
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from serve_deployments.fakes.virtual_replicas import run_virtual
from serve_deployments.replicas import hosting
from serve_deployments.replicas.replica import ReplicaServer


class AtOnce(Executor):
    """In place of threads, which know nothing of virtual time."""

    def __init__(self, **options):
        pass

    def submit(self, call, /, *args, **kwargs):
        done: Future[Any] = Future()
        try:
            done.set_result(call(*args, **kwargs))
        except BaseException as error:  # as a thread does
            done.set_exception(error)
        return done


def served(source, settings, main):
    """What `main` makes of a replica of this model under these settings; None: one that starts parked."""

    async def all_of_it():
        server: Any = object.__new__(ReplicaServer)
        await server.__init__(source, None if settings is None else settings.as_dict())
        return await main(server)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hosting, "ThreadPoolExecutor", AtOnce)
        return run_virtual(all_of_it())


async def later(server, at_s, payload):
    """A request that is sent then."""
    await asyncio.sleep(at_s)
    return await server.infer(payload)
