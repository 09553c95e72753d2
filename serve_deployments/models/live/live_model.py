"""A model in its own thread: built, called, changed, reset and closed there, whether or not it is asynchronous."""

from __future__ import annotations

import asyncio
import gc
import inspect
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar, cast

from serve_deployments.batches.batch_parts import TwoSteps
from serve_deployments.device.gpu import share
from serve_deployments.endpoint import first_line
from serve_deployments.models.context import ModelContext, ModelError
from serve_deployments.models.live.contained import contained, contained_build, contained_later
from serve_deployments.models.live.hooks import changeable, first_sizes, hook, shapes, told, two_steps
from serve_deployments.models.live.model_thread import ModelThread
from serve_deployments.models.model import BatchFunction, Builder, ModelSource, as_batch, construct
from serve_deployments.models.rows import checked, owned
from serve_deployments.resources.enforcement import Enforcement
from serve_deployments.settings import let_in

P = ParamSpec("P")
T = TypeVar("T")

SyncFunction = Callable[[list[Any]], list[Any]]

_NO_LOOP = "no running event loop"  # asyncio's words
_IN_LOOP = re.compile("from a running event loop|another loop is running|event loop is already running")  # likewise

_CALLED_ALONE = Enforcement(
    "calls at a time", "many", False,
    "the model is asynchronous, and was called for one batch at a time; if it can serve several calls at once, say "
    "`concurrent: true` under `model`, and if not, `concurrent: false`",
)  # fmt: skip


