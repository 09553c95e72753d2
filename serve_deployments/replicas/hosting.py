"""Hosting of a model in a process under enforced settings, which can change: the part of a replica without Serve."""

from __future__ import annotations

import asyncio
import gc
import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

from serve_deployments.batches.batch_parts import TwoSteps
from serve_deployments.device import limits
from serve_deployments.device.gpu_memory import clean_after
from serve_deployments.device.limits import CoreLease
from serve_deployments.endpoint import first_line, is_out_of_memory
from serve_deployments.enforcement import Enforcement
from serve_deployments.models.contained import contained, contained_build, contained_later
from serve_deployments.models.context import ModelContext, ModelError
from serve_deployments.models.model import (
    BatchFunction,
    ModelSource,
    changeable,
    changer,
    consumes,
    first_sizes,
    load,
    told,
    two_steps,
)
from serve_deployments.models.results import checked
from serve_deployments.replicas.first_batches import FirstBatches
from serve_deployments.settings import Settings

SyncFunction = Callable[[list[Any]], list[Any]]

LEASE_DEADLINE_S = 60.0
"""Seconds that a replica waits for cores that another one still holds. Serve stops a replica in 1 s to 3 s, so the wait
is this long only if another study keeps them."""


class HostedModel:
    """A model in this process, under settings that may change.

    Args:
        source: where the model comes from.
        samples: payloads for the batches that are run before any load; empty: none is run.
    """

    def __init__(self, source: ModelSource, samples: Sequence[Any] = ()) -> None:
        self.settings: Settings | None = None
        self.lease: CoreLease | None = None
        self.enforcements: tuple[Enforcement, ...] = ()
        self.device = "cpu"
        self.out_of_memory: str | None = None
        self.raised = 0
        self.said: str | None = None
        self._source, self._samples = source, samples
        # A thread of its own: a batch must not keep the event loop from accepting the requests of the next one.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        # A second one that only waits for the device, so that the first can start the next batch meanwhile.
        self._waiter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="results")
        self._cpu: Enforcement | None = None
        self._batch: BatchFunction | None = None
        self._steps: TwoSteps | None = None  # of `_batch`; kept, as it is needed for each request
        self.longest_batch_s = 0.0
        self._first = self._first_batches()

    @property
    def ahead(self) -> int:
        """Number of batches that the model can take while another one computes."""
        return 0 if self._steps is None else 1

    def told(self) -> tuple[Enforcement, ...]:
        """Whether and how each limit, and each request to the model such as `cuda_graphs`, took effect."""
        said = () if self._first.told is None else (self._first.told,)
        return (*self.enforcements, *said, *(() if self._batch is None else told(self._batch)))

    @property
    def cores(self) -> tuple[int, ...]:
        """Numbers of the cores that the process is pinned to; empty if it is not pinned to cores of its own."""
        if self.lease is None or self._cpu is None or not self._cpu.enforced:
            return ()
        return self.lease.cores

    @property
    def changeable(self) -> frozenset[str]:
        """Names of the arguments that the model can change while it is running."""
        return frozenset() if self._batch is None else changeable(self._batch)

    async def take_on(self, settings: Settings) -> None:
        """Apply settings: enforce the limits, build or change the model, and run its first batches.

        They take the one-time costs (lazy initialisation, allocation, new shapes), and show before any load whether the
        largest batch fits in memory. A batch is skipped if the same model has already run one of its size under these
        arguments. Their results are serialised, as a caller's would be: one that cannot be sent fails here.
        """
        with self._noting_memory():
            await asyncio.get_running_loop().run_in_executor(self._thread, contained_build, self._apply, settings)
        if self._samples:
            assert self._batch is not None, "it has been built"
            needed = first_sizes(self._batch, settings.max_batch_size)
            await self._first.make_ready(needed, settings.max_batch_size)

    def _first_batches(self) -> FirstBatches:
        """The first batches of a model that has not run any."""
        return FirstBatches(self, self._samples, is_of_payload)

    def warm_up_with(self, samples: Sequence[Any]) -> None:
        """Use these payloads for first batches, unless there are some already."""
        if not self._samples:
            self._samples = self._first.samples = samples

    def park(self) -> None:
        """Release the leased cores and keep everything else, until the next `take_on`."""
        if self.lease is not None:
            self.lease.release()
            self.lease = None
            # The little work of an idle process (Serve's health checks) must not stay on a core that is being measured.
            if limits.can_pin():
                limits.pin(limits.machine_cores())

    def _apply(self, settings: Settings) -> None:
        # On the model's thread, as OpenMP's settings are per thread. Cores first: threads that torch starts later
        # inherit them.
        if self.lease is None:
            take = partial(CoreLease, deadline_s=LEASE_DEADLINE_S)
            self.lease, self._cpu = limits.enforce_cpu(settings, lease=take)
        assert self._cpu is not None, "said by enforce_cpu"
        import torch

        cuda = torch.cuda.is_available()
        if cuda:
            torch.cuda.empty_cache()  # memory cached from a larger batch counts towards the cap
        threads = limits.enforce_threads(settings, torch)
        self.enforcements = (self._cpu, threads, *limits.enforce_gpu(settings, torch))
        self.device = "cuda" if settings.gpu_type and cuda else "cpu"
        before, self.settings = self.settings, settings
        if self._batch is None or before is None or self._ingredients(before) != self._ingredients(settings):
            self._batch = self._steps = None  # before the next one is built: there may be no room for both
            self._first = self._first_batches()
            if cuda:
                gc.collect()
                torch.cuda.empty_cache()
            self._batch = load(self._source, settings.args, self._context(settings))
            self._steps = two_steps(self._batch)
            return
        if before.args != settings.args:
            change = changer(self._batch)
            assert change is not None, "only settings of the same placement come here"
            change(**{name: value for name, value in settings.args.items() if before.args[name] != value})
            self._first = self._first_batches()
        if before.threads != settings.threads:
            self._first = self._first_batches()

    def _ingredients(self, settings: Settings) -> dict[str, Any]:
        """The values from the settings that the model is built with."""
        context = self._context(settings)
        return {name: getattr(context, name) for name in consumes(self._source)}

    def _context(self, settings: Settings) -> ModelContext:
        return ModelContext(
            precision=settings.precision,
            device=self.device,
            cpu_cores=settings.cpu_cores,
            threads=settings.threads or settings.cpu_cores,
            gpu_type=settings.gpu_type,
            gpu_share=settings.gpu_share or 1.0,
            gpu_memory_gib=settings.gpu_memory_gib,
        )

    async def __call__(self, payloads: list[Any]) -> list[Any]:
        """Runs one batch; records how long the longest took, exceptions, and whether memory ran out."""
        assert self._batch is not None, "take_on() comes first"
        began_s = time.monotonic()
        try:
            return await self._run(payloads)
        finally:
            self.longest_batch_s = max(self.longest_batch_s, time.monotonic() - began_s)

    async def _run(self, payloads: list[Any]) -> list[Any]:
        with self._noting_memory():
            if inspect.iscoroutinefunction(self._batch):
                return await contained_later(self._batch(payloads))
            loop = asyncio.get_running_loop()
            if self._steps is not None:
                begun = await loop.run_in_executor(self._thread, contained, self._steps.begin, payloads)
                results = await loop.run_in_executor(self._waiter, contained, self._steps.finish, begun)
                return checked("the model", payloads, results)
            return await loop.run_in_executor(self._thread, contained, cast(SyncFunction, self._batch), payloads)

    @contextmanager
    def _noting_memory(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.raised += 1
            self.said = self.said or first_line(error)
            if is_out_of_memory(error):
                self.out_of_memory = first_line(error)
                if self.device != "cpu":
                    import torch

                    clean_after(error, torch)
            raise


def is_of_payload(error: Exception) -> bool:
    """Whether an exception may be due to one payload of a batch, and not to its size or to the model's results."""
    return not is_out_of_memory(error) and not isinstance(error, ModelError)
