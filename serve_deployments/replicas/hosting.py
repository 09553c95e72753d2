"""Hosting of a model in a process under enforced settings, which can change: the part of a replica without Serve."""

from __future__ import annotations

import asyncio
import gc
import math
import os
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from serve_deployments.batches import kept_on_device
from serve_deployments.batches.passing_on import PassingOn
from serve_deployments.device.gpu import share
from serve_deployments.device.gpu.memory import clean_after
from serve_deployments.device.left_behind import LeftBehind
from serve_deployments.device.process_tree import ProcessTree, adopt_orphans, end_when_asked
from serve_deployments.device.replica_limits import ReplicaLimits, threads_of
from serve_deployments.device.watch_program import GRACE_S, MARK, mark_of
from serve_deployments.endpoint import first_line, is_out_of_memory
from serve_deployments.models.context import ModelContext, ModelError
from serve_deployments.models.live.garbage import SetAside
from serve_deployments.models.live.live_model import LiveModel
from serve_deployments.models.model import Builder, ModelSource, consumes
from serve_deployments.models.sendable import as_sent
from serve_deployments.replicas.batching.first_batches import SHAPES_S, FirstBatches
from serve_deployments.resources.enforcement import Enforcement, corrected
from serve_deployments.settings import Settings

_CLOSE_S = 30.0
"""Seconds in which a model must have been closed. Our choice: as long as `serve_backend` waits for that when it is
idle."""

_ENDS_POLL_S = 0.02


class NotRebuilt(RuntimeError):
    """The model cannot be built again in this process."""


