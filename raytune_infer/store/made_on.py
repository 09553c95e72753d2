"""What a study ran on and with, as its driver sees it: the machine, and the versions that numbers depend on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cluster import nvml

MadeOn = Mapping[str, str]
"""Name for people → value; the order is that in which it is shown."""

_PACKAGES = ("raytune-infer", "ray", "torch")
"""Packages that decide what a replica does beside its own model."""


def made_on() -> MadeOn:
    """Return what this process runs on and with."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = ", ".join(device.name for device in nvml.devices())
    return {
        "processor": processor(), "cores": str(cores), **({"GPUs": gpus} if gpus else {}),
        "Python": platform.python_version(), **{name: _version(name) for name in _PACKAGES},
    }  # fmt: skip


def processor() -> str:
    """Return the name of this machine's processor; its architecture where the system does not tell."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
