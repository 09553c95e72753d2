"""How long threads were ready to run and had no core, as Linux counts it: work that nobody waits for takes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from serve_deployments.device.cgroups import cpu_pressure_s


class RunQueue:
    """Counts the seconds that the threads of some processes have spent in run queues, all threads together.

    What a thread has waited since the reading before it ended is lost.

    Args:
        proc: folder of the kernel's files on processes.
        pressure_s: returns the seconds in which any process of the control group has waited for a core; infinity where
            the kernel does not count them.
    """

    def __init__(self, proc: Path = Path("/proc"), pressure_s: Callable[[], float] = cpu_pressure_s) -> None:
        self._proc, self._pressure_s = proc, pressure_s
        self._seen_ns: dict[Path, int] = {}
        self._counted_ns = 0

    def waited_s(self, pids: Iterable[int]) -> float:
        """Seconds that these processes' threads have waited so far; infinity where the kernel does not count them.

        A kernel that does not count them for each thread may do so for the control group, if not as seconds of threads
        but as those in which any of its threads waited.
        """
        found = dict(self._threads(pids))
        if not found:
            return self._pressure_s()
        # A thread that is new, or has the number of one that has ended, has waited all its time since the last reading.
        before = {thread: self._seen_ns.get(thread, 0) for thread in found}
        self._counted_ns += sum(ns - before[thread] if ns >= before[thread] else ns for thread, ns in found.items())
        self._seen_ns = found
        return self._counted_ns / 1e9

    def _threads(self, pids: Iterable[int]) -> Iterator[tuple[Path, int]]:
        """Each thread, with its nanoseconds in run queues (proc_pid_schedstat, Documentation/scheduler/sched-stats)."""
        for pid in pids:
            with suppress(OSError):  # it has ended
                for thread in (self._proc / str(pid) / "task").iterdir():
                    with suppress(OSError, ValueError):
                        ran, waited, _ = map(int, (thread / "schedstat").read_text().split())
                        if ran:  # a kernel that does not count has zeros there
                            yield thread, waited
