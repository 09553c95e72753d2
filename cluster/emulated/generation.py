"""An analytic model of a language-model server: how fast text is generated on GPUs that are not at hand.

A forward pass of t tokens in s sequences, each after c earlier tokens, takes on g cards with tensor parallelism

    T(t, s, c) = max(compute, memory) + 2 L · all-reduce + launches + host
    compute    = t (2 A + 4 L d c) / (g · peak)                  Kaplan et al. 2020, Table 1
    memory     = (weights touched by t tokens / g + s c · KV bytes) / bandwidth

Prefill is one pass over the prompt and bound by compute. Decoding is one pass per token and bound by memory: it
reads all weights and each sequence's keys and values (Pope et al. 2023, "Efficiently scaling transformer inference",
section 2). Tensor parallelism sums activations twice a layer (Shoeybi et al. 2019, Megatron-LM). Sequences are
batched continuously (Yu et al. 2022, "Orca"): a slot that becomes free takes the next prompt, whose prefill stalls
the others. Searchers learn the shapes of this formula; none of its numbers is a measurement.

Notation: A active parameters, L layers, d width, b running sequences, I prompt tokens, O output tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from cluster.emulated.roofline import BYTES, CUDA_CONTEXT_GIB, MEMORY_EFFICIENCY, Array
from cluster.gpus import GIB, Gpu

# Bandwidth from one card to its neighbours in GB/s, one direction: half of the datasheet's figure for both. Cards that
# are not named here use PCIe.
LINK_GB_S: Mapping[str, float] = {
    "V100": 150, "V100-32G": 150,  # NVLink 2, 300 GB/s
    "A100-40G": 300, "A100-80G": 300,  # NVLink 3, 600 GB/s
    "H100-SXM": 450, "H200": 450, "B200": 900,  # NVLink 4 and 5, 900 and 1,800 GB/s
    "MI250": 150, "MI300X": 448,  # Infinity Fabric: 3 of 100 GB/s to other dies; 7 of 128 GB/s
}  # fmt: skip
PCIE_4_CARDS = frozenset({"A100-80G-PCIe", "A100-64G", "A10", "A10G", "A30", "L4", "L40S", "RTX-A6000"})
PCIE_5_CARDS = frozenset({"H100-NVL", "H200-NVL", "H100-PCIe", "RTX-PRO-6000"})
PCIE_GB_S = {3: 16.0, 4: 32.0, 5: 64.0}  # 16 lanes, one direction (PCI-SIG)

# Latency of an all-reduce and of each hop, of the order of NCCL's own cost model (its tuning table: 3.6 us a ring, then
# 0.5 us a hop over NVLink and 1 us over PCIe with the low-latency protocol, 3.4 and 5.7 us with the simple one).
ALL_REDUCE_S = 4e-6
NVLINK_HOP_S, PCIE_HOP_S = 1e-6, 2e-6

USABLE_MEMORY = 0.9  # the part of a card that vLLM takes unless told otherwise (gpu_memory_utilization)
KV_BYTES = 2  # keys and values stay at 16 bit, the engines' default
HEAD_WIDTH = 128  # channels of a head in most of today's models
KERNELS_PER_LAYER = 10  # norms, QKV, rotation, attention, output, two of the MLP's, activation, residuals; fused
KERNEL_S = 2.5e-6  # a launch with CUDA graphs: only the driver's own cost (see roofline.LAUNCH_S)


@dataclass(frozen=True)
class LanguageModel:
    """The hardware demands of a decoder-only language model.

    Attributes:
        parameters: number of parameters.
        active_parameters: parameters that one token uses; fewer than all in a mixture of experts.
        layers: number of layers L.
        width: width d of the model.
        kv_width: channels of the keys of a layer; less than d with grouped queries (Ainslie et al. 2023).
        experts: experts in each layer; 1 if the model is dense.
        experts_per_token: experts of a layer that one token uses.
    """

    parameters: float
    active_parameters: float
    layers: float
    width: float
    kv_width: float
    experts: float = 1.0
    experts_per_token: float = 1.0

    def __post_init__(self) -> None:
        if not all(np.isfinite(v) and v > 0 for v in (getattr(self, f.name) for f in fields(self))):
            raise ValueError(f"a language model needs positive finite figures, got {self}")
        if self.active_parameters > self.parameters or self.experts_per_token > self.experts:
            raise ValueError(
                f"active_parameters and experts_per_token must not exceed parameters and experts, got {self}"
            )
        if self.active_parameters < self.parameters * self.experts_per_token / self.experts * (1 - 1e-9):
            raise ValueError(
                f"active_parameters is too small: {self.experts_per_token:g} of {self.experts:g} experts alone have "
                f"more than {self.active_parameters:.3g} of {self.parameters:.3g} parameters; raise active_parameters"
            )

    def parameters_touched(self, tokens: Array | float) -> Array:
        """Parameters that a batch of tokens reads, each token choosing its k of E experts at random.

        shared + routed · (1 − (1 − k/E)^tokens), with A = shared + routed · k/E.
        """
        missed = 1 - self.experts_per_token / self.experts
        routed = (self.parameters - self.active_parameters) / missed if missed > 0 else 0.0
        return self.parameters - routed * missed ** np.asarray(tokens, dtype=float)


@dataclass(frozen=True)
class Runtime:
    """The properties of the inference engine that affect speed. Defaults describe a good engine of 2025.

    Attributes:
        compute_efficiency: fraction of the peak that large products reach. 0.5: usual for prefill (Pope et al. 2023
            report up to 0.76 on TPUs).
        memory_efficiency: fraction of the memory bandwidth that decoding reaches.
        link_efficiency: fraction of the link's bandwidth that an all-reduce reaches.
        step_s: the host's seconds per pass: scheduling, sampling, detokenising. Our choice.
        prompts_together: 0: free slots fill one by one; 1: all prompts of a batch arrive at once, and the last
            one waits for the prefill of all.
        admits_what_fits: whether sequences that do not fit in memory wait (Kwon et al. 2023, "PagedAttention");
            otherwise a server that cannot hold max_batch_size whole sequences does not start.
    """

    compute_efficiency: float = 0.5
    memory_efficiency: float = MEMORY_EFFICIENCY
    link_efficiency: float = 0.7
    step_s: float = 1e-3
    prompts_together: float = 0.0
    admits_what_fits: bool = False


@dataclass(frozen=True)
class Generation:
    """The steady state of a server; arrays of one shape.

    Attributes:
        runs: whether the model fits in memory; the other figures mean nothing where it does not.
        rps: requests/s.
        ttft_s: time to the first token.
        tpot_s: time per further output token.
        latency_s: latency of a whole request.
    """

    runs: np.ndarray
    rps: Array
    ttft_s: Array
    tpot_s: Array
    latency_s: Array


def link(gpu: Gpu) -> tuple[float, float]:
    """(bandwidth in GB/s one way, latency in seconds per hop) between cards of this type in one machine."""
    if gpu.name in LINK_GB_S:
        return LINK_GB_S[gpu.name], NVLINK_HOP_S
    return PCIE_GB_S[4 if gpu.name in PCIE_4_CARDS else 5 if gpu.name in PCIE_5_CARDS else 3], PCIE_HOP_S


def serve(
    model: LanguageModel,
    gpu: Gpu,
    *,
    input_tokens: float,
    output_tokens: float,
    num_gpus: Array | float,
    max_batch_size: Array | float,
    precision: str = "float16",
    runtime: Runtime | None = None,
) -> Generation:
    """The steady state of a model on some cards under saturation: as many clients as there are slots.

    Args:
        model: the language model.
        gpu: the card.
        input_tokens: I, prompt tokens of every request.
        output_tokens: O, output tokens of every request.
        num_gpus: g, cards that share each layer; broadcasts against max_batch_size.
        max_batch_size: slots for sequences.
        precision: precision of weights and arithmetic.
        runtime: the inference engine; a good one by default.

    Raises:
        ValueError: a count is below 1, or the precision is unknown.
    """
    rt = runtime or Runtime()
    g, slots = np.broadcast_arrays(np.asarray(num_gpus, dtype=float), np.asarray(max_batch_size, dtype=float))
    if not (np.all(g >= 1) and np.all(slots >= 1) and input_tokens >= 1 and output_tokens >= 1):
        raise ValueError(
            "num_gpus, max_batch_size, input_tokens and output_tokens must be 1 or more, got "
            f"{num_gpus}, {max_batch_size}, {input_tokens} and {output_tokens}"
        )
    fit = _sequences_that_fit(model, gpu, g, input_tokens, output_tokens, precision)
    runs = fit >= (1 if rt.admits_what_fits else slots)
    b = np.maximum(1.0, np.minimum(slots, fit)) if rt.admits_what_fits else slots
    prefill = _pass_s(
        model, gpu, rt, g, tokens=input_tokens, sequences=1.0, before=input_tokens / 2, precision=precision
    )
    step = _pass_s(
        model, gpu, rt, g, tokens=b, sequences=b, before=input_tokens + output_tokens / 2, precision=precision
    )
    # While one request writes O tokens, each of the b slots is filled once, and a prefill stops all the others.
    rps = b / (output_tokens * step + b * prefill)
    tpot = step + (b - 1) * prefill / output_tokens
    queue = (slots - b) / rps
    ttft = step / 2 + prefill * (1 + rt.prompts_together * (b - 1)) + queue
    return Generation(runs, rps, ttft, tpot, ttft + output_tokens * tpot)


def _pass_s(
    model: LanguageModel, gpu: Gpu, rt: Runtime, g: Array, *, tokens: Array | float, sequences: Array | float,
    before: float, precision: str,
) -> Array:  # fmt: skip
    """Seconds of one forward pass: T of the module's equation."""
    # A card without a rate of its own for this precision computes at that of float32, on ordinary cores.
    flops = tokens * (2 * model.active_parameters + 4 * model.layers * model.width * before)
    compute_s = flops / (g * gpu.peak(precision) * rt.compute_efficiency)
    weights = model.parameters_touched(tokens) * BYTES[precision] / g
    read = weights + sequences * before * _kv_bytes_per_token(model, g)
    memory_s = read / (gpu.bandwidth_gb_s * 1e9 * rt.memory_efficiency)
    gb_s, hop_s = link(gpu)
    # Ring all-reduce: 2 (g - 1) hops, each of 1/g of the data (Patarasuk & Yuan 2009).
    data = tokens * model.width * BYTES["float16"]
    ring_s = ALL_REDUCE_S + 2 * (g - 1) * (hop_s + data / g / (gb_s * 1e9 * rt.link_efficiency))
    reduce_s = np.where(g > 1, 2 * model.layers * ring_s, 0.0)
    return np.maximum(compute_s, memory_s) + reduce_s + model.layers * KERNELS_PER_LAYER * KERNEL_S + rt.step_s


def _kv_bytes_per_token(model: LanguageModel, g: Array) -> Array:
    """Bytes of keys and values per token and card; heads cannot be divided, so more cards than heads hold copies."""
    heads = max(1.0, model.kv_width / HEAD_WIDTH)
    return 2 * model.layers * model.kv_width * KV_BYTES / np.minimum(g, heads)


def _sequences_that_fit(
    model: LanguageModel, gpu: Gpu, g: Array, input_tokens: float, output_tokens: float, precision: str
) -> Array:
    """How many whole sequences fit in memory beside the weights; below 1 where not even one does."""
    activations = 4 * input_tokens * model.width * BYTES["float16"]  # a pass's inputs, outputs and the MLP's
    taken = CUDA_CONTEXT_GIB * GIB + model.parameters * BYTES[precision] / g + activations
    room = USABLE_MEMORY * gpu.memory_gib * GIB - taken
    return np.floor(room / (_kv_bytes_per_token(model, g) * (input_tokens + output_tokens)))
