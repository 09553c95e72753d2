"""Enforcement of a replica's limit on cores: Ray's num_cpus only reserves, it does not isolate.

Each core is leased by a file lock. The kernel releases the locks when the process ends, however it ends, so a lease
needs no server, does not outlive a crash, and also works between studies, users' Ray clusters and "nodes" that share
one machine, whatever each has as its temporary folder.
"""

from __future__ import annotations

import math
import os
import socket
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

from serve_deployments.device.cgroups import Quota, cpu_quota
from serve_deployments.device.core_locks import BadFolder, lock_folder, obstacles, prepared, try_lock
from serve_deployments.resources.enforcement import Enforcement
from serve_deployments.settings import Settings


class NoCores(RuntimeError):
    """The requested cores do not exist or did not become free in time."""


class CoreLease:
    """A lease of cores of this machine that no other lease holds, until `release` or the end of the process.

    Args:
        count: number of cores.
        deadline_s: how long to wait for them.
        folder: folder of the lock files; `lock_folder` by default.
        available: numbers of the cores that may be used; by default those of this process.
        now: clock, in seconds.
        sleep: function that waits for so many seconds.

    Raises:
        NoCores: fewer than `count` cores exist, or became free before the deadline.
    """

    def __init__(
        self,
        count: int,
        *,
        deadline_s: float = 30.0,
        folder: Path | None = None,
        available: Iterable[int] | None = None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        try:
            self._folder = prepared(folder or lock_folder())
        except BadFolder as error:
            raise NoCores(str(error)) from None
        candidates = sorted(available if available is not None else machine_cores())
        if count > len(candidates):
            raise NoCores(f"{count} cores requested, but this machine has {len(candidates)}; lower `cpu_cores`")
        self._held: dict[int, IO[bytes]] = {}
        until = now() + deadline_s
        while not self._try(count, candidates):
            if now() >= until:
                kept = obstacles(self._folder, candidates)
                raise NoCores(
                    f"{count} cores requested, but fewer than {count} of {len(candidates)} were free within "
                    f"{deadline_s:g} s{f' ({kept})' if kept else ''}; lower `--parallel` or wait for the other study "
                    "on this machine"
                )
            sleep(0.05)

    @property
    def cores(self) -> tuple[int, ...]:
        """Numbers of the leased cores, ascending."""
        return tuple(sorted(self._held))

    def release(self) -> None:
        """Give the cores back; repeated calls are harmless."""
        for lock in self._held.values():
            lock.close()  # closing the only descriptor releases its flock
        self._held.clear()

    def _try(self, count: int, candidates: Sequence[int]) -> bool:
        for core in candidates:
            if (lock := try_lock(self._folder, core)) is not None:
                self._held[core] = lock
            if len(self._held) == count:
                return True
        self.release()  # all or nothing: two who each hold half would wait for ever
        return False


def unleased_cores(cores: Iterable[int], *, folder: Path | None = None) -> set[int]:
    """The subset of these cores that can be leased now, as no lease holds them."""
    try:
        there = prepared(folder or lock_folder())
    except BadFolder:
        return set()
    found = {core: try_lock(there, core) for core in cores}
    for lock in found.values():
        if lock is not None:
            lock.close()
    return {core for core, lock in found.items() if lock is not None}


def machine_cores() -> set[int]:
    """Numbers of the cores that this process may use, at most as many as its container's CPU quota allows.

    A part of a core counts as a whole one. Where the quota is smaller than the machine, the cores begin at one that the
    host and its control group choose: containers on one machine do not see each other's leases, and would all take
    the first.
    """
    cores, quota = sorted(_cores_at_first()), _quota()
    if quota.cores >= len(cores):
        return set(cores)
    first = zlib.crc32(f"{socket.gethostname()} {quota.group}".encode()) % len(cores)
    return {cores[(first + i) % len(cores)] for i in range(max(1, math.ceil(quota.cores)))}


@cache
def _cores_at_first() -> frozenset[int]:
    """The cores allowed before this process pinned itself; kept, so that it can return to them."""
    return frozenset(os.sched_getaffinity(0) if can_pin() else range(os.cpu_count() or 1))


@cache
def _quota() -> Quota:
    """This process's CPU quota, which does not change while it lives."""
    return cpu_quota()


def can_pin() -> bool:
    """Whether this operating system can pin a process to cores; macOS cannot."""
    return hasattr(os, "sched_setaffinity")


def pin(cores: Iterable[int], pids: Iterable[int] = ()) -> None:
    """Pin every thread of this process, and of others, to `cores`; threads started later inherit it.

    Args:
        cores: numbers of the cores.
        pids: ids of other processes of this user; those that have ended are left out.

    Raises:
        OSError: there are no such cores.
    """
    # sched_setaffinity(0) pins the calling thread only, and Ray has started a dozen threads before.
    cores = set(cores)
    for thread in _threads_of(pids):
        with suppress(ProcessLookupError, PermissionError):  # it has ended since it was listed, or changed its user
            os.sched_setaffinity(thread, cores)


def is_pinned(cores: Iterable[int], pids: Iterable[int] = ()) -> bool:
    """Whether no thread of this process or of the others may run on any other core."""
    cores, found = set(cores), True
    for thread in _threads_of(pids):
        with suppress(ProcessLookupError):
            found = found and os.sched_getaffinity(thread) <= cores
    return found


def _threads_of(pids: Iterable[int]) -> Iterator[int]:
    for process in ("self", *pids):
        with suppress(FileNotFoundError, ProcessLookupError):
            yield from [int(task.name) for task in Path(f"/proc/{process}/task").iterdir()]


def enforce_cpu(settings: Settings, *, lease: Callable[[int], CoreLease]) -> tuple[CoreLease | None, Enforcement]:
    """Leases cores and pins this process to them.

    Args:
        settings: the settings with the number of cores.
        lease: number of cores → a lease.

    Returns:
        The lease, to be kept as long as the replica lives, or None; and whether and how the limit is enforced.

    Raises:
        NoCores: the machine has the cores, but they did not become free in time.
    """
    asked = str(settings.cpu_cores)
    if settings.emulated:
        return None, Enforcement("cpu_cores", asked, False, "emulated")
    have = len(machine_cores())
    if settings.cpu_cores > have:
        how = f"Ray counts more cores than this machine has ({have})"
        return None, Enforcement("cpu_cores", asked, False, how)
    held = lease(settings.cpu_cores)
    if not can_pin():
        return held, Enforcement("cpu_cores", asked, False, "this system has no CPU affinity")
    pin(held.cores)
    if settings.cpu_cores > (quota := _quota().cores):
        return held, Enforcement("cpu_cores", asked, False, f"the quota of this container is {quota:g} cores")
    return held, Enforcement("cpu_cores", asked, True, f"affinity to cores {list(held.cores)}")
