"""Loader `pt2`: a program of `torch.export`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from serve_deployments.endpoint import Payload
from serve_deployments.models.context import ModelContext
from serve_deployments.models.exported import AS_EXPORTED, check_archive, check_precision
from serve_deployments.models.loader import Loader
from serve_deployments.models.stacked import of_stacked


def build(
    path: Path, context: ModelContext, *, cuda_graphs: bool = False, compile: str = "none"
) -> Callable[[list[Payload]], list[Any]]:
    """Builds a model from a file of `torch.export.save` whose input's first dimension is dynamic.

    Payloads are arrays of one shape. Torch reads the file with pickle, and its documentation warns of files that are
    not trusted. For `cuda_graphs` see `fast_batches`, for `compile` see `compiling.MODES`.
    """
    import torch

    from serve_deployments.models.compiling import compiled

    check_precision("pt2", context)
    module = torch.export.load(path).module().to(context.device)
    model, told = compiled(module, compile, device=context.device, cuda_graphs=cuda_graphs)
    return of_stacked(
        model, torch.float32, context.device, cuda_graphs=cuda_graphs, told=told, every_size=compile != "none"
    )


LOADER = Loader(
    name="pt2",
    needs=("torch",),
    remedy="pip install torch",
    guesses=lambda path: False,
    check=check_archive,
    build=build,
    precisions=AS_EXPORTED,
    executes=True,
)
