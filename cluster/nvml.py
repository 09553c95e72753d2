"""Reads this machine's GPUs from NVML, and whether CUDA MPS runs here.

The functions that read NVML take its module as an argument, so that a test can pass a fake
(`cluster.fakes.FakeNvml`). A machine without NVIDIA's driver has no devices; that is not an error.
"""

import errno
import importlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.gpus import GIB
from cluster.torch_build import TorchBuild, torch_here


@dataclass(frozen=True)
class Device:
    """One GPU, or one slice of a GPU that is split by MIG.

    Attributes:
        index: NVML's number of the GPU.
        name: product name; of a slice with its profile, as in `NVIDIA A100-SXM4-40GB MIG 1g.5gb`.
        memory_gib: total memory.
        mig: whether it is a slice.
        capability: compute capability of the GPU; None where NVML does not tell.
    """

    index: int
    name: str
    memory_gib: float
    mig: bool
    capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class NodeGpus:
    """The GPUs of one node, whether an MPS daemon runs there, and its torch; None where that was not asked.

    Attributes:
        silent: which of its GPUs, or slices, did not answer NVML and why, in words; `devices` lacks them.
    """

    devices: tuple[Device, ...]
    has_mps: bool
    torch: TorchBuild | None = None
    silent: tuple[str, ...] = ()


def devices(nvml: Any = None) -> tuple[Device, ...]:
    """The GPUs of this machine that answer, those that are split by MIG as their slices; empty without a driver."""
    return tuple(each for each in _asked(nvml) if isinstance(each, Device))


def reading(nvml: Any = None) -> NodeGpus:
    """The GPUs of this machine, whether MPS runs, and its torch; call it on the node in question."""
    asked = _asked(nvml)
    found = tuple(each for each in asked if isinstance(each, Device))
    silent = tuple(each for each in asked if isinstance(each, str))
    return NodeGpus(found, mps_running(), torch_here() if found else None, silent)  # torch's import takes seconds


def mps_running(pipe_directory: Path | None = None) -> bool:
    """Whether an MPS control daemon listens on this machine.

    A daemon that died leaves its control pipe behind, and one in another container has a process id that
    cannot be seen from here. So neither the file nor the process list is proof: the pipe is opened for a moment.

    Args:
        pipe_directory: MPS's directory; default `CUDA_MPS_PIPE_DIRECTORY`, or /tmp/nvidia-mps (CUDA's MPS guide).
    """
    if pipe_directory is None:
        pipe_directory = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY") or "/tmp/nvidia-mps")
    control = pipe_directory / "control"
    try:
        return _fifo_read(control) if control.is_fifo() else _socket_bound(control)
    except OSError:
        return False


def _fifo_read(path: Path) -> bool:
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))  # OSError (ENXIO) where nobody has it open for reading
    return True


def _socket_bound(path: Path) -> bool:
    # A datagram socket: if the other end is a stream, the kernel returns EPROTOTYPE and the daemon notices nothing.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(str(path)) in (0, errno.EPROTOTYPE, errno.EAGAIN)


@contextmanager
def _session(nvml: Any) -> Iterator[Any]:
    """Initialises NVML for the duration of the context; yields None without its module or a driver."""
    if nvml is None:
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            yield None
            return
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        yield None
        return
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()


def _asked(nvml: Any) -> list[Device | str]:
    """Each GPU of this machine, or slice; one that does not answer as words of that. It must not hide the others."""
    with _session(nvml) as api:
        if api is None:
            return []
        return [each for index in range(api.nvmlDeviceGetCount()) for each in _card(api, index)]


def _card(nvml: Any, index: int) -> Iterator[Device | str]:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        mig = _is_split(nvml, handle)
        # Nothing runs on the whole of a GPU that is split: what there is of it are its slices.
        parts = list(_slices(nvml, handle)) if mig else [handle]
        capability = _capability(nvml, handle)
    except nvml.NVMLError as error:
        yield f"GPU {index} does not answer NVML: {error}"
        return
    for number, each in enumerate(parts):
        try:
            memory_gib = nvml.nvmlDeviceGetMemoryInfo(each).total / GIB
            yield Device(index, _text(nvml.nvmlDeviceGetName(each)), memory_gib, mig, capability)
        except nvml.NVMLError as error:
            yield f"GPU {index}{f', slice {number},' if mig else ''} does not answer NVML: {error}"


def _is_split(nvml: Any, handle: Any) -> bool:
    try:
        return bool(nvml.nvmlDeviceGetMigMode(handle)[0] == nvml.NVML_DEVICE_MIG_ENABLE)
    except nvml.NVMLError:  # a card that has no MIG
        return False


def _slices(nvml: Any, handle: Any) -> Iterator[Any]:
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        with suppress(nvml.NVMLError):  # there is none of this number
            yield nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)


def _capability(nvml: Any, handle: Any) -> tuple[int, int] | None:
    try:
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    except nvml.NVMLError:
        return None
    return int(major), int(minor)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value  # older NVML bindings answer in bytes
