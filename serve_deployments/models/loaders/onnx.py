"""Loader `onnx`: an ONNX file, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from serve_deployments.endpoint import Payload
from serve_deployments.models.context import ModelContext, ModelError
from serve_deployments.models.exported import AS_EXPORTED, as_taken, check_file, check_precision
from serve_deployments.models.loader import Loader
from serve_deployments.models.onnx_inputs import input_names


def build(path: Path, context: ModelContext) -> Callable[[list[Payload]], list[Any]]:
    """Builds a model from an ONNX file with one input whose first dimension is dynamic.

    Payloads are arrays of one shape.
    """
    import onnxruntime  # type: ignore[import-not-found,unused-ignore]

    check_precision("onnx", context)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = context.threads
    provider, limits = "CPUExecutionProvider", {}
    if context.device.startswith("cuda"):
        provider = "CUDAExecutionProvider"  # has its own allocator, to which torch's cap does not apply
        if context.gpu_memory_gib is not None:
            limits = {"gpu_mem_limit": str(int(context.gpu_memory_gib * 2**30))}
    missing = ModelError(f"onnxruntime has no {provider} here; pip install onnxruntime-gpu on the GPU nodes")
    if provider not in onnxruntime.get_available_providers():
        raise missing
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[(provider, limits)])
    except MemoryError:
        raise
    except Exception as error:  # onnxruntime's exceptions have no other base class
        raise ModelError(f"onnxruntime cannot read {path}: {error}; export the model again") from error
    if provider not in session.get_providers():  # it is built in, but system libraries that it needs are missing
        raise missing
    taken = session.get_inputs()[0]
    wanted = _NUMBERS.get(taken.type)

    def batch(payloads: list[Payload]) -> list[Any]:
        rows = np.stack([as_taken(np.asarray(payload), wanted) for payload in payloads])
        return list(session.run(None, {taken.name: rows})[0])

    return batch


def _check(path: Path) -> None:
    """Raise `ModelError` if the path is no file, or one of a model with another number of inputs than one."""
    check_file(path)
    names = input_names(path)
    if names is not None and len(names) != 1:  # None: ONNX Runtime says what is wrong with the file
        has = f"{len(names)} inputs ({', '.join(names)})" if names else "no input"
        raise ModelError(
            f"{path} has {has}; one input is supported: export the model with one, or load the file in a builder of "
            "your own (`build: module:callable`)"
        )


_NUMBERS = {
    "tensor(float16)": "float16", "tensor(float)": "float32", "tensor(double)": "float64", "tensor(bool)": "bool",
    **{f"tensor({kind}{bits})": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}  # fmt: skip
"""ONNX Runtime's name of an input's type → NumPy's."""


LOADER = Loader(
    name="onnx",
    needs=("onnxruntime",),
    remedy="pip install raytune-infer[onnx]",
    guesses=lambda path: path.suffix == ".onnx",
    check=_check,
    build=build,
    precisions=AS_EXPORTED,
    consumes=frozenset({"precision", "device", "threads", "gpu_memory_gib"}),
)
