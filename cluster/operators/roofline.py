"""The roofline of a device (Williams, Waterman, Patterson 2009): its peak and its bandwidth, and what they allow.

    attainable FLOP/s = min(peak, intensity * bandwidth),   intensity = FLOPs / bytes moved

The intensity at which the two meet is the ridge: an operator to the left of it is bound by memory, one to the right by
compute. Bytes count each input and output once, so an operator whose data stay in caches may be above the roof.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from cluster.gpus import Gpu

Bound = Literal["compute", "memory"]

_SIDE = 768
"""Side of the square matrices whose product gives the peak: large enough for it on a few cores, done in a hundredth of
a second on one."""
_COPIED_BYTES = 2**28
"""Bytes of the array whose copy gives the bandwidth: more than the caches of most processors hold."""
_REPEATS = 4


@dataclass(frozen=True)
class Roofline:
    """The peak and the bandwidth of a device.

    Args:
        device: name of the device, with its number of cores where it has such.
        peak_flops: precision → FLOP/s.
        bandwidth_bytes_s: bytes/s.
        source: where the figures come from.

    Raises:
        ValueError: a figure is not positive and finite, or there is none for float32.
    """

    device: str
    peak_flops: Mapping[str, float]
    bandwidth_bytes_s: float
    source: str

    def __post_init__(self) -> None:
        figures = (self.bandwidth_bytes_s, *self.peak_flops.values())
        if "float32" not in self.peak_flops or not all(math.isfinite(x) and x > 0 for x in figures):
            raise ValueError(f"a roofline needs positive finite figures, float32 among them, got {self}")

    def peak(self, precision: str) -> float:
        """FLOP/s at a precision; that of float32 where there is none of its own."""
        return self.peak_flops.get(precision, self.peak_flops["float32"])

    def ridge(self, precision: str) -> float:
        """FLOPs for each byte at which the device is bound by compute as well as by memory."""
        return self.peak(precision) / self.bandwidth_bytes_s

    def bound(self, intensity: float, precision: str) -> Bound:
        """What an operator of this intensity is bound by."""
        return "compute" if intensity >= self.ridge(precision) else "memory"

    def attainable(self, intensity: float, precision: str) -> float:
        """FLOP/s that an operator of this intensity can reach."""
        return min(self.peak(precision), intensity * self.bandwidth_bytes_s)

    def least_s(self, flops: float, moved_bytes: float, precision: str) -> float:
        """Least seconds for so much work."""
        return max(flops / self.peak(precision), moved_bytes / self.bandwidth_bytes_s)


def gpu_roofline(gpu: Gpu) -> Roofline:
    """The roofline of a GPU by its datasheet."""
    return Roofline(gpu.name, dict(gpu.peak_flops), gpu.bandwidth_gb_s * 1e9, gpu.source)


def measured_roofline(
    device: str, precisions: tuple[str, ...] = ("float32", "bfloat16"), *, clock: Callable[[], float] | None = None
) -> Roofline:
    """Measures the roofline of this process's CPU with torch's present number of threads; takes about half a second.

    The peak is that of a product of square matrices, the bandwidth that of a copy, which reads and writes each byte:
    the best of a few, as other work can only make them slower.

    Args:
        device: name of the device.
        precisions: those that a peak is wanted of; float32 always is.
        clock: clock in seconds.
    """
    import torch

    now = clock or time.perf_counter

    def best_s(run: Callable[[], object]) -> float:
        run()
        times = []
        for _ in range(_REPEATS):
            began_s = now()
            run()
            times.append(now() - began_s)
        return max(min(times), 1e-9)

    with torch.inference_mode():
        peaks = {}
        for name in dict.fromkeys(("float32", *precisions)):
            square = torch.randn(_SIDE, _SIDE).to(getattr(torch, name))
            peaks[name] = 2.0 * _SIDE**3 / best_s(lambda square=square: square @ square)  # type: ignore[misc]
        source = torch.zeros(_COPIED_BYTES // 4)
        target = torch.empty_like(source)
        bandwidth = 2.0 * _COPIED_BYTES / best_s(lambda: target.copy_(source))
        threads = torch.get_num_threads()
    cores = f"{threads} {'core' if threads == 1 else 'cores'}"
    how = f"measured here with {cores}: a product of two {_SIDE} x {_SIDE} matrices, a copy of 256 MiB"
    return Roofline(f"{device}, {cores}", peaks, bandwidth, how)
