"""The processes of a replica: its own, and those that its model has started, such as worker pools and servers."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from multiprocessing import popen_fork
from pathlib import Path
from typing import TypeVar

import psutil

from serve_deployments.device.run_queue import RunQueue

T = TypeVar("T")

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class ProcessTree:
    """This process, and the processes that it has started since the tree was made, with theirs.

    Processes that were there before are none of the replica's: they are not counted, and left alone.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._before = frozenset(self._process.children())
        self._run_queue = RunQueue()
        self._counted_s = 0.0
        self._seen_s = 0.0
        self._others_children: set[psutil.Process] = set()
        self._awaited: set[psutil.Process] = set()  # ended ones whose exit code is for the model

    def descendants(self) -> list[psutil.Process]:
        """All living processes that this one has started since, directly or not; parents before their children."""
        return [process for process in self._started() if process.info["status"] != psutil.STATUS_ZOMBIE]

    def _started(self) -> list[psutil.Process]:
        """`descendants`, and those that have ended and that nobody has waited for yet; adopted ones are waited for."""
        if not _has_children():
            return []
        started = defaultdict(list)
        for process in psutil.process_iter(["ppid", "status"]):
            started[process.info["ppid"]].append(process)
        mine = [child for child in started[self._process.pid] if child not in self._before]
        found = [child for child in mine if not self._waited_for(child)]
        for process in found:  # grows meanwhile
            found += started[process.pid]
        self._others_children = {
            process for process in found if process in self._others_children or process not in mine
        }
        self._awaited.intersection_update(mine)
        return found

    def _waited_for(self, child: psutil.Process) -> bool:
        """Waits for a child that has ended if it was adopted, as nobody else does; whether it did.

        The exit codes of the model's own children are for the model.
        """
        if child.info["status"] != psutil.STATUS_ZOMBIE or not self._is_adopted(child):
            return False
        with suppress(ChildProcessError):
            os.waitpid(child.pid, os.WNOHANG)
        return True

    def _is_adopted(self, child: psutil.Process) -> bool:
        """Whether a child that has ended was surely started by another process: its traces say so (Linux)."""
        if child in self._others_children:
            return True
        if sys.platform != "linux" or child in self._awaited:
            return False
        with suppress(OSError):
            # A process is in its parent's session, or leads a new one: a daemon's parent has led another one.
            if os.getsid(child.pid) not in (os.getsid(0), child.pid):
                return True
            if child.pid in _of_main_thread() and child.pid not in _awaited_here():
                return True
        self._awaited.add(child)  # decided once, as the look at all objects takes its time
        return False

    def cpu_s(self) -> float:
        """CPU seconds that all of them have used so far, including those that have ended.

        Never less than before: the system keeps the times of an ended process only for a parent that waits for it.
        """
        used_s = self._used_s()
        if used_s < self._seen_s:
            used_s = self._used_s()  # one was waited for after its parent's times were read: they include its now
        # Times that the system has dropped stay counted, and what is used from now on comes on top of them.
        self._counted_s += max(0.0, used_s - self._seen_s)
        self._seen_s = used_s
        return self._counted_s

    def _used_s(self) -> float:
        started = self._started()
        # Parents first: of one that is waited for meanwhile nothing is counted twice.
        used_s = [sum(_own_and_waited_for(self._process))]
        used_s += [sum(times) for process in started for times in _tried(_own_and_waited_for, process)]
        return sum(used_s)

    def waited_s(self) -> float:
        """Seconds that threads of theirs have been ready to run so far without a core; infinity where not known."""
        return self._run_queue.waited_s([self._process.pid, *(process.pid for process in self.descendants())])

    def memory_bytes(self) -> int:
        """Resident memory of this process, and what the others have for themselves: forked ones share its pages."""
        own: int = self._process.memory_info().rss
        return own + sum(size for process in self.descendants() for size in _tried(_unique_bytes, process))

    def end(self, *, grace_s: float) -> None:
        """Ends what this process has started: asks first, and kills after `grace_s` what has not ended by then."""
        asked = self.descendants()
        for process in asked:
            with suppress(psutil.Error):
                process.terminate()
        _, left = psutil.wait_procs(asked, timeout=grace_s)
        for process in left:
            with suppress(psutil.Error):
                process.kill()


def _of_main_thread() -> set[int]:
    """Children of this process's main thread, which the kernel makes the parent of orphans; models run in others.

    See `find_new_reaper` in the kernel's kernel/exit.c, and proc_tid_children(5). A child of another thread becomes one
    of the main thread's too once that thread has ended.
    """
    return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))


def _awaited_here() -> set[int]:
    """Processes for whose exit code an object of this process may still ask."""
    kinds = (subprocess.Popen, popen_fork.Popen)
    # By `type`, as `isinstance` asks proxies, which may answer with an import or an error.
    found = [each for each in gc.get_objects() if issubclass(type(each), kinds)]
    return {each.pid for each in found if getattr(each, "pid", None) and each.returncode is None}


def adopt_orphans(yes: bool = True) -> None:
    """Makes this process the parent of those whose own parent ends (Linux), so that a daemon stays in its tree.

    Args:
        yes: False: they get another parent from now on, as is usual.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(yes), 0, 0, 0)


@cache
def end_when_asked() -> None:
    """Lets processes that are forked from this one end when they are asked to, as they do elsewhere, whoever asks.

    A worker of Ray handles SIGTERM itself, and what it forks inherits that. Python handles signals in the main thread,
    and threads of gRPC are in the child too. If one of these gets the signal while the main thread waits for a lock,
    nothing ever happens, and whoever waits for the child, as `multiprocessing.Pool` does, waits for ever.
    """
    inherited = signal.getsignal(signal.SIGTERM)

    def as_elsewhere() -> None:
        if signal.getsignal(signal.SIGTERM) is inherited:  # else the model has set another one, which it wants
            with suppress(ValueError):  # not in the main thread, which a forked process has only one of
                signal.signal(signal.SIGTERM, signal.SIG_DFL)

    os.register_at_fork(after_in_child=as_elsewhere)


def _has_children() -> bool:
    """Whether this process has children, ended ones included; costs one system call where it has none."""
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _own_and_waited_for(process: psutil.Process) -> tuple[float, ...]:
    times = process.cpu_times()
    return times.user, times.system, times.children_user, times.children_system


def _unique_bytes(process: psutil.Process) -> int:
    size: int = process.memory_full_info().uss
    return size


def _tried(read: Callable[[psutil.Process], T], process: psutil.Process) -> Iterator[T]:
    with suppress(psutil.Error):  # it has ended, or it is another user's
        yield read(process)
