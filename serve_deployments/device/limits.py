"""Limits enforced, not only counted: Ray's num_cpus and num_gpus reserve, but isolate nothing.

Cores are leased by a file lock each. The kernel drops the locks when the process ends, however it ends,
so a lease needs no server, survives no crash and holds between studies, users' Ray clusters and "nodes"
that share one machine.
"""

from __future__ import annotations

import fcntl
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from serve_deployments.device.gpu_share import CannotConfine, confine
from serve_deployments.enforcement import Enforcement
from serve_deployments.settings import Settings


class NoDevice(RuntimeError):
    """A GPU was asked for, and there is none."""


class NoCores(RuntimeError):
    """The cores asked for did not become free in time."""


class CoreLease:
    """Cores of this machine that no other lease holds, until `release` or the end of the process.

    Args:
        count: how many cores.
        deadline_s: how long to wait for them.
        folder: where the lock files are; the same for all who share the machine.
        available: the cores that may be used; those of this process when left out.

    Raises:
        NoCores: fewer than `count` exist, or became free before the deadline.
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
        self._folder = _prepared(folder)
        candidates = sorted(available if available is not None else machine_cores())
        if count > len(candidates):
            raise NoCores(f"{count} cores asked for, this machine has {len(candidates)}; lower `cpu_cores`")
        self._held: dict[int, IO[bytes]] = {}
        until = now() + deadline_s
        while not self._try(count, candidates):
            if now() >= until:
                raise NoCores(
                    f"{count} cores asked for, but fewer of {len(candidates)} were free for {deadline_s:g} s; "
                    "lower `--parallel` or wait for the other study on this machine"
                )
            sleep(0.05)

    @property
    def cores(self) -> tuple[int, ...]:
        """The numbers of the leased cores."""
        return tuple(sorted(self._held))

    def release(self) -> None:
        """Give the cores back; again is harmless."""
        for lock in self._held.values():
            lock.close()  # closing the only descriptor drops its flock
        self._held.clear()

    def _try(self, count: int, candidates: Sequence[int]) -> bool:
        for core in candidates:
            if (lock := _lock(self._folder, core)) is not None:
                self._held[core] = lock
            if len(self._held) == count:
                return True
        self.release()  # all or nothing: two who each hold half would wait for ever
        return False


def _prepared(folder: Path | None) -> Path:
    """The folder of the locks, there and open to every user of the machine."""
    folder = folder or Path(tempfile.gettempdir()) / "raytune-infer-cores"
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(PermissionError):
        folder.chmod(0o777)
    return folder


def _lock(folder: Path, core: int) -> IO[bytes] | None:
    """An exclusive lock on a core; None if another has it."""
    path = folder / f"{core}.lock"
    with suppress(PermissionError):  # it is another user's: flock needs no more than reading
        path.touch()
        path.chmod(0o666)
    lock = open(path, "rb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def unleased_cores(cores: Iterable[int], *, folder: Path | None = None) -> set[int]:
    """Those of the cores that no lease holds now."""
    found = {core: _lock(_prepared(folder), core) for core in cores}
    for lock in found.values():
        if lock is not None:
            lock.close()
    return {core for core, lock in found.items() if lock is not None}


def machine_cores() -> set[int]:
    """Numbers of the cores that this process may use, as many as its container's quota is worth."""
    cores = sorted(_cores_at_first())
    quota = _quota(Path("/sys/fs/cgroup/cpu.max"))
    return set(cores if quota >= len(cores) else cores[: max(1, math.ceil(quota))])


@cache
def _cores_at_first() -> frozenset[int]:
    """The cores before this process pinned itself: it has to find its way back to the others."""
    return frozenset(os.sched_getaffinity(0) if can_pin() else range(os.cpu_count() or 1))


def _quota(file: Path) -> float:
    """CPU seconds per second that a container may use (cgroup v2, cpu.max); infinity where nothing says so."""
    try:
        quota, period = file.read_text().split()
        return float(quota) / float(period)
    except (OSError, ValueError):  # no such file, or "max"
        return math.inf


def can_pin() -> bool:
    """Whether this system can keep a process on chosen cores; macOS cannot."""
    return hasattr(os, "sched_setaffinity")


def pin(cores: Iterable[int]) -> None:
    """Keep every thread of this process on `cores`; threads started later inherit it.

    Raises:
        OSError: no such cores.
    """
    # sched_setaffinity(0) moves the calling thread alone, and Ray has started a dozen before us.
    cores = set(cores)
    for task in Path("/proc/self/task").iterdir():
        try:
            os.sched_setaffinity(int(task.name), cores)
        except ProcessLookupError:
            pass  # the thread ended since it was listed


def enforce_cpu(settings: Settings, *, lease: Callable[[int], CoreLease]) -> tuple[CoreLease | None, Enforcement]:
    """Pin this process to leased cores of its own.

    Returns:
        The lease, to be kept as long as the replica lives, and what became of the limit.

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
    return held, Enforcement("cpu_cores", asked, True, f"affinity to cores {list(held.cores)}")


def enforce_threads(settings: Settings, torch: Any) -> Enforcement:
    """Set torch's intra-operation threads: as asked, else one for each core."""
    threads = settings.threads or settings.cpu_cores
    torch.set_num_threads(threads)
    return Enforcement("threads", str(threads), True, "torch.set_num_threads")


def enforce_gpu(settings: Settings, torch: Any) -> tuple[Enforcement, ...]:
    """Cap this process's GPU memory, and this thread's share of the multiprocessors.

    By MPS where its daemon runs (a variable of the environment, see `Settings`), else by a green context.

    Args:
        settings: what was asked for.
        torch: the torch module (handed in, so that tests need no GPU).

    Raises:
        NoDevice: a GPU was asked for, and torch sees none: the numbers would be the CPU's.
    """
    if settings.gpu_type is None:
        return ()
    cuda = torch.cuda.is_available()
    if not cuda and not settings.emulated:
        raise NoDevice(
            f"{settings.gpu_type} asked for, but torch {torch.__version__} sees no CUDA device on this node; "
            "install a CUDA build of torch there (make install TORCH_INDEX=…)"
        )
    done = []
    if settings.gpu_memory:
        if cuda:
            # A float: torch refuses an integer, and a 1 in YAML is one.
            torch.cuda.set_per_process_memory_fraction(float(settings.gpu_memory))
        how = "torch.cuda.set_per_process_memory_fraction" if cuda else "emulated"
        done.append(Enforcement("gpu_memory", f"{settings.gpu_memory:g}", cuda, how))
    if 0 < settings.gpu_share < 1:
        done.append(_share(settings, torch, cuda))
    return tuple(done)


def _share(settings: Settings, torch: Any, cuda: bool) -> Enforcement:
    asked = f"{settings.gpu_share:g}"
    if not cuda:
        return Enforcement("gpu_share", asked, False, "emulated")
    if settings.mps:
        return Enforcement("gpu_share", asked, True, "CUDA MPS, active thread percentage")
    try:
        return Enforcement("gpu_share", asked, True, confine(settings.gpu_share, torch))
    except CannotConfine as error:
        how = f"CUDA MPS does not run on this node (nvidia-cuda-mps-control -d starts it), and {error}"
        return Enforcement("gpu_share", asked, False, how)
