"""Loader `onnx`: an ONNX file, run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from serve_deployments.endpoint import Payload
from serve_deployments.models.context import ModelContext, ModelError
from serve_deployments.models.exported import AS_EXPORTED, check_file, check_precision
from serve_deployments.models.loader import Loader
from serve_deployments.models.stacked import stacked


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
    name = session.get_inputs()[0].name
    return lambda payloads: list(session.run(None, {name: stacked(payloads)})[0])


LOADER = Loader(
    name="onnx",
    needs=("onnxruntime",),
    remedy="pip install raytune-infer[onnx]",
    guesses=lambda path: path.suffix == ".onnx",
    check=check_file,
    build=build,
    precisions=AS_EXPORTED,
    consumes=frozenset({"precision", "device", "threads", "gpu_memory_gib"}),
)
