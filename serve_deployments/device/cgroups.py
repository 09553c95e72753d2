"""What the control groups of this process allow, its CPU quota and its memory, and how long they waited for a core.

A container is a control group, and so are a systemd service and a `systemd-run --scope`. Groups are nested, and each
level may have a limit of its own, so the tightest of them counts (cgroups(7), both versions).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_UNLIMITED_BYTES = 2**60
"""Memory limit above which there is none: version 1 writes the largest multiple of a page below 2**63 for no limit."""


@dataclass(frozen=True)
class Quota:
    """The tightest CPU quota of this process.

    Args:
        cores: CPU seconds per second; infinity if there is no quota.
        group: the control group that has it, as a path; empty if there is none.
    """

    cores: float = math.inf
    group: str = ""


def cpu_quota(root: Path = Path("/")) -> Quota:
    """Return the tightest CPU quota of this process's control groups.

    Args:
        root: folder with `proc/self` and the mounted control groups.
    """
    quotas = [Quota(cores, str(group)) for group in _groups(root, "cpu") if (cores := _quota(group)) is not None]
    return min(quotas, key=lambda quota: quota.cores, default=Quota())


def memory_free_share(root: Path = Path("/")) -> float:
    """Return the share of its memory limit that this process can still use; 1 if it has no limit.

    What caches of files use counts as free, as the kernel gives it up when memory is needed.
    """
    shares = [share for group in _groups(root, "memory") if (share := _free_share(group)) is not None]
    return min(shares, default=1.0)


def cpu_pressure_s(root: Path = Path("/")) -> float:
    """Return the seconds in which a process of this one's control group waited for a core; infinity if not counted.

    That is the kernel's pressure stall information (Documentation/accounting/psi), of the innermost group that has it.
    """
    for group in _groups(root, "cpu"):
        if found := re.search(r"^some .*\btotal=(\d+)", _read(group / "cpu.pressure"), re.MULTILINE):
            return int(found[1]) / 1e6
    return math.inf


def _quota(group: Path) -> float | None:
    """Return the quota of one group; None if it has none."""
    two = _read(group / "cpu.max")
    words = two.split() if two else [_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")]
    try:
        quota, period = map(float, words)
    except ValueError:  # "max", or no such files
        return None
    return quota / period if quota > 0 and period > 0 else None  # -1 stands for no quota


def _free_share(group: Path) -> float | None:
    """Return the share of one group's memory limit that is free; None if it has no limit."""
    try:
        limit = float(_read(group / "memory.max") or _read(group / "memory.limit_in_bytes"))
        used = float(_read(group / "memory.current") or _read(group / "memory.usage_in_bytes"))
    except ValueError:
        return None
    if not 0 < limit < _UNLIMITED_BYTES:
        return None
    cached = re.search(r"^(?:total_)?inactive_file (\d+)$", _read(group / "memory.stat"), re.MULTILINE)
    return min(1.0, max(0.0, 1.0 - (used - float(cached[1] if cached else 0)) / limit))


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's group and of those around it that have a controller, the innermost first."""
    for kind, own in _memberships(root, controller):
        for top, mounted in _mounts(root, kind, controller):
            # What is mounted in a container may be a part of the tree, and paths begin at its root.
            inside = own.removeprefix(top.rstrip("/")) if own.startswith(top) else ""
            folder = mounted
            folders = [folder, *(folder := folder / part for part in Path(inside.lstrip("/")).parts if part != "..")]
            yield from reversed(folders)


def _memberships(root: Path, controller: str) -> Iterator[tuple[str, str]]:
    """Yield the kind of file system and the path of each group of this process that may have a controller."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield "cgroup2", path
        elif controller in controllers.split(","):
            yield "cgroup", path


def _mounts(root: Path, kind: str, controller: str) -> Iterator[tuple[str, Path]]:
    """Yield the part of the tree that is mounted, and where, of each mount of this kind (proc_pid_mountinfo(5))."""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        words, (found, _, options) = before.split(), after.split(None, 2)
        if found == kind and (kind == "cgroup2" or controller in options.split(",")):
            yield _unescaped(words[3]), root / _unescaped(words[4]).lstrip("/")


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _read(file: Path) -> str:
    """Return the text of a file; empty if it cannot be read."""
    try:
        return file.read_text().strip()
    except (OSError, ValueError):
        return ""
