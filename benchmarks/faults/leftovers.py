"""Finds what a study left behind in Ray and on this machine: actors, processes, applications, core leases and so on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import ray
from ray import serve
from ray.util.placement_group import placement_group_table

from serve_deployments.device.core_locks import lock_folder

SETTLES_S = 30.0
"""Seconds after which anything still there counts as left behind, since Ray ends processes some time after it was told
to. Our choice, ten times what a replica takes to stop."""

_RAYS_OWN = ("IDLE", "DashboardAgent", "RuntimeEnvAgent", "ServeController", "IO_WORKER", "SPILL", "RESTORE")
_LOOK_S = 0.1


def workers(title: str = "", below: psutil.Process | None = None) -> list[psutil.Process]:
    """Ray's worker processes below this process, or another, whose title begins with `title`, the youngest last.

    Ray gives its workers titles such as `ray::LoadActor.run`. Without a title, idle workers and Ray's own are left out.
    """
    found = []
    for process in (below or psutil.Process()).children(recursive=True):
        try:
            name = process.cmdline()[0] if process.status() != psutil.STATUS_ZOMBIE else ""
        except (psutil.NoSuchProcess, IndexError):
            continue
        if name.startswith("ray::" + title) and not (not title and name[5:].startswith(_RAYS_OWN)):
            found.append(process)
    return sorted(found, key=lambda process: process.create_time())


def what_is_there() -> frozenset[str]:
    """Everything present that a study could leave behind, one readable line each."""
    return frozenset((*_processes(), *_in_ray(), *_leases()))


def nothing_left(before: frozenset[str], *, settles_s: float = SETTLES_S) -> frozenset[str]:
    """What was not there before and does not go away; empty if all is well.

    Args:
        before: the result of `what_is_there` before the study.
        settles_s: how long things may take to go away, in seconds.
    """
    until = time.monotonic() + settles_s
    while (left := what_is_there() - before) and time.monotonic() < until:
        time.sleep(_LOOK_S)
    return left


def awaited(condition: Callable[[], object], what: str, *, seconds: float = SETTLES_S) -> None:
    """Waits until the condition holds; raises TimeoutError if it does not in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= until:
            raise TimeoutError(f"{what}: did not happen within {seconds:g} s")
        time.sleep(_LOOK_S)


def _processes() -> Iterator[str]:
    for process in workers():
        try:
            yield f"process {process.pid} {process.cmdline()[0].split('.')[0]}"
        except (psutil.NoSuchProcess, IndexError):
            continue


def _in_ray() -> Iterator[str]:
    # Not ray.util.state, which needs a dashboard; this reads the same store.
    for key, actor in ray._private.state.actors().items():
        if actor["State"] != "DEAD" and actor["ActorClassName"] != "ServeController":
            yield f"actor {actor['ActorClassName']} {key[:8]} {actor['State']}"
    for key, group in placement_group_table().items():
        if group["state"] != "REMOVED":
            yield f"placement group {group['name'] or key[:8]} {group['state']}"
    for app in serve.status().applications:
        yield f"application {app}"


def _leases() -> Iterator[str]:
    """Core leases of processes below this one; /proc/locks says which process holds which lock."""
    ours = {process.pid for process in psutil.Process().children(recursive=True)}
    cores = {lock.stat().st_ino: lock.stem for lock in lock_folder().glob("*.lock")}
    for line in Path("/proc/locks").read_text().splitlines():
        _, kind, *_, pid, place, _, _ = line.split()
        inode = int(place.split(":")[-1])
        if kind == "FLOCK" and inode in cores and int(pid) in ours:
            yield f"lease of core {cores[inode]} by {pid}"


def open_things(process: psutil.Process | None = None) -> dict[str, int]:
    """Numbers of open files, open sockets and threads of a process."""
    process = process or psutil.Process()
    links = [_link(path) for path in Path(f"/proc/{process.pid}/fd").iterdir()]
    sockets = sum(link.startswith("socket:") for link in links)
    return {"files": len(links) - sockets, "sockets": sockets, "threads": process.num_threads()}


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:  # the descriptor of the listing itself
        return ""
