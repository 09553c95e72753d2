"""CPU time of others on a replica's cores: a lease keeps other replicas away, but no other processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import psutil


class OtherWork:
    """Counts the CPU seconds that others than the replica's own processes use on its cores.

    If the system does not report the times of one of the cores (there is none of that number), nothing is counted.

    Args:
        own_s: returns the CPU seconds that the replica's own processes have used so far.
        busy_s: returns the CPU seconds that each core, by number, has been busy so far, including time taken away by a
            hypervisor (steal).
        now: monotonic clock, in seconds.
    """

    def __init__(self, own_s: Callable[[], float], busy_s: Callable[[], list[float]], now: Callable[[], float]) -> None:
        self._own_s, self._busy_s, self._now = own_s, busy_s, now
        self._cores: tuple[int, ...] = ()
        self._began_s = self._before_s = self._watched_s = self._others_s = 0.0

    def watch(self, cores: Iterable[int]) -> None:
        """Sets the cores that the process is pinned to from now on; empty: nothing is counted."""
        self.read()
        known, wanted = len(self._busy_s()), tuple(cores)
        self._cores = wanted if all(core < known for core in wanted) else ()
        self._began_s, self._before_s = self._now(), self._not_own_s()

    def read(self) -> tuple[float, float]:
        """CPU seconds that others have used so far, and the core-seconds over which they were counted."""
        if self._cores:
            since_s, now_s = self._not_own_s(), self._now()
            self._watched_s += len(self._cores) * (now_s - self._began_s)
            # The system counts both in ticks, and they are not read at the same moment.
            self._others_s += max(0.0, since_s - self._before_s)
            self._began_s, self._before_s = now_s, max(since_s, self._before_s)
        return self._others_s, self._watched_s

    def _not_own_s(self) -> float:
        busy_s = self._busy_s()
        return sum(busy_s[core] for core in self._cores) - self._own_s()


def busy_s() -> list[float]:
    """CPU seconds that each core of this machine has been busy since boot."""
    cores = psutil.cpu_times(percpu=True)
    return [sum(times) - times.idle - getattr(times, "iowait", 0.0) - _twice(times) for times in cores]


def _twice(times: object) -> float:
    """Time of virtual guests, which Linux also includes in the user time."""
    return getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
