"""Ends the processes that a replica leaves behind when it ends, however it ends (Linux).

A process that is killed cannot end its children any more, and a driver's SIGKILL kills the replicas. So a small program
beside the replica waits for its end. It is started only once there are children, and is none of them: Ray ends the
children of a worker itself, but not their children, and not where the worker is killed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from serve_deployments.device import watch_program
from serve_deployments.device.process_tree import adopt_orphans


class LeftBehind:
    """What of this process's children is to be ended with it.

    Args:
        pid: id of the process whose end is waited for.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._told: tuple[int, ...] = ()
        self._program: subprocess.Popen[bytes] | None = None

    def tell(self, pids: Iterable[int]) -> None:
        """Sets the processes that are to be ended, with all that they will have started by then."""
        pids = tuple(pids)
        if pids == self._told or sys.platform != "linux":
            return
        self._told = pids
        started = [(pid, when) for pid in pids if (when := watch_program.started(pid)) is not None]
        line = " ".join(f"{pid}:{when}" for pid, when in started) + "\n"
        try:
            self._write(line)
        except OSError:  # the program was ended by someone: once more, with a new one
            self._program = None
            with suppress(OSError):
                self._write(line)

    def _write(self, line: str) -> None:
        if self._program is None:
            command = [sys.executable, "-I", "-S", str(Path(watch_program.__file__)), str(self._pid)]
            adopt_orphans(False)
            try:
                self._program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
                self._program.wait()  # it goes on in a process that is not our child
            finally:
                adopt_orphans()
        assert self._program.stdin is not None, "a pipe was asked for"
        os.write(self._program.stdin.fileno(), line.encode())
