"""`torch.compile` as a setting of models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from serve_deployments.enforcement import Enforcement
from serve_deployments.models.context import ModelError

MODES = ("none", "default", "reduce-overhead", "max-autotune")

_WITH_OUR_GRAPHS = {"reduce-overhead": "default", "max-autotune": "max-autotune-no-cudagraphs"}
"""Mode → mode to use if we record CUDA graphs: these modes of torch record CUDA graphs themselves, and a graph cannot
be recorded within a graph."""


def compiled(
    model: Any, mode: str, *, device: str, cuda_graphs: bool, compile: Callable[..., Any] | None = None
) -> tuple[Any, tuple[Enforcement, ...]]:
    """Compiles a model in the requested mode.

    The compilation takes place at the first batch; if it fails there, the replica fails with torch's message.

    Args:
        model: a torch module.
        mode: one of `MODES`.
        device: the device that it runs on.
        cuda_graphs: whether CUDA graphs are recorded around the model.
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
    taken = _WITH_OUR_GRAPHS.get(mode, mode) if cuda_graphs and device.startswith("cuda") else mode
    how = f"torch.compile, mode {taken}" + (", as CUDA graphs are recorded around it" if taken != mode else "")
    return compile(model, mode=taken), (Enforcement("compile", mode, True, how),)
