"""The Serve deployment that runs any model under any settings, both in trials and in production."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import psutil
import ray
from ray import serve
from ray.serve.exceptions import RayServeException
from starlette.requests import Request
from starlette.responses import Response

from serve_deployments.backend import ReplicaFacts
from serve_deployments.batches.passing_on import PassingOn
from serve_deployments.device.cgroups import memory_free_share
from serve_deployments.device.meter import Meter, meter_of
from serve_deployments.endpoint import DescribedError, Payload, first_line
from serve_deployments.models.live.garbage import SetAside
from serve_deployments.models.model import Builder, ModelSource
from serve_deployments.models.service_folder import enter
from serve_deployments.replicas.batching.dynamic_batching import DynamicBatching
from serve_deployments.replicas.hosting import HostedModel, is_of_payload
from serve_deployments.replicas.http.answering import answer
from serve_deployments.replicas.http.payload_type import AS_JSON, PayloadType
from serve_deployments.replicas.loopback import stay_on_loopback
from serve_deployments.resources.usage import Usage
from serve_deployments.settings import Settings

DRAIN_S = 10.0
"""Seconds that running batches may take to finish when the replica is to be changed or parked, or twice the longest
batch so far where that is more; waiting requests are refused. Our choice, by the longest call of a model that an
interactive service could bear."""

_DRAIN_POLL_S = 0.001

FREEZES = "RAY_SERVE_FREEZE_GC_ON_STARTUP"
"""Serve's own variable: unless it is 0, Serve takes all that a replica's constructor has made out of collections. In
trials that makes no model yet, so it is done here once there is one, and undone before there is another."""


class NotServing(RuntimeError):
    """The replica is parked, being changed, or another process than the intended one."""


class NotDrained(RuntimeError):
    """The replica's running batches did not finish in time."""


