"""Program that waits for the end of a process and then ends the others that it was told of; standard library only.

    python watch_program.py PID

Each line of its input is the whole list of processes to end: `PID:START PID:START …`, with the time at which each was
started, as ids are used again. Besides, those are ended whose environment has the mark of the process: what was started
after the last list, and whose own parent may have ended.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

GRACE_S = 1.0
"""Seconds in which a process may end by itself before it is killed; as long as Serve gives a replica in a trial."""

MARK = "RAYTUNE_INFER_REPLICA"
"""Environment variable by which the processes that a replica has started can be told from others."""

_POLL_S = 0.05


def started(pid: int) -> str | None:
    """When a process was started, in the kernel's ticks since boot (proc_pid_stat(5)); None if there is none."""
    found = _status(pid)
    return None if found is None else found[1]


def mark_of(pid: int) -> str:
    """The value of `MARK` for what this process starts: no other process has ever had the same."""
    return f"{pid}:{started(pid)}"


def _status(pid: int) -> tuple[int, str] | None:
    """Id of the parent, and when it was started; None if there is no such process or it has ended."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if words[0] in "ZX" else (int(words[1]), words[19])


def main(pid: int) -> None:
    """Waits for the end of `pid`, then ends what it was last told of."""
    try:
        ended = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    mark = mark_of(pid)
    if os.fork():
        return  # so that what goes on is a child of nobody
    os.setsid()
    listed = _wait(ended)
    _end({process: when for process, _, when in (word.partition(":") for word in listed.split())}, mark)


def _wait(ended: int) -> str:
    """Reads the input until the process has ended; returns the last whole line."""
    whole, rest, poll = b"", b"", select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(0, select.POLLIN)
    while True:
        ready = [descriptor for descriptor, _ in poll.poll()]
        if 0 in ready:
            more = os.read(0, 65536)
            *lines, rest = (rest + more).split(b"\n")
            whole = lines[-1] if lines else whole
            if not more:
                poll.unregister(0)
        elif ended in ready:
            return whole.decode()


def _end(listed: dict[str, str], mark: str) -> None:
    """Asks these processes and all that they have started to end, and kills after `GRACE_S` those that have not."""
    going = {int(pid): when for pid, when in listed.items() if started(int(pid)) == when}
    going.update({pid: when for pid in _marked(mark) if (when := started(pid)) is not None})
    children: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for name in os.listdir("/proc"):
        if name.isdigit() and (found := _status(int(name))) is not None:
            children[found[0]].append((int(name), found[1]))
    todo = list(going)
    for parent in todo:  # grows meanwhile
        more = [(pid, when) for pid, when in children[parent] if pid not in going]
        going.update(more)
        todo += [pid for pid, _ in more]
    _signal(going, signal.SIGTERM)
    until = time.monotonic() + GRACE_S
    while any(started(pid) == when for pid, when in going.items()) and time.monotonic() < until:
        time.sleep(_POLL_S)
    _signal(going, signal.SIGKILL)


def _marked(mark: str) -> Iterator[int]:
    """Ids of the other processes that have the mark in their environment."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with suppress(OSError):  # it has ended, or is another user's
                if f"{MARK}={mark}".encode() in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    yield int(name)


def _signal(going: dict[int, str], what: signal.Signals) -> None:
    for pid, when in going.items():
        if started(pid) == when:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, what)


if __name__ == "__main__":
    main(int(sys.argv[1]))
