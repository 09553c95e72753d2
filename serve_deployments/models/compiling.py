"""`torch.compile` as a setting of models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from serve_deployments.models.context import ModelError
from serve_deployments.resources.enforcement import Enforcement

MODES = ("none", "default", "reduce-overhead", "max-autotune")

_WITHOUT_GRAPHS = {"reduce-overhead": "default", "max-autotune": "max-autotune-no-cudagraphs"}
"""Mode in which torch records CUDA graphs → the same without them. A graph cannot be recorded within a graph, and torch
records on a stream of its own (`torch._inductor.cudagraph_trees`), whose work has all multiprocessors of the GPU."""


def compiled(
    model: Any,
    mode: str,
    *,
    device: str,
    cuda_graphs: bool,
    in_stream: bool = False,
    compile: Callable[..., Any] | None = None,
) -> tuple[Any, tuple[Enforcement, ...]]:
    """Compiles a model in the requested mode.

    The compilation takes place at the first batch; if it fails there, the replica fails with torch's message.

    Args:
        model: a torch module.
        mode: one of `MODES`.
        device: the device that it runs on.
        cuda_graphs: whether CUDA graphs are recorded around the model.
        in_stream: whether it has to compute in one stream (`ModelContext.cuda_stream`), so that graphs of torch's own
            would escape its share of the GPU.
        compile: function that compiles; `torch.compile` by default.

    Returns:
        The model, and a record of how it is compiled; without one for the mode "none".

    Raises:
        ModelError: there is no such mode.
    """
    if mode not in MODES:
        raise ModelError(f"unknown compile mode {mode!r}; use one of {', '.join(MODES)}")
    if mode == "none":
        return model, ()
    if compile is None:
        import torch

        compile = torch.compile
    taken = _WITHOUT_GRAPHS.get(mode, mode) if device.startswith("cuda") and (cuda_graphs or in_stream) else mode
    how = f"torch.compile, mode {taken}"
    if taken != mode:
        how += ", as CUDA graphs are recorded around it" if cuda_graphs else (
            ", as torch would record CUDA graphs outside the model's gpu_share; `cuda_graphs: true` records them within"
        )  # fmt: skip
    return compile(model, mode=taken), (Enforcement("compile", mode, taken == mode or cuda_graphs, how),)
