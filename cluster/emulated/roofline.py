"""An analytic model of a device: how long a batch takes on hardware that is not at hand.

    T(b) = launches + max(compute(b), memory(b)) + pre- and post-processing(b)

A roofline (Williams, Waterman, Patterson 2009, "Roofline: an insightful visual performance model") with
Hockney's half-performance length (Hockney & Jesshope 1981): a kernel of w FLOP runs at peak x w / (w +
w_half), w_half = peak x FILL_S. A faster card has a larger w_half, so it needs a larger batch to be used
well. The formula is for emulation and for meta-training on synthetic tasks; its numbers are not measurements of
any card.

Notation: b batch size, c CPU cores, s share of the GPU, k kernels per batch, P peak FLOP/s, B bandwidth.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import overload

import numpy as np
import numpy.typing as npt

from cluster.catalogue import CPU_CORE
from cluster.gpus import GIB, PRECISIONS, Gpu

Array = npt.NDArray[np.float64]

# Bytes of one number; profiles count bytes at float32.
BYTES: Mapping[str, int] = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}

# A launch costs 2.5 us in CUDA's driver alone, about 5 us from a framework that stays ahead of the device (NVIDIA,
# "Getting started with CUDA graphs", 2019, measures 2.9 to 9.6 us a kernel in all).
LAUNCH_S = 5e-6

# Time to fill and drain a device within one kernel: a few round trips to DRAM (about 0.5 us each: Jia et al.
# 2018, "Dissecting the NVIDIA Volta GPU architecture via microbenchmarking") and the uneven last wave of blocks.
FILL_S = 5e-6

# Fraction of the datasheet's peak that large kernels reach. float32: 60 % of peak is usual for dense GEMM and
# convolution. Tensor cores: the fraction in published ResNet-50 rates (MLPerf Inference, offline, T4: about 6,000
# images/s of 8 GFLOP, 37 % of the int8 peak), since clocks fall under load and layers are small for the tiles.
COMPUTE_EFFICIENCY: Mapping[str, float] = {"float32": 0.6, "float16": 0.35, "bfloat16": 0.35, "int8": 0.35}

# Fraction of the datasheet's bandwidth that a copy reaches: about 70 to 85 % on K80 to V100 and T4 (Jia et al.
# 2018; 2019, "Dissecting the NVIDIA Turing T4 GPU via microbenchmarking").
MEMORY_EFFICIENCY = 0.8

# Half of a GPU's multiprocessors already use all of its bandwidth, so a share s uses min(1, s / 0.5) of it.
SHARE_FOR_FULL_BANDWIDTH = 0.5

# GPU memory of a process before its first tensor: CUDA context, kernels of cuBLAS and cuDNN, their workspaces.
# nvidia-smi shows 0.3 to 0.5 GiB for an idle PyTorch process on Turing and Ampere cards; this is the middle.
CUDA_CONTEXT_GIB = 0.4


@dataclass(frozen=True)
class ModelProfile:
    """The hardware demands of a model; bytes are those at float32.

    Attributes:
        flops: FLOP per item (a multiply-add is two).
        weight_bytes: size of all weights.
        activation_bytes: memory held per item while a batch runs.
        traffic_bytes: activations read and written per item; the weights, once per batch, are not in it.
        kernels: kernel launches per batch.
        cpu_s: seconds of pre- and post-processing per item on one core.
        source: where the figures come from.
    """

    name: str
    family: str
    flops: float
    weight_bytes: float
    activation_bytes: float
    traffic_bytes: float
    kernels: float
    cpu_s: float
    source: str

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not (np.isfinite(value) and value > 0):
                raise ValueError(f"profile {self.name!r} needs a positive finite `{field.name}`, got {value}")


@dataclass(frozen=True)
class Rates:
    """The rates that one unit of a device, a CPU core or a whole card, reaches in practice.

    Attributes:
        flops: precision → FLOP/s. A precision that is missing is computed at the rate of float32.
        bytes_s: memory bandwidth in bytes/s.
        launch_s: seconds per kernel on top of the work, whatever the batch.
        fill_s: seconds per kernel within the work, hidden where memory is the bottleneck.
    """

    flops: Mapping[str, float]
    bytes_s: float
    launch_s: float = LAUNCH_S
    fill_s: float = FILL_S

    def __post_init__(self) -> None:
        positive, others = (self.bytes_s, *self.flops.values()), (self.launch_s, self.fill_s)
        if "float32" not in self.flops or not all(np.isfinite(rate) and rate > 0 for rate in positive):
            raise ValueError(f"a device needs positive finite rates, float32 among them, got {self}")
        if not all(np.isfinite(cost) and cost >= 0 for cost in others):
            raise ValueError(f"launch_s and fill_s must be 0 or more seconds, got {self}")


def datasheet_rates(gpu: Gpu | None) -> Rates:
    """Rates as the usual fractions of a datasheet's peaks; None: those of a CPU core."""
    device = CPU_CORE if gpu is None else gpu
    flops = {precision: peak * COMPUTE_EFFICIENCY[precision] for precision, peak in device.peak_flops.items()}
    return Rates(flops, device.bandwidth_gb_s * 1e9 * MEMORY_EFFICIENCY)


