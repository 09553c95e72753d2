"""Work shared out to processes of one thread each, whose results come back as they are ready."""

from __future__ import annotations

import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from raytune_infer.environment import environment

Common = TypeVar("Common")
Unit = TypeVar("Unit")
Result = TypeVar("Result")
Work = Callable[[Common, Iterator[Unit]], Iterator[Result]]

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class WorkerDied(RuntimeError):
    """A process ended before its work did; what it was working on is lost."""


def in_processes(
    work: Work[Common, Unit, Result], common: Common, units: Sequence[Unit], jobs: int
) -> Generator[Result, None, None]:
    """The results of all units, as they come; each unit goes to the first process that is free.

    Even one job is a process of its own: sums over several threads are rounded otherwise than those over one,
    and results must not depend on `jobs`. Leaving early, by Ctrl-C or otherwise, ends the processes.

    Args:
        work: a function of a module: what all units share and an iterator over units → their results.
        common: what all units share.
        units: at least one.
        jobs: how many processes; never more than units.

    Raises:
        WorkerDied: a process was killed, or its work raised.
    """
    context = get_context("spawn")
    waiting = list(reversed(units))
    processes: dict[Connection, Any] = {}
    with _quiet_single_threaded_children():
        for _ in range(min(jobs, len(units))):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, work, common), daemon=True)
            process.start()
            theirs.close()
            processes[ours] = process
    try:
        while processes:
            for ready in connection.wait(list(processes)):
                assert isinstance(ready, Connection)
                try:
                    kind, content = ready.recv()
                except EOFError:
                    process = processes.pop(ready)
                    process.join()
                    raise WorkerDied(
                        f"a process ended with exit code {process.exitcode} in the middle of its work; if memory "
                        "ran out, ask for fewer jobs"
                    ) from None
                if kind == "result":
                    yield content
                elif kind == "raised":
                    raise WorkerDied(f"a process failed:\n{content}")
                elif waiting:
                    ready.send(waiting.pop())
                else:
                    ready.send(None)
                    processes.pop(ready).join()
    finally:
        for process in processes.values():
            process.terminate()
            process.join()


def _serve(pipe: Connection, work: Work[Common, Unit, Result], common: Common) -> None:
    """A process's whole life: ask for units until there are none, send what comes of them."""

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
        # As text: not every exception survives the way to another process.
        pipe.send(("raised", traceback.format_exc()))


@contextmanager
def _quiet_single_threaded_children() -> Iterator[None]:
    """Processes started here have one thread for arithmetic, and leave Ctrl-C to their parent."""
    # A signal that is ignored stays so in a child, from its first instruction on.
    main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    try:
        with environment(dict.fromkeys(_THREADS, "1")):
            yield
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)
