"""Lines that a started process says, each waited for with a bound: one that hangs on a GPU is ended, and it is said."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress

_END_S = 10.0
"""Seconds that an ended process may take to be gone. Our choice: one that hangs in a driver never is, and is left."""


class Silent(RuntimeError):
    """A process said nothing within its bound; it has been ended."""


class SaidLines:
    """The lines of a process's standard output.

    Args:
        process: started with a pipe as its text output, and as the leader of a session of its own.
        what: what it is, for errors.
    """

    def __init__(self, process: subprocess.Popen[str], what: str) -> None:
        self.process, self._what = process, what
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def next(self, within_s: float) -> str | None:
        """The next line; None if there is none any more.

        Raises:
            Silent: none came in time.
        """
        try:
            return self._lines.get(timeout=within_s)
        except queue.Empty:
            end(self.process)
            raise Silent(f"{self._what} said nothing for {within_s:g} s, so it was ended") from None

    def until_end(self, within_s: float) -> Iterator[str]:
        """All further lines, each within so many seconds of the one before."""
        while (line := self.next(within_s)) is not None:
            yield line

    def _read(self) -> None:
        assert self.process.stdout is not None
        with suppress(ValueError):  # closed meanwhile
            for line in self.process.stdout:
                self._lines.put(line)
        self._lines.put(None)


def end(process: subprocess.Popen[str]) -> None:
    """Kills a process and all of its session, and waits for it for a while."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
