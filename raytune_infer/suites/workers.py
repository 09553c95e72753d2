"""A pool of single-threaded worker processes that returns results as they are ready."""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from serve_deployments.environment.temporary import environment

Common = TypeVar("Common")
Unit = TypeVar("Unit")
Result = TypeVar("Result")
Work = Callable[[Common, Iterator[Unit]], Iterator[Result]]

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class WorkerDied(RuntimeError):
    """A worker process ended before its work was finished; the unit that it was working on is lost."""


def in_processes(
    work: Work[Common, Unit, Result], common: Common, units: Sequence[Unit], jobs: int
) -> Generator[Result, None, None]:
    """Yield the results of all units as they are ready; each unit goes to the first free process.

    Even one job runs in a process of its own: sums over several threads are rounded differently from sums in one
    thread, and results must not depend on `jobs`. Leaving the generator early, by Ctrl-C or otherwise, ends the
    processes.

    Args:
        work: function at module level: (common argument, iterator over units) → iterator over results.
        common: argument shared by all units.
        units: units of work, at least one.
        jobs: number of processes; more than the number of units are not started.

    Raises:
        WorkerDied: a process was killed, or its work raised.
    """
    processes = _started(work, common, min(jobs, len(units)))
    waiting = list(reversed(units))
    try:
        while processes:
            for ready in connection.wait(list(processes)):
                assert isinstance(ready, Connection)
                kind, content = _received(ready, processes)
                if kind == "result":
                    yield content
                elif waiting:
                    ready.send(waiting.pop())
                else:
                    ready.send(None)
                    processes.pop(ready).join()
    finally:
        for process in processes.values():
            process.terminate()
            process.join()


def _started(work: Work[Common, Unit, Result], common: Common, count: int) -> dict[Connection, Any]:
    """Start worker processes, and return our ends of their pipes with them."""
    context = get_context("spawn")
    processes: dict[Connection, Any] = {}
    with _quiet_single_threaded_children():
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, work, common), daemon=True)
            process.start()
            theirs.close()
            processes[ours] = process
    return processes


def _received(ready: Connection, processes: dict[Connection, Any]) -> tuple[str, Any]:
    """Return what a worker sends, `result` or `next`; raises WorkerDied if it ended or its work raised."""
    try:
        kind, content = ready.recv()
    except EOFError:
        process = processes.pop(ready)
        process.join()
        raise WorkerDied(
            f"a process ended with exit code {process.exitcode} in the middle of its work; if memory ran out, ask for "
            "fewer jobs"
        ) from None
    if kind == "raised":
        raise WorkerDied(f"a process failed:\n{content}")
    return kind, content


def _serve(pipe: Connection, work: Work[Common, Unit, Result], common: Common) -> None:
    """Main function of a worker process: ask for units until there are none, and send their results."""

    def units() -> Iterator[Unit]:
        while True:
            pipe.send(("next", None))
            if (unit := pipe.recv()) is None:
                return
            yield unit

    try:
        for result in work(common, units()):
            pipe.send(("result", result))
    except Exception:
        # As text, because not every exception can be pickled.
        pipe.send(("raised", traceback.format_exc()))


@contextmanager
def _quiet_single_threaded_children() -> Iterator[None]:
    """Processes started in this context have one thread for arithmetic and leave Ctrl-C to their parent."""
    # A child inherits ignored signals, so it ignores Ctrl-C from its first instruction.
    main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    try:
        with environment(dict.fromkeys(_THREADS, "1")):
            yield
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)
