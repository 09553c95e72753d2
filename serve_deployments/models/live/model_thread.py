"""The thread that builds a model and runs it, with an event loop of its own.

One thread for all of it: OpenMP's settings and a GPU share are per thread, and an asynchronous model must be built
where the loop is that it will run in. The replica's own loop stays free for requests and health checks meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from serve_deployments.device.gpu import share

P = ParamSpec("P")
T = TypeVar("T")

_Jobs = deque[Callable[[], None]]


class ModelThread:
    """Calls plain functions and runs coroutines in one thread, from any event loop.

    A plain function is called while the thread's loop is paused: the loop is the thread's current one, so that tasks
    can be made for it, and the function may also run a loop of its own (`asyncio.run`). Between calls the loop runs,
    and with it the background tasks of the model.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # As asyncio's own (`asyncio.to_thread`), but within the GPU share.
        self._loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio", initializer=share.join))
        self._jobs: _Jobs = deque()
        ended = threading.Event()
        # Neither the thread nor the finalizer may hold `self`: the thread ends once nobody can call it any more.
        threading.Thread(target=_work, args=(self._loop, self._jobs, ended), name="model", daemon=True).start()
        weakref.finalize(self, _end, self._loop, ended)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls a function while the loop is paused, and returns or raises what it does."""
        return await asyncio.wrap_future(self.submit(function, *args, **kwargs))

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Calls a function as `call` does; returns at once."""
        future: Future[T] = Future()

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:  # a model may raise anything; the caller decides
                future.set_exception(error)

        self._jobs.append(job)
        self._loop.call_soon_threadsafe(self._loop.stop)
        return future

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine in the thread's loop, beside those that run already; it is cancelled if the caller is."""
        return await asyncio.wrap_future(self.begin(coroutine))

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Runs a coroutine as `run` does; returns at once. To cancel the future cancels the coroutine."""
        future: Future[T] = Future()

        async def running() -> None:
            try:
                result = await coroutine
            except BaseException as error:  # a SystemExit would end the loop, and with it the thread
                if future.set_running_or_notify_cancel():
                    future.set_exception(error)
            else:
                if future.set_running_or_notify_cancel():
                    future.set_result(result)

        def start() -> None:
            task = self._loop.create_task(running())
            future.add_done_callback(lambda ended: ended.cancelled() and self._loop.call_soon_threadsafe(task.cancel))

        self._loop.call_soon_threadsafe(start)
        return future


def _work(loop: asyncio.AbstractEventLoop, jobs: _Jobs, ended: threading.Event) -> None:
    while not ended.is_set():
        asyncio.set_event_loop(loop)  # each time: a function that called `asyncio.run` has left none
        loop.run_forever()
        while jobs:
            jobs.popleft()()
    for task in (tasks := asyncio.all_tasks(loop)):
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.close()


def _end(loop: asyncio.AbstractEventLoop, ended: threading.Event) -> None:
    ended.set()
    loop.call_soon_threadsafe(loop.stop)
