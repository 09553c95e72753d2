"""Loader `pt2`: a program of `torch.export`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from serve_deployments.endpoint import Payload
from serve_deployments.models.context import ModelContext, ModelError
from serve_deployments.models.exported import AS_EXPORTED, check_archive, check_precision
from serve_deployments.models.loader import Loader
from serve_deployments.models.stacked import of_stacked


def build(
    path: Path, context: ModelContext, *, cuda_graphs: bool = False, compile: str = "none"
) -> Callable[[list[Payload]], list[Any]]:
    """Builds a model from a file of `torch.export.save` whose input's first dimension is dynamic.

    Payloads are arrays of one shape; they become numbers of the type that the program was exported with. Torch reads
    the file with pickle, and its documentation warns of files that are not trusted. For `cuda_graphs` see
    `fast_batches`, for `compile` see `compiling.MODES`.
    """
    import torch

    from serve_deployments.models.compiling import compiled

    check_precision("pt2", context)
    program = torch.export.load(path)
    dtype = _input_dtype(path, program)
    module = program.module().to(context.device)
    model, told = compiled(
        module, compile, device=context.device, cuda_graphs=cuda_graphs, in_stream=context.cuda_stream is not None
    )
    return of_stacked(
        model,
        dtype,
        context.device,
        cuda_graphs=cuda_graphs,
        takes=_in_numpy(dtype),
        told=told,
        every_size=compile != "none",
    )


def _input_dtype(path: Path, program: Any) -> Any:
    """The torch dtype of the program's input; raises ModelError if it has another number of inputs than one."""
    names = program.graph_signature.user_inputs
    if len(names) != 1:
        raise ModelError(
            f"{path} has {len(names)} inputs ({', '.join(map(str, names))}); one input is supported: export the model "
            "with one, or load the file in a builder of your own (`build: module:callable`)"
        )
    [dtype] = [node.meta["val"].dtype for node in program.graph.nodes if node.name == names[0]]
    return dtype


def _in_numpy(dtype: Any) -> str:
    """NumPy's name of a torch dtype; for one that NumPy lacks, such as bfloat16, of one that holds its numbers."""
    import torch

    try:
        return torch.empty(0, dtype=dtype).numpy().dtype.name
    except TypeError:
        return "float32"


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
