"""Loader `torchscript`: a TorchScript file, which contains a program."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serve_deployments.endpoint import Payload
from serve_deployments.models.context import ModelContext, dtype_of
from serve_deployments.models.exported import check_archive
from serve_deployments.models.loader import Loader
from serve_deployments.models.stacked import of_stacked


def build(path: Path, context: ModelContext, *, cuda_graphs: bool = False) -> Callable[[list[Payload]], list[Any]]:
    """Builds a model from a TorchScript file; payloads are arrays of one shape.

    For `cuda_graphs` see `fast_batches`.
    """
    import torch

    dtype = dtype_of(context)
    with warnings.catch_warnings():
        # Torch recommends another format for new files; there is still no other way to read an old one.
        warnings.simplefilter("ignore", DeprecationWarning)
        model = torch.jit.load(path, map_location=context.device).to(dtype).eval()
    return of_stacked(model, dtype, context.device, cuda_graphs=cuda_graphs)


LOADER = Loader(
    name="torchscript",
    needs=("torch",),
    remedy="pip install torch",
    guesses=lambda path: False,
    check=check_archive,
    build=build,
    executes=True,
)