class HostedModel:
    """A model in this process, under settings that may change.

    Args:
        source: where the model comes from.
        samples: payloads for the batches that are run before any load; empty: none is run.
        aside: what keeps collections of garbage out of the load; None: they are left as they are.
    """

    def __init__(self, source: ModelSource, samples: Sequence[Any] = (), aside: SetAside | None = None) -> None:
        self.settings: Settings | None = None
        self.device = "cpu"
        self.out_of_memory: str | None = None
        self.raised = 0
        self.said: str | None = None
        self.live = LiveModel(source)
        self.processes = ProcessTree()
        self.limits = ReplicaLimits(self.processes)
        self._source, self._samples = source, samples
        self._aside = aside or SetAside(ours=False)
        self._left_behind = LeftBehind(os.getpid())
        self._folder = os.getcwd()
        self.longest_batch_s = 0.0
        self.longest_answer_s = 0.0  # the same of those that were answered
        self.unanswered = 0  # see `ReplicaFacts`
        self._answered = 0  # number of calls
        self._spoilt: str | None = None
        self._on_device: Iterable[kept_on_device.Keeper] = ()
        self._first = self._first_batches()

    def told(self) -> tuple[Enforcement, ...]:
        """Whether and how each limit, and each request to the model such as `cuda_graphs`, took effect."""
        said = () if self._first.told is None else (self._first.told,)
        return corrected((*self.limits.enforcements, *said), self.live.told())

    @property
    def spoilt(self) -> str | None:
        """Why this process can take on no other settings; None if it can."""
        self._spoilt = self._spoilt or kept_on_device.why_spoilt(self._on_device)
        return self._spoilt

    async def take_on(self, settings: Settings) -> None:
        """Apply settings: enforce the limits, build or change the model, run its first batches, and `reset` it.

        They take the one-time costs (lazy initialisation, allocation, new shapes), and show before any load whether the
        largest batch fits in memory. A batch is skipped if the same model has already run one of its size under these
        arguments. Their results are serialised, as a caller's would be: one that cannot be sent fails here.

        Raises:
            NotRebuilt: only a new process can run the model under these settings.
        """
        if self.spoilt is not None:
            raise NotRebuilt(f"{self.spoilt}; a new replica is needed")
        with self._noting_memory():
            await self._apply(settings)
        self._on_device = await self.live.in_thread(kept_on_device.of_this_thread)
        if self._samples:
            await self.live.in_thread(kept_on_device.record_all, True)
            needed = self.live.first_sizes(settings.max_batch_size)
            await self._first.make_ready(needed, settings.max_batch_size)
            await self._run_shapes(settings.max_batch_size)
        await self.live.in_thread(self.limits.check, settings)
        self.watch()
        await self.live.call("reset")
        await self.live.in_thread(self._aside.set_aside)

    def _first_batches(self) -> FirstBatches:
        """The first batches of a model that has not run any."""
        return FirstBatches(self._run_first, self._samples, is_of_payload)

    async def _run_shapes(self, max_batch_size: int) -> None:
        """Runs a batch of each shape that the samples can make, if shapes cost anything; then no more is recorded."""
        if self._first.shapes_up_to != max_batch_size:
            until_s = time.monotonic() + SHAPES_S
            samples = map(as_sent, self._first.samples)
            batches = await self.live.shapes(samples, max_batch_size, lambda: time.monotonic() >= until_s)
            if batches is None:
                return
            await self._first.run_shapes(batches, until_s)
            self._first.shapes_up_to = max_batch_size
        await self.live.in_thread(kept_on_device.record_all, False)

    async def _run_first(self, payloads: list[Any]) -> list[Any]:
        """Runs a first batch as the load will: one that an engine drops ends in words, and not at a deadline."""
        if not self.live.concurrent:
            return await self(payloads)
        return await asyncio.gather(*map(PassingOn(self, self.answer_wait_s), payloads))

    def answer_wait_s(self) -> float:
        """Seconds that a request of a model that batches for itself waits for its answer."""
        wait = self._source.wait if isinstance(self._source, Builder) else None
        return math.inf if wait is None else wait.until_s(self.longest_answer_s)

    def warm_up_with(self, samples: Sequence[Any]) -> None:
        """Use these payloads for first batches, unless there are some already."""
        if not self._samples:
            self._samples = self._first.samples = samples

    def watch(self) -> None:
        """Notes which processes the model has started: they end with this one, however it ends."""
        self._left_behind.tell([process.pid for process in self.processes.descendants()])

    async def close(self) -> None:
        """Closes the model and forgets it: the next `take_on` builds it anew."""
        _ = self.spoilt  # asked for as long as it is known
        self._first = self._first_batches()
        self._aside.put_back()
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self.live.close()
        except TimeoutError as error:
            why = f"the model was not closed within {_CLOSE_S:g} s: its `close`, or what it has started, does not end"
            raise NotRebuilt(why) from error

    def end(self, *, patience_s: float) -> None:
        """Closes the model, ends what it has started and gives the cores back, at the end of this process."""
        self._aside.put_back()
        with ExitStack() as last:  # each is done, whatever becomes of the others
            last.callback(self.limits.release)
            last.callback(self.processes.end, grace_s=GRACE_S)
            self.live.end(patience_s=patience_s)

    async def _apply(self, settings: Settings) -> None:
        if not settings.emulated:
            adopt_orphans()
            end_when_asked()
            os.environ[MARK] = mark_of(os.getpid())
            # Read by the processes that the model starts; set here too, as a live replica changes its threads.
            os.environ["OMP_NUM_THREADS"] = settings.env.get("OMP_NUM_THREADS", str(threads_of(settings)))
        if self.settings is not None and settings.max_batch_size < self.settings.max_batch_size:
            await self._give_up()  # what larger batches took must not count against this trial
        await self.live.in_thread(self.limits.apply, settings)
        self.device = "cuda" if settings.gpu_type and _has_cuda() else "cpu"
        before, self.settings = self.settings, settings
        anew = not self.live.is_built or self.limits.too_much_is_held(settings) is not None
        if anew or before is None or self._ingredients(before) != self._ingredients(settings):
            await self.close()  # before the next one is built: there may be no room for both
            await self._build(settings)
        else:
            await self._change(before, settings)
        await self.live.in_thread(self.limits.hold, settings)

    async def _give_up(self) -> None:
        """Frees the buffers and CUDA graphs of earlier batches; the first batches make them again."""
        self._aside.put_back()
        if await self.live.in_thread(kept_on_device.give_up_all):
            self._first = self._first_batches()

    async def _build(self, settings: Settings) -> None:
        if _has_cuda():
            await self.live.in_thread(_empty_gpu)
            if (why := self.limits.too_much_is_held(settings)) is not None:
                raise NotRebuilt(f"of the GPU's memory {why}, though no model is loaded; a new replica is needed")
        with suppress(OSError):  # it has been removed
            os.chdir(self._folder)  # the model that was there may have left it
        if not await self._all_ended():
            raise NotRebuilt(
                "processes that the model has started still run, so it cannot be built again beside them; end them in "
                "a method `close` of the model"
            )
        await self.live.build(settings.args, self._context(settings))

    async def _all_ended(self) -> bool:
        """Whether all that the model had started has ended; what was just asked to has a moment for it."""
        until_s = time.monotonic() + GRACE_S
        while running := self.processes.descendants():
            if time.monotonic() >= until_s:
                break
            await asyncio.sleep(_ENDS_POLL_S)
        return not running

    async def _change(self, before: Settings, settings: Settings) -> None:
        if before.args != settings.args:
            changed = {name: value for name, value in settings.args.items() if before.args[name] != value}
            self._aside.put_back()
            await self.live.call("change", **changed)
            await self.live.in_thread(kept_on_device.give_up_all)  # graphs compute what the model was
            self._first = self._first_batches()
        if before.threads != settings.threads:
            self._first = self._first_batches()

    def _ingredients(self, settings: Settings) -> dict[str, Any]:
        """The values from the settings that the model is built with."""
        context = self._context(settings)
        names = consumes(self._source)
        if self.processes.descendants():
            names |= {"threads"}  # they got theirs when they were started
        return {name: getattr(context, name) for name in names}

    def _context(self, settings: Settings) -> ModelContext:
        return ModelContext(
            precision=settings.precision,
            device=self.device,
            cpu_cores=settings.cpu_cores,
            threads=threads_of(settings),
            gpu_type=settings.gpu_type,
            gpu_share=settings.gpu_share or 1.0,
            gpu_memory_gib=settings.gpu_memory_gib,
            cuda_stream=share.held_stream(),
        )

    async def __call__(self, payloads: list[Any]) -> list[Any]:
        """Runs one batch; records how long the longest took, exceptions, missing answers, and if memory ran out."""
        with self._noting_times():
            return await self._run(payloads)

    async def stream(self, payload: Any) -> AsyncIterator[Any]:
        """The parts of the answer to one request; recorded like a batch."""
        with self._noting_times():
            with self._noting_memory():
                async for part in self.live.stream(payload):
                    yield part
            self._answered += 1

    @contextmanager
    def _noting_times(self) -> Iterator[None]:
        began_s, answered = time.monotonic(), self._answered
        try:
            yield
            self.longest_answer_s = max(self.longest_answer_s, time.monotonic() - began_s)
        except (asyncio.CancelledError, GeneratorExit):  # given up, as under too much load, but then others are
            self.unanswered += answered == self._answered  # answered meanwhile
            raise
        finally:
            self.longest_batch_s = max(self.longest_batch_s, time.monotonic() - began_s)

    async def _run(self, payloads: list[Any]) -> list[Any]:
        with self._noting_memory():
            results = await self.live(payloads)
        self._answered += 1
        return results

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


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _empty_gpu() -> None:
    import torch

    gc.collect()
    torch.cuda.empty_cache()
