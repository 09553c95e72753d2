"""What others take from a replica's cores: a lease keeps other replicas away, but no other processes.

What they do while the replica has nothing to do there takes nothing from it. So of their time on its cores no more
counts than the replica's threads have waited for one, on each of the cores, as those that compute together wait for the
last.

What the study's own load generator uses there is not others' work: it comes with every measurement, so that to repeat
one would show the same. It is counted apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

import psutil


class CoreTime(NamedTuple):
    """What a replica has lost of its cores so far.

    Args:
        others_s: CPU seconds that others used there while it needed them.
        cores_s: the core-seconds over which that was counted.
        load_s: CPU seconds that processes which send load used there while it needed them.
    """

    others_s: float
    cores_s: float
    load_s: float


class OtherWork:
    """Counts the CPU seconds that others than the replica's own processes use on its cores while it needs them.

    If the system does not report the times of one of the cores (there is none of that number), nothing is counted.

    Args:
        own_s: returns the CPU seconds that the replica's own processes have used so far.
        busy_s: returns the CPU seconds that each core, by number, has been busy so far, including time taken away by a
            hypervisor (steal).
        now: monotonic clock, in seconds.
        waited_s: returns the seconds that the replica's threads have been ready to run so far without a core;
            infinity where they are not known, so that all counts that others use.
        stolen_s: returns the CPU seconds that a hypervisor has taken from each core so far: nothing waits in a run
            queue meanwhile.
        load_s: cores → the CPU seconds that processes which send load have used so far, those since the last call
            on these cores.
    """

    def __init__(
        self,
        own_s: Callable[[], float],
        busy_s: Callable[[], list[float]],
        now: Callable[[], float],
        *,
        waited_s: Callable[[], float] = lambda: math.inf,
        stolen_s: Callable[[], list[float]] = list,
        load_s: Callable[[Collection[int]], float] = lambda cores: 0.0,
    ) -> None:
        self._own_s, self._busy_s, self._now = own_s, busy_s, now
        self._waited_s, self._stolen_s, self._of_load_s = waited_s, stolen_s, load_s
        self._cores: tuple[int, ...] = ()
        self._began_s = self._before_s = self._lost_before_s = self._load_before_s = 0.0
        self._watched_s = self._others_s = self._load_s = 0.0

    def watch(self, cores: Iterable[int]) -> None:
        """Sets the cores that the process is pinned to from now on; empty: nothing is counted."""
        self.read()
        known, wanted = len(self._busy_s()), tuple(cores)
        self._cores = wanted if all(core < known for core in wanted) else ()
        self._began_s, self._before_s, self._lost_before_s = self._now(), self._not_own_s(), self._lost_s()
        self._load_before_s = self._of_load_s(self._cores)

    def read(self) -> CoreTime:
        """What it has lost of its cores so far."""
        if self._cores:
            since_s, lost_s, now_s = self._not_own_s(), self._lost_s(), self._now()
            of_load_s = self._of_load_s(self._cores)
            self._watched_s += len(self._cores) * (now_s - self._began_s)
            # The system counts both in ticks, and they are not read at the same moment.
            used_s = max(0.0, since_s - self._before_s)
            missed_s = used_s if math.isinf(lost_s) else min(used_s, max(0.0, lost_s - self._lost_before_s))
            # Nothing tells for whom a thread waited: for each of the two by what it used.
            load_part = min(1.0, (of_load_s - self._load_before_s) / used_s) if used_s else 0.0
            self._load_s += missed_s * load_part
            self._others_s += missed_s * (1 - load_part)
            self._began_s, self._before_s, self._lost_before_s = now_s, max(since_s, self._before_s), lost_s
            self._load_before_s = of_load_s
        return CoreTime(self._others_s, self._watched_s, self._load_s)

    def _lost_s(self) -> float:
        """CPU seconds that it can have lacked so far: never less than before."""
        stolen_s = self._stolen_s()
        return len(self._cores) * self._waited_s() + sum(stolen_s[core] for core in self._cores if core < len(stolen_s))

    def _not_own_s(self) -> float:
        busy_s = self._busy_s()
        return sum(busy_s[core] for core in self._cores) - self._own_s()


def busy_s() -> list[float]:
    """CPU seconds that each core of this machine has been busy since boot."""
    cores = psutil.cpu_times(percpu=True)
    return [sum(times) - times.idle - getattr(times, "iowait", 0.0) - _twice(times) for times in cores]


def stolen_s() -> list[float]:
    """CPU seconds that a hypervisor has taken from each core of this machine since boot; 0 where none is known."""
    return [getattr(times, "steal", 0.0) for times in psutil.cpu_times(percpu=True)]


def _twice(times: object) -> float:
    """Time of virtual guests, which Linux also includes in the user time."""
    return getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
