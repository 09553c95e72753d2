"""Enforcement of a replica's part of a GPU: Ray's num_gpus only reserves. What was enforced is asked of the device."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from serve_deployments.device.gpu import card, share
from serve_deployments.device.gpu.memory import why_not_capped, why_over_cap
from serve_deployments.device.gpu.mps import LEAST_CAPABILITY, under_mps
from serve_deployments.device.gpu.outside import GIB, cap_fraction, outside_bytes
from serve_deployments.device.gpu.share import CannotConfine, confine
from serve_deployments.resources.enforcement import Enforcement
from serve_deployments.settings import Settings


class NoDevice(RuntimeError):
    """A GPU was requested, but there is none."""


def enforce_gpu(settings: Settings, torch: Any) -> tuple[Enforcement, ...]:
    """Limits this process's GPU memory, and this thread's share of the multiprocessors.

    The share is enforced by MPS where this process is its client (an environment variable, see `Settings`), else by a
    green context: never by both, which would be a share of the share.

    Args:
        settings: the requested settings.
        torch: the torch module (an argument, so that tests need no GPU).

    Raises:
        NoDevice: a GPU was requested, but torch sees none: the measured numbers would be the CPU's.
    """
    share.release()
    if settings.gpu_type is None:
        return ()
    cuda = torch.cuda.is_available()
    if not cuda and not settings.emulated:
        raise NoDevice(
            f"{settings.gpu_type} requested, but torch {torch.__version__} sees no CUDA device on this node; "
            "install a CUDA build of torch there (make install TORCH_INDEX=…)"
        )
    done = []
    if settings.gpu_memory:
        done.append(_memory(settings, torch, cuda))
    if 0 < settings.gpu_share < 1:
        done.append(_share(settings, torch, cuda))
    return tuple(done)


def checked(
    told: Sequence[Enforcement], settings: Settings, torch: Any, processes: Iterable[int] = ()
) -> tuple[Enforcement, ...]:
    """What was enforced, asked of the device again, now that a model runs: it may hold more, or compute elsewhere.

    Args:
        told: the records of `enforce_gpu`.
        settings: the settings that it was called with.
        torch: the torch module.
        processes: ids of the processes that the model has started.
    """
    if not any(each.enforced for each in told):
        return tuple(told)
    others = [pid for pid in processes if uses_a_gpu(pid)]
    return tuple(_checked(each, settings, torch, len(others)) if each.enforced else each for each in told)


def too_much_is_held(settings: Settings, torch: Any) -> str | None:
    """What this process holds of the GPU's memory beyond its cap, in words; None if it holds to it or has no cap."""
    if not settings.gpu_memory or not torch.cuda.is_available():
        return None
    return why_over_cap(cap_fraction(settings, torch), torch)


def uses_a_gpu(pid: int, proc: Path = Path("/proc")) -> bool:
    """Whether a process has a device of NVIDIA's open; False if it has ended or is another user's."""
    with suppress(OSError):
        for descriptor in (proc / str(pid) / "fd").iterdir():
            with suppress(OSError):
                if os.readlink(descriptor).startswith("/dev/nvidia"):
                    return True
    return False


def _memory(settings: Settings, torch: Any, cuda: bool) -> Enforcement:
    asked, how = f"{settings.gpu_memory:g}", "torch.cuda.set_per_process_memory_fraction"
    if not cuda:
        return Enforcement("gpu_memory", asked, False, "emulated")
    fraction = cap_fraction(settings, torch)
    how += f", {outside_bytes(torch) / GIB:.2f} GiB of it left to CUDA itself"
    try:
        torch.cuda.set_per_process_memory_fraction(fraction)
    except RuntimeError as error:  # an allocator of the user's own, by PYTORCH_CUDA_ALLOC_CONF
        return Enforcement("gpu_memory", asked, False, f"torch's allocator takes no cap: {error}")
    why = None if settings.gpu_memory == 1 else why_not_capped(fraction, torch)  # of all of it there is no more
    return Enforcement("gpu_memory", asked, why is None, f"{how}: {why}" if why else how)


def _share(settings: Settings, torch: Any, cuda: bool) -> Enforcement:
    asked = f"{settings.gpu_share:g}"
    if not cuda:
        return Enforcement("gpu_share", asked, False, "emulated")
    device = torch.cuda.current_device()
    if under_mps(device):
        return _share_by_mps(asked, torch)
    try:
        return Enforcement("gpu_share", asked, True, confine(settings.gpu_share, torch))
    except CannotConfine as error:
        how = f"CUDA MPS does not run on this node (nvidia-cuda-mps-control -d starts it), and {error}"
        return Enforcement("gpu_share", asked, False, how)


def _share_by_mps(asked: str, torch: Any) -> Enforcement:
    """What a client of MPS has of a GPU: torch's properties of it are of the client's part, NVML's of the whole."""
    device = torch.cuda.get_device_properties(torch.cuda.current_device())
    if device.major < LEAST_CAPABILITY:
        how = f"MPS limits no client to a share on cards before Volta (this has compute capability {device.major})"
        return Enforcement("gpu_share", asked, False, how)
    count, total = device.multi_processor_count, card.multiprocessors(torch)
    given = f"{count} multiprocessors"
    if total is None:
        how = f"CUDA MPS gives {given}, and NVML does not tell how many the whole card has"
        return Enforcement("gpu_share", asked, False, how, given)
    if count >= total:
        how = f"CUDA MPS gives all {given}: its active thread percentage did not take effect for this process"
        return Enforcement("gpu_share", asked, False, how, given)
    return Enforcement(
        "gpu_share", asked, True, f"CUDA MPS, active thread percentage: {count} of {total} multiprocessors", given
    )


def _checked(told: Enforcement, settings: Settings, torch: Any, others: int) -> Enforcement:
    if others:
        plural = "processes" if others > 1 else "process"
        return replace(
            told, enforced=False, how=f"{told.how}; not held to it: {others} {plural} that the model started"
        )
    why = None
    if told.limit == "gpu_memory":
        why = too_much_is_held(settings, torch)
    elif told.limit == "gpu_share" and share.held_stream() is not None:
        why = share.why_not_held(torch)
    return told if why is None else replace(told, enforced=False, how=f"{told.how}; {why}")
