"""`torch.compile` as a knob."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from serve_deployments.enforcement import Enforcement
from serve_deployments.models.context import ModelError

MODES = ("none", "default", "reduce-overhead", "max-autotune")

_WITH_OUR_GRAPHS = {"reduce-overhead": "default", "max-autotune": "max-autotune-no-cudagraphs"}
"""Both of these modes of torch record CUDA graphs themselves, and a graph cannot be recorded within a graph."""


def compiled(
    model: Any, mode: str, *, device: str, cuda_graphs: bool, compile: Callable[..., Any] | None = None
) -> tuple[Any, tuple[Enforcement, ...]]:
    """A model as asked for, and what there is to say about it.

    It is compiled when the first batch comes; what fails there fails the replica, with torch's words.

    Args:
        model: a module.
        mode: one of `MODES`.
        device: that it runs on.
        cuda_graphs: graphs are recorded by us.
        compile: torch's, unless given.

    Raises:
        ModelError: there is no such mode.
    """
    if mode not in MODES:
        raise ModelError(f"there is no way {mode!r} to compile; there are {', '.join(MODES)}")
    if mode == "none":
        return model, ()
    if compile is None:
        import torch

        compile = torch.compile
    taken = _WITH_OUR_GRAPHS.get(mode, mode) if cuda_graphs and device.startswith("cuda") else mode
    how = f"torch.compile, mode {taken}" + (", as CUDA graphs are recorded around it" if taken != mode else "")
    return compile(model, mode=taken), (Enforcement("compile", mode, True, how),)
