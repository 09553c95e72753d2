"""What other processes had of the cores that this one is pinned to: a lease keeps other replicas away, nobody else."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import psutil


class OtherWork:
    """CPU seconds that others had of this process's cores; processes that it starts itself count as others.

    Where the system does not tell the times of a core (it has none of that number), nothing is watched.

    Args:
        own_s: CPU seconds that this process has had so far.
        busy_s: CPU seconds that each core has been busy so far, by number; a hypervisor's that it took away are among
            them.
        now: seconds of a clock that never goes back.
    """

    def __init__(self, own_s: Callable[[], float], busy_s: Callable[[], list[float]], now: Callable[[], float]) -> None:
        self._own_s, self._busy_s, self._now = own_s, busy_s, now
        self._cores: tuple[int, ...] = ()
        self._began_s = self._before_s = self._watched_s = self._others_s = 0.0

    def watch(self, cores: Iterable[int]) -> None:
        """The process is pinned to these from now on; to none: nothing is watched."""
        self.read()
        known, wanted = len(self._busy_s()), tuple(cores)
        self._cores = wanted if all(core < known for core in wanted) else ()
        self._began_s, self._before_s = self._now(), self._not_own_s()

    def read(self) -> tuple[float, float]:
        """CPU seconds that others had so far, of so many seconds of cores."""
        if self._cores:
            since_s, now_s = self._not_own_s(), self._now()
            self._watched_s += len(self._cores) * (now_s - self._began_s)
            # The system counts both in ticks, and not at the same moment.
            self._others_s += max(0.0, since_s - self._before_s)
            self._began_s, self._before_s = now_s, max(since_s, self._before_s)
        return self._others_s, self._watched_s

    def _not_own_s(self) -> float:
        busy_s = self._busy_s()
        return sum(busy_s[core] for core in self._cores) - self._own_s()


def busy_s() -> list[float]:
    """CPU seconds that each core of this machine has been busy since it was started."""
    cores = psutil.cpu_times(percpu=True)
    return [sum(times) - times.idle - getattr(times, "iowait", 0.0) - _twice(times) for times in cores]


def _twice(times: object) -> float:
    """Time of guests, which Linux counts in that of users too."""
    return getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
