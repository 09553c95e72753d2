"""The limits of a replica's processes: applied before the model is built and again afterwards, then read back.

A model's builder may set threads or affinity of its own, and may start processes that a later change must reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from serve_deployments.device import limits
from serve_deployments.device.gpu.limits import checked, enforce_gpu, too_much_is_held
from serve_deployments.device.limits import CoreLease
from serve_deployments.device.process_tree import ProcessTree
from serve_deployments.device.threads import enforced_threads, set_threads
from serve_deployments.resources.enforcement import Enforcement
from serve_deployments.settings import Settings

LEASE_DEADLINE_S = 60.0
"""Seconds that a replica waits for cores that another one still holds. Serve stops a replica in 1 s to 3 s, so the wait
is this long only if another study keeps them."""


class ReplicaLimits:
    """Cores, threads and GPU of this process; `apply`, `hold` and `check` are called in the model's thread.

    Args:
        processes: this process, and those that the model starts.
    """

    def __init__(self, processes: ProcessTree) -> None:
        self.lease: CoreLease | None = None
        self.enforcements: tuple[Enforcement, ...] = ()
        self._processes = processes
        self._cpu: Enforcement | None = None

    @property
    def cores(self) -> tuple[int, ...]:
        """Numbers of the cores that the processes are pinned to; empty if they are not pinned to cores of their own."""
        if self.lease is None or self._cpu is None or not self._cpu.enforced:
            return ()
        return self.lease.cores

    def apply(self, settings: Settings) -> None:
        """Enforces all limits, cores first: threads that torch starts later inherit them."""
        if self.lease is None:
            take = partial(CoreLease, deadline_s=LEASE_DEADLINE_S)
            self.lease, self._cpu = limits.enforce_cpu(settings, lease=take)
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # memory cached from a larger batch counts towards the cap
        self._gpu = enforce_gpu(settings, torch)
        self.hold(settings)
        self.check(settings)

    def hold(self, settings: Settings) -> None:
        """Sets again what the model's code may have set: its threads, and the cores of all its processes."""
        set_threads(threads_of(settings))
        if self.cores:
            limits.pin(self.cores, self._others())

    def check(self, settings: Settings) -> None:
        """Reads back what was set, so that `enforcements` says what is, not what was asked for."""
        assert self._cpu is not None, "said by enforce_cpu"
        cpu, others = self._cpu, self._others()
        if self.cores and not limits.is_pinned(self.cores, others):
            cpu = Enforcement("cpu_cores", cpu.asked, False, "the model moved its threads to other cores")
        # Where no number was asked for, the cores are limit enough for other processes.
        threads = enforced_threads(threads_of(settings), processes=len(others) if settings.threads else 0)
        self.enforcements = (cpu, threads, *self._checked_gpu(settings, others))

    def too_much_is_held(self, settings: Settings) -> str | None:
        """What the process holds of its GPU's memory beyond its cap, in words; None if it holds to it."""
        import torch

        return too_much_is_held(settings, torch)

    def release(self) -> None:
        """Gives the leased cores back; the processes may run anywhere until the next `apply`."""
        if self.lease is not None:
            self.lease.release()
            self.lease = None
            # The little work of an idle process (Serve's health checks) must not stay on a core that is being measured.
            if limits.can_pin():
                limits.pin(limits.machine_cores(), self._others())

    def _checked_gpu(self, settings: Settings, others: Sequence[int]) -> tuple[Enforcement, ...]:
        if not self._gpu:
            return ()
        import torch

        return checked(self._gpu, settings, torch, others)

    def _others(self) -> list[int]:
        return [process.pid for process in self._processes.descendants()]


def threads_of(settings: Settings) -> int:
    """Number of threads that compute one operation: as requested, else one for each core."""
    return settings.threads or settings.cpu_cores