class LiveModel:
    """A model that is built in this process when asked, and can be built again.

    Args:
        source: where the model comes from.
    """

    def __init__(self, source: ModelSource) -> None:
        self._source = source
        # A thread of its own: a batch must not keep the event loop from accepting the requests of the next one.
        self._thread = ModelThread()
        # A second one that only waits for the device, so that the first can start the next batch meanwhile.
        self._waiter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="results")
        self._callers: ThreadPoolExecutor | None = None  # for a synchronous model that is called many times at once
        self._batch: BatchFunction | None = None
        self._steps: TwoSteps | None = None  # of `_batch`; kept, as it is needed for each request

    @property
    def is_built(self) -> bool:
        """Whether there is a model."""
        return self._batch is not None

    @property
    def built(self) -> Any:
        """What the builder or loader has returned; None if there is no model."""
        return getattr(self._batch, "built", self._batch)

    @property
    def concurrent(self) -> bool:
        """Whether the model is called for each request by itself, and many times at once."""
        return isinstance(self._source, Builder) and bool(self._source.concurrent)

    @property
    def ahead(self) -> int:
        """Number of batches that the model can take while another one computes."""
        return 0 if self._steps is None else 1

    @property
    def changeable(self) -> frozenset[str]:
        """Names of the arguments that the model can change while it is running."""
        return frozenset() if self._batch is None else changeable(self._batch)

    def has(self, name: str) -> bool:
        """Whether the model is there and has a method of this name."""
        return hook(self._batch, name) is not None

    def told(self) -> tuple[Enforcement, ...]:
        """The model's own records of how its options took effect, and how it is called if that was not said."""
        more = () if self._batch is None else told(self._batch)
        unsaid = isinstance(self._source, Builder) and self._source.concurrent is None
        return (*more, _CALLED_ALONE) if unsaid and inspect.iscoroutinefunction(self._batch) else more

    def first_sizes(self, max_batch_size: int) -> list[int]:
        """Batch sizes to run before any load, the largest first."""
        assert self._batch is not None, "it has been built"
        return list(first_sizes(self._batch, max_batch_size))

    async def shapes(
        self, samples: Iterable[Any], max_batch_size: int, enough: Callable[[], bool]
    ) -> Sequence[tuple[int, ...]] | None:
        """Numbers of the samples of each batch to run before any load; None: their shapes do not matter."""
        assert self._batch is not None, "it has been built"
        return await self._thread.call(contained, shapes, self._batch, samples, max_batch_size, enough)

    async def in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls a function in the model's thread, to which some of a device's settings belong."""
        return await self._thread.call(function, *args, **kwargs)

    async def build(self, args: Mapping[str, Any], context: ModelContext) -> None:
        """Builds the model, which there must not be yet; its builder is called once, as it may have side effects.

        The loop runs while an asynchronous builder does, and while one of a concurrent model is called, which usually
        starts tasks there. Others are called while it is paused, so that they may run a loop of their own.

        Raises:
            ModelError: a plain builder wants it the other way round.
        """
        try:
            if self.concurrent:
                built = await self._thread.run(_called(contained_build, construct, self._source, args, context))
            else:
                built = await self._thread.call(contained_build, construct, self._source, args, context)
            if inspect.isawaitable(built):
                built = await self._thread.run(_awaited(built))
        except RuntimeError as error:
            if (remedy := _remedy(error)) is None:
                raise
            raise ModelError(f"{first_line(error)}; {remedy}") from error
        self._batch = as_batch(self._source, built)
        self._steps = two_steps(self._batch)
        if self.concurrent and not inspect.iscoroutinefunction(self._batch):
            self._callers = ThreadPoolExecutor(let_in(1), thread_name_prefix="model", initializer=share.join)

    async def call(self, name: str, **arguments: Any) -> None:
        """Calls a method of the model, synchronous or not; does nothing if it has none of this name."""
        if (method := hook(self._batch, name)) is not None:
            result = await self._thread.call(contained, partial(method, **arguments))
            if inspect.isawaitable(result):
                await self._thread.run(_awaited(result))

    async def close(self) -> None:
        """Calls the model's `close` if it has one, and forgets the model."""
        try:
            await self.call("close")
        finally:
            # What it holds is freed in the thread that made it, and may take its time there.
            await self._thread.call(self._forget)

    def _forget(self) -> None:
        self._batch = self._steps = self._callers = None
        gc.collect()  # what it has started ends with it, also where it refers to itself

    def end(self, *, patience_s: float) -> None:
        """Closes the model at the end of this process, without an event loop of the caller's."""
        closing, self._batch = hook(self._batch, "close"), None
        if closing is not None:
            with suppress(Exception):  # there is nobody left to tell
                result = self._thread.submit(contained, closing).result(patience_s)
                if inspect.isawaitable(result):
                    self._thread.begin(_awaited(result)).result(patience_s)

    @property
    def streams(self) -> bool:
        """Whether the model answers a request in parts."""
        return hasattr(self._batch, "stream")

    async def stream(self, payload: Any) -> AsyncIterator[Any]:
        """The parts of the answer to one request, as they come; if nobody takes them any more, the model is told."""
        assert self._batch is not None, "it has been built"
        loop, parts = asyncio.get_running_loop(), asyncio.Queue[tuple[Any] | None]()
        made: AsyncGenerator[Any, None] = vars(self._batch)["stream"](payload)

        # In the model's loop all the way, with one hop a part to this one.
        pump = self._thread.begin(
            contained_later(_pumped(made, lambda part: loop.call_soon_threadsafe(parts.put_nowait, (owned(part),))))
        )
        pump.add_done_callback(lambda _: loop.call_soon_threadsafe(parts.put_nowait, None))
        try:
            while (part := await parts.get()) is not None:
                yield part[0]
            pump.result()  # raises what the model has raised
        finally:
            pump.cancel()

    async def __call__(self, payloads: list[Any]) -> list[Any]:
        """Runs one batch."""
        assert self._batch is not None, "it has been built"
        if inspect.iscoroutinefunction(self._batch):
            return await self._thread.run(contained_later(self._batch(payloads)))
        batch, loop = cast(SyncFunction, self._batch), asyncio.get_running_loop()
        if self._callers is not None:
            return await loop.run_in_executor(self._callers, contained, batch, payloads)
        if self._steps is not None:
            begun = await self._thread.call(contained, self._steps.begin, payloads)
            return await loop.run_in_executor(self._waiter, contained, _finished, self._steps, begun, payloads)
        return await self._thread.call(contained, batch, payloads)


async def _pumped(parts: AsyncGenerator[Any, None], take: Callable[[Any], object]) -> None:
    """Hands on the parts of an answer, and closes their generator whatever happens."""
    async with aclosing(parts):
        async for part in parts:
            take(part)


def _finished(steps: TwoSteps, begun: Any, payloads: list[Any]) -> list[Any]:
    """The results of a batch that was begun, checked before another one may end in the same buffers."""
    return checked("the model", payloads, steps.finish(begun))


def _remedy(error: RuntimeError) -> str | None:
    """What to write where a builder needs a running loop and has none, or must not have one; None for other errors."""
    if str(error) == _NO_LOOP:
        return "the builder needs a running event loop: make it `async def`"
    if _IN_LOOP.search(str(error)):
        return (
            "the event loop runs while this builder is called: make it `async def`, and await there what is run now; "
            "or run it in a thread"
        )
    return None


async def _awaited(result: Awaitable[T]) -> T:
    return await contained_later(result)


async def _called(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return function(*args, **kwargs)