class ReplicaServer:
    """Serves one model with dynamic batching.

    Args:
        source: where the model comes from.
        settings: `Settings` as a dictionary; None for a replica that starts parked, without a model, and waits for
            `change`. Otherwise Serve would retry a failing constructor three times and report only a traceback as text;
            and it replaces a replica that died, and the new one must not take cores that it was not given.
        payload_type: what a request over HTTP is to be converted to.
        samples: payloads for the batches that are run before it takes requests, if it has settings: Serve counts it as
            ready once this has returned.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        source: ModelSource,
        settings: Mapping[str, Any] | None = None,
        payload_type: PayloadType = AS_JSON,
        samples: Sequence[Payload] = (),
    ) -> None:
        if _is_replica():
            stay_on_loopback()
        enter(source.folder, modules=isinstance(source, Builder) and not source.ours)
        aside = SetAside(ours=_is_replica() and os.environ.get(FREEZES, "1") == "1")
        self._model = HostedModel(replace(source, folder=""), samples, aside)
        self._meter: Meter | None = None
        self._batching: DynamicBatching | PassingOn = PassingOn(self._run)
        self._failure: str | None = None
        self._open, self._serving = False, 0
        self._idle_with: str | None = None
        self._payload_type = payload_type
        if settings is not None:
            await self._take_on(Settings.of(settings))

    async def change(
        self, settings: Mapping[str, Any], pid: int | None = None, samples: Sequence[Payload] = ()
    ) -> ReplicaFacts:
        """Run under other settings of the same placement, once the running batches have finished.

        Args:
            settings: `Settings` as a dictionary.
            pid: id of the intended process: another one, with which Serve replaced one that died, refuses. None: any.
            samples: payloads for the full, unmeasured batch. Not an argument of the constructor: those travel through
                Serve's controller, and into its checkpoints.

        Returns:
            The facts, including the failure if the change failed; the replica must then not be used any more.
        """
        try:
            if pid not in (None, os.getpid()):
                raise NotServing(f"process {pid} has ended")
            await self._drain()
            self._model.warm_up_with(samples)
            await self._take_on(Settings.of(settings))
        except Exception as error:
            self._failure = first_line(error)
        return await self.facts()

    async def park(self, group: str = "") -> ReplicaFacts:
        """Wait for the running batches, then release the leased cores and become idle.

        Args:
            group: name of the core reservation that the replica keeps; empty if none.

        Returns:
            The facts from before parking, or with the failure if a batch did not finish in time.
        """
        try:
            await self._drain()
        except NotDrained as error:
            self._failure = str(error)
            return await self.facts()
        facts = await self.facts()  # only now, as calls that are given up end while they are waited for
        self._model.limits.release()
        if self._meter is not None:
            self._meter.pinned(())
        self._idle_with = group
        return facts

    async def close(self) -> ReplicaFacts:
        """Close the model of a parked replica, as others need what it holds; `change` builds it anew."""
        try:
            if self._open:
                raise NotServing("the replica serves, so its model is not closed")
            await self._model.close()
        except Exception as error:
            self._failure = first_line(error)
        return await self.facts()

    async def check_health(self) -> None:
        """Called by Serve now and then; notes the processes that the model has started meanwhile."""
        self._model.watch()

    async def _take_on(self, settings: Settings) -> None:
        self._idle_with = None
        await self._model.take_on(settings)
        if self._meter is None:  # created once, so that readings can be subtracted, and after the device is known
            self._meter = meter_of(self._model.device, self._model.processes)
        self._meter.pinned(self._model.limits.cores)
        wait_s = self._model.answer_wait_s
        self._batching = PassingOn(self._run, wait_s) if self._model.live.concurrent else DynamicBatching(
            self._run, settings.max_batch_size, settings.batch_wait_ms / 1e3,
            ahead=lambda: self._model.live.ahead, queued=self._meter.queued, is_of_payload=is_of_payload,
        )  # fmt: skip
        self._open = True

    async def _drain(self) -> None:
        """Refuse waiting requests and wait until running batches have finished; raises NotDrained after a while."""
        self._open = False
        wait_s = max(DRAIN_S, 2 * self._model.longest_batch_s)
        until = asyncio.get_running_loop().time() + wait_s
        while self._serving or not self._batching.idle:
            self._batching.refuse(NotServing("the replica is being changed"))
            if asyncio.get_running_loop().time() >= until:
                raise NotDrained(f"a running batch did not finish within {wait_s:.3g} s")
            await asyncio.sleep(_DRAIN_POLL_S)

    async def _run(self, payloads: list[Any]) -> list[Any]:
        assert self._meter is not None, "made with the model"
        with self._meter.running(len(payloads), alone=not self._model.live.concurrent):
            return await self._model(payloads)

    async def infer(self, payload: Any) -> Any:
        """Answers one request that came through a DeploymentHandle."""
        if not self._open:
            raise NotServing("the replica is parked or being changed")
        self._serving += 1
        try:
            return await self._batching(payload)
        except NotServing:
            raise
        except Exception as error:
            # The caller may lack the exception's class, or what the exception holds cannot be sent.
            raise DescribedError(first_line(error)) from error
        finally:
            self._serving -= 1

    async def stream(self, payload: Any) -> AsyncIterator[Any]:
        """Answers one request in parts, as the model yields them."""
        if not self._open:
            raise NotServing("the replica is parked or being changed")
        assert self._meter is not None, "made with the model"
        self._serving += 1
        try:
            with self._meter.running(1, alone=False):
                async for part in self._model.stream(payload):
                    yield part
        except Exception as error:
            raise DescribedError(first_line(error)) from error
        finally:
            self._serving -= 1

    async def __call__(self, request: Request) -> Response:
        """Answers one HTTP request, whose body is a payload; one that asks for a stream as OpenAI's endpoints do."""
        stream = self.stream if self._model.live.streams else None
        return await answer(request, self._payload_type, self.infer, NotServing, stream)

    async def facts(self) -> ReplicaFacts:
        """The replica's current state: where it runs, what is enforced, and what failed."""
        model, memory = self._model, psutil.virtual_memory()
        return ReplicaFacts(
            hostname=socket.gethostname(),
            pid=os.getpid(),
            cores=model.limits.lease.cores if model.limits.lease else (),
            enforcements=model.told(),
            device=model.device,
            failure=self._failure,
            out_of_memory=model.out_of_memory,
            raised=model.raised,
            said=model.said,
            changeable=model.live.changeable,
            closes=model.live.has("close"),
            free_memory=min(memory.available / memory.total, memory_free_share()),
            idle_with=self._idle_with,
            longest_batch_s=model.longest_batch_s,
            unanswered=model.unanswered,
            spoilt=model.spoilt,
            node=ray.get_runtime_context().get_node_id() if ray.is_initialized() else "",
            visible_gpus=os.environ.get("CUDA_VISIBLE_DEVICES"),
            streams=model.live.streams,
        )

    async def usage(self) -> Usage | None:
        """Resource use since the first settings were applied; None before that."""
        return None if self._meter is None else self._meter.read()

    def __del__(self) -> None:
        if not hasattr(self, "_model"):
            return
        if _is_replica():
            self._model.end(patience_s=DRAIN_S)
        else:  # the process is not this server's alone, and may have started others for itself meanwhile
            self._model.limits.release()


def _is_replica() -> bool:
    """Whether this process is a replica of Serve, which belongs to one server."""
    try:
        serve.get_replica_context()
    except RayServeException:
        return False
    return True


Replica: serve.Deployment = serve.deployment(name="Replica", logging_config={"log_level": "WARNING"})(ReplicaServer)
"""The deployment; `Replica.options(…).bind(source, settings)` makes an application of it. Its log level leaves out
Serve's log line for each request, which is a seventh of a request's cost in the replica."""
