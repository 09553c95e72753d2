"""The Serve deployment that runs any model under any settings, measured and in production alike."""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from ray import serve

from serve_deployments import limits
from serve_deployments.coalesce import Coalescing
from serve_deployments.gpu_memory import clean_after
from serve_deployments.limits import CoreLease, Enforcement
from serve_deployments.loaders import ModelContext
from serve_deployments.models import Batch, ModelSource, first_sizes, load, told, two_steps
from serve_deployments.settings import Settings

_SEALED_BATCHES = 1024
"""More than `max_ongoing_requests` ever lets in, so that Serve's own queue never holds a batch back."""

Answer = Callable[[list[Any]], list[Any]]

LEASE_DEADLINE_S = 60.0
"""How long a replica waits for cores that another one still holds: Serve stops a replica in 1 s to 3 s, so
a minute only passes where another study keeps them."""


@dataclass(frozen=True)
class ReplicaFacts:
    """What a replica says of itself.

    Args:
        hostname: the machine it is on.
        pid: its process.
        cores: the cores it leased; empty where none could be.
        enforcements: what became of each limit.
        device: "cpu" or "cuda".
        failure: why the model does not run here; None if it does.
        out_of_memory: the device's words when a batch did not fit; None if none did.
    """

    hostname: str
    pid: int
    cores: tuple[int, ...]
    enforcements: tuple[Enforcement, ...]
    device: str
    failure: str | None
    out_of_memory: str | None


class Model:
    """A model held to its settings; what the deployment below does apart from Serve.

    Args:
        source: where the model comes from.
        settings: what it runs under.
    """

    def __init__(self, source: ModelSource, settings: Settings) -> None:
        self.settings = settings
        self.enforcements: list[Enforcement] = []
        self.lease: CoreLease | None = None
        self.device = "cpu"
        self.out_of_memory: str | None = None
        self._source = source
        # One thread: a batch must not stop the event loop from taking in the requests of the next one.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        # A second one, which only waits for the device: the first can begin the next batch meanwhile.
        self._waiter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="results")
        self._batch: Batch | None = None

    @property
    def ahead(self) -> int:
        """Batches that it takes while another one computes."""
        return 0 if self._batch is None or two_steps(self._batch) is None else 1

    def told(self) -> tuple[Enforcement, ...]:
        """What became of each limit, and of what else was asked for."""
        return (*self.enforcements, *(() if self._batch is None else told(self._batch)))

    async def start(self, samples: Sequence[Any]) -> None:
        """Enforce the limits, build the model and run one full batch of samples through it; compiled ones, more sizes.

        The batches pay what only the first ones pay (lazy initialisation, allocation), and show before any
        load whether the largest batch fits in memory.
        """
        with self._noting_memory():
            await asyncio.get_running_loop().run_in_executor(self._thread, self._build)
        if samples:
            assert self._batch is not None, "it has been built"
            for size in first_sizes(self._batch, self.settings.max_batch_size):
                await self([samples[i % len(samples)] for i in range(size)])

    def _build(self) -> None:
        # Cores first: what torch starts later inherits them. On the model's thread: OpenMP's settings are
        # a thread's own.
        take = partial(limits.CoreLease, deadline_s=LEASE_DEADLINE_S)
        self.lease, cpu = limits.enforce_cpu(self.settings, lease=take)
        import torch

        self.enforcements = [cpu, limits.enforce_threads(self.settings, torch)]
        self.enforcements += limits.enforce_gpu(self.settings, torch)
        self.device = "cuda" if self.settings.gpu_type and torch.cuda.is_available() else "cpu"
        context = ModelContext(
            precision=self.settings.precision,
            device=self.device,
            cpu_cores=self.settings.cpu_cores,
            threads=self.settings.threads or self.settings.cpu_cores,
            gpu_type=self.settings.gpu_type,
            gpu_share=self.settings.gpu_share or 1.0,
            gpu_memory_gib=self.settings.gpu_memory_gib,
        )
        self._batch = load(self._source, self.settings.args, context)

    async def __call__(self, payloads: list[Any]) -> list[Any]:
        """One batch; remembers when it did not fit in memory."""
        assert self._batch is not None, "start() comes first"
        loop = asyncio.get_running_loop()
        with self._noting_memory():
            if inspect.iscoroutinefunction(self._batch):
                return await self._batch(payloads)
            if (steps := two_steps(self._batch)) is not None:
                begun = await loop.run_in_executor(self._thread, steps.begin, payloads)
                return await loop.run_in_executor(self._waiter, steps.finish, begun)
            return await loop.run_in_executor(self._thread, cast(Answer, self._batch), payloads)

    @contextmanager
    def _noting_memory(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if is_out_of_memory(error):
                self.out_of_memory = first_line(error)
                if self.device != "cpu":
                    import torch

                    clean_after(error, torch)
            raise

    def stop(self) -> None:
        """Give the cores back."""
        if self.lease is not None:
            self.lease.release()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that a device or the machine had no memory left."""
    return isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryError", "OutOfMemory")


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, with its type where that is not said by our own errors."""
    text = next(iter(str(error).strip().splitlines()), "")
    return text if is_out_of_memory(error) and text else f"{type(error).__name__}: {text}".removesuffix(": ")


class ReplicaServer:
    """Serves one model with dynamic batching.

    Args:
        source: where the model comes from.
        settings: `Settings` as a dictionary.
        samples: payloads for the first, unmeasured batch.
        tell_failure: keep a failure to start for `facts()` instead of raising it. Serve would start a
            replica whose constructor raises three times over, and report a traceback as text.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        source: ModelSource,
        settings: Mapping[str, Any],
        samples: Sequence[Any] = (),
        tell_failure: bool = False,
    ) -> None:
        self._model = Model(source, Settings(**settings))
        self._failure: str | None = None
        self.reconfigure(settings)
        try:
            await self._model.start(samples)
        except Exception as error:
            if not tell_failure:
                raise
            self._failure = first_line(error)

    def reconfigure(self, settings: Mapping[str, Any]) -> None:
        """Take over the batch settings while warm; the others need another replica."""
        self._coalescing = Coalescing(self._model, int(settings["max_batch_size"]), ahead=lambda: self._model.ahead)
        batching: Any = self._batch  # Serve's decorator adds the setters
        batching.set_max_batch_size(int(settings["max_batch_size"]))
        batching.set_batch_wait_timeout_s(float(settings["batch_wait_ms"]) / 1000)

    # Batches that Serve has sealed are let in while the model is busy: there they become one.
    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0.0, max_concurrent_batches=_SEALED_BATCHES)
    async def _batch(self, payloads: list[Any]) -> list[Any]:
        return await self._coalescing(payloads)

    async def infer(self, payload: Any) -> Any:
        """One request through a DeploymentHandle."""
        return await self._batch(payload)

    async def __call__(self, request: Any) -> Any:
        """One request over HTTP: the JSON body is the payload, the answer is JSON."""
        return await self._batch(await request.json())

    async def facts(self) -> ReplicaFacts:
        """Where it runs, what is enforced, and what went wrong."""
        model = self._model
        return ReplicaFacts(
            hostname=socket.gethostname(),
            pid=os.getpid(),
            cores=model.lease.cores if model.lease else (),
            enforcements=model.told(),
            device=model.device,
            failure=self._failure,
            out_of_memory=model.out_of_memory,
        )

    def __del__(self) -> None:
        self._model.stop()


Replica: serve.Deployment = serve.deployment(name="Replica")(ReplicaServer)
"""The deployment; `Replica.options(…).bind(source, settings)` makes an application of it."""