def batch_time_s(
    profile: ModelProfile,
    rates: Rates,
    *,
    batch: float | Array,
    units: float | Array = 1.0,
    bandwidth_units: float | Array = 1.0,
    precision: str = "float32",
) -> Array:
    """Seconds that one batch takes on the device, without pre- and post-processing.

    Args:
        profile: the model.
        rates: rates of one unit.
        batch: items in the batch.
        units: number of cores, or part of a card, that compute.
        bandwidth_units: as `units`, for memory bandwidth.
        precision: precision of weights, activations and arithmetic.
    """
    width = _bytes(precision) / BYTES["float32"]
    b = np.asarray(batch, dtype=np.float64)
    # b F / (P eta) x (w + w_half) / w with w = b F / k: the fill time comes once per kernel.
    peak = rates.flops.get(precision, rates.flops["float32"]) * units
    compute_s = b * profile.flops / peak + profile.kernels * rates.fill_s
    # A weight that is read takes part in a multiply-add, so of a table of word vectors only the rows looked up count.
    weights = np.minimum(profile.weight_bytes, b * profile.flops / 2 * BYTES["float32"])
    memory_s = (weights + b * profile.traffic_bytes) * width / (rates.bytes_s * bandwidth_units)
    return profile.kernels * rates.launch_s + np.maximum(compute_s, memory_s)


@overload
def service_time_s(
    profile: ModelProfile,
    gpu: Gpu | None,
    *,
    batch: float,
    cpu_cores: float,
    gpu_share: float = 1.0,
    precision: str = "float32",
    others: float = 0.0,
) -> float: ...
@overload
def service_time_s(
    profile: ModelProfile,
    gpu: Gpu | None,
    *,
    batch: float | Array,
    cpu_cores: float | Array,
    gpu_share: float | Array = 1.0,
    precision: str = "float32",
    others: float = 0.0,
) -> float | Array: ...
def service_time_s(
    profile: ModelProfile,
    gpu: Gpu | None,
    *,
    batch: float | Array,
    cpu_cores: float | Array,
    gpu_share: float | Array = 1.0,
    precision: str = "float32",
    others: float = 0.0,
) -> float | Array:
    """Seconds that one batch takes on its share of the device.

    Args:
        profile: the model.
        gpu: the card; None: the model runs on the CPU cores themselves.
        batch: items in the batch, 1 or more; arrays broadcast against the other two.
        cpu_cores: cores, more than 0. An item is prepared by one core, so at most `batch` of them help.
        gpu_share: part of the GPU's multiprocessors, in (0, 1]; without effect where there is no GPU.
        precision: precision of weights, activations and arithmetic on the device.
        others: memory bandwidth that other processes on the GPU ask for meanwhile, in units of all of it
            (`bandwidth_asked` of their shares); where all together ask for more than there is, each has its part of it.
    """
    b, c, s = (np.asarray(value, dtype=np.float64) for value in (batch, cpu_cores, gpu_share))
    if not (np.all(b >= 1) and np.all(c > 0) and np.all((s > 0) & (s <= 1))):
        raise ValueError(
            "a batch needs 1 item or more, more than 0 cores and a GPU share in (0, 1], got "
            f"{batch}, {cpu_cores} and {gpu_share}"
        )
    # Without a GPU, the share only affects the shape of the result.
    units = c * np.ones_like(s) if gpu is None else s
    asked = np.minimum(1.0, s / SHARE_FOR_FULL_BANDWIDTH)
    bandwidth_units = units if gpu is None else asked / np.maximum(1.0, asked + others)
    device_s = batch_time_s(
        profile,
        datasheet_rates(gpu),
        batch=b,
        units=units,
        bandwidth_units=bandwidth_units,
        precision=precision,
    )
    host_s = b * profile.cpu_s / np.minimum(c, b)
    total_s = device_s + host_s
    return float(total_s) if total_s.ndim == 0 else total_s


def bandwidth_asked(gpu_share: float) -> float:
    """Part of a GPU's memory bandwidth that a process with this share of its multiprocessors can use."""
    return min(1.0, gpu_share / SHARE_FOR_FULL_BANDWIDTH)


def memory_gib(profile: ModelProfile, *, batch: float, precision: str = "float32") -> float:
    """GPU memory in GiB of a process that runs batches of this size: context + weights + activations."""
    numbers = profile.weight_bytes + batch * profile.activation_bytes
    return CUDA_CONTEXT_GIB + numbers * _bytes(precision) / BYTES["float32"] / GIB


def _bytes(precision: str) -> int:
    if precision not in BYTES:
        raise ValueError(f"unknown precision {precision!r}; use one of {', '.join(PRECISIONS)}")
    return BYTES[precision]
