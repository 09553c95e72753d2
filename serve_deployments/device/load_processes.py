"""The processes that send load on this machine, found by a mark in their environment, and what they use of cores."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress

import psutil

from serve_deployments.device.limits import can_pin
from serve_deployments.environment.serve_path import LOAD_MARK


class LoadProcesses:
    """Counts the CPU seconds that processes which send load use on some cores: the study's own work, and nobody else's.

    Those of other trials at the same time are among them, as a repetition of the trial would not be without them.

    Args:
        found: returns the processes; by default those that are marked.
    """

    def __init__(self, found: Callable[[], Iterable[psutil.Process]] | None = None) -> None:
        self._found = found or marked
        self._seen_s: dict[psutil.Process, float] = {}
        self._counted_s = 0.0

    def used_s(self, cores: Collection[int]) -> float:
        """CPU seconds that they have used so far; what is more than at the last call was on these cores.

        A process that may run on others, too, was on these for their part of all its cores. What a process has used
        between the last call and its end is lost.
        """
        seen_s = {}
        for process in self._found():
            with suppress(psutil.Error):  # it has ended meanwhile
                times, part = process.cpu_times(), _part_on(cores, process)
                seen_s[process] = times.user + times.system
                # One that was not there the last time was started since.
                self._counted_s += part * max(0.0, seen_s[process] - self._seen_s.get(process, 0.0))
        self._seen_s = seen_s
        return self._counted_s


def _part_on(cores: Collection[int], process: psutil.Process) -> float:
    """Part of the cores that a process may run on which is among these; all where nobody can be pinned."""
    if not can_pin():
        return 1.0
    its = process.cpu_affinity()
    return len({*its} & {*cores}) / len(its)


def marked() -> Iterator[psutil.Process]:
    """This user's processes that were started to send load."""
    name, value = LOAD_MARK
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # it has ended, or is another user's
            if process.environ().get(name) == value:
                yield process
