"""GPUs as vectors of features, so that a searcher can use what it learned on one card for others."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

GIB = 2**30
"""Bytes of a GiB."""

PRECISIONS = ("float32", "float16", "bfloat16", "int8")
FEATURE_NAMES = (
    "log2_gpu_memory_gib",
    "log2_gpu_bandwidth_gb_s",
    "log2_gpu_float32_gflop_s",
    "log2_gpu_float16_gflop_s",
)


@dataclass(frozen=True)
class Gpu:
    """One type of GPU, where one GPU is what Ray and NVML count as one.

    Attributes:
        name: our name for it; the same as Ray's where Ray has an unambiguous one.
        memory_gib: size as printed on the card, read as GiB; NVML shows a few per cent less (ECC, firmware).
        bandwidth_gb_s: memory bandwidth, 1e9 bytes/s.
        peak_flops: precision → peak FLOP/s (operations/s for int8), dense.
        aliases: other names of the card (Ray accelerator types, NVML products) that the rules of `find` do not cover.
        source: where the figures come from.
        part_of: name of the card that it is a slice of; None for a whole card.
        part: the part of that card that it takes, and of which nothing is left to others.
    """

    name: str
    memory_gib: float
    bandwidth_gb_s: float
    peak_flops: Mapping[str, float]
    aliases: tuple[str, ...]
    source: str
    part_of: str | None = None
    part: float = 1.0

    def __post_init__(self) -> None:
        figures = (self.memory_gib, self.bandwidth_gb_s, *self.peak_flops.values())
        if not all(math.isfinite(figure) and figure > 0 for figure in figures):
            raise ValueError(f"GPU {self.name!r} needs positive finite figures, got {figures}")
        if "float32" not in self.peak_flops or not set(self.peak_flops) <= set(PRECISIONS):
            raise ValueError(
                f"GPU {self.name!r} needs a float32 peak and only {PRECISIONS}, got {tuple(self.peak_flops)}"
            )
        object.__setattr__(self, "peak_flops", MappingProxyType(dict(self.peak_flops)))

    def __reduce__(self) -> tuple[type["Gpu"], tuple[object, ...]]:
        # A mappingproxy cannot be pickled, and a Gpu travels to Ray's workers.
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return Gpu, tuple({**values, "peak_flops": dict(self.peak_flops)}.values())

    def peak(self, precision: str) -> float:
        """Peak FLOP/s at `precision`; that of float32 where the card has none of its own for it."""
        if precision not in PRECISIONS:
            raise ValueError(f"unknown precision {precision!r}; use one of {', '.join(PRECISIONS)}")
        return self.peak_flops.get(precision, self.peak_flops["float32"])

    def features(self) -> tuple[float, ...]:
        """The features that a searcher sees, in the order of `FEATURE_NAMES`; log2, since ratios matter."""
        return (
            math.log2(self.memory_gib),
            math.log2(self.bandwidth_gb_s),
            math.log2(self.peak("float32") / 1e9),
            math.log2(self.peak("float16") / 1e9),
        )
