"""Loader `onnx`: an ONNX file, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from serve_deployments.endpoint import Payload, is_out_of_memory
from serve_deployments.models.context import ModelContext, ModelError
from serve_deployments.models.exported import AS_EXPORTED, as_taken, check_file, check_precision
from serve_deployments.models.loader import Loader
from serve_deployments.models.onnx_inputs import input_names
from serve_deployments.resources.enforcement import Enforcement

_CUDA = "CUDAExecutionProvider"


def build(path: Path, context: ModelContext) -> OnnxBatches:
    """Builds a model from an ONNX file with one input whose first dimension is dynamic.

    Payloads are arrays of one shape.
    """
    return profiled(path, context, None)


def profiled(path: Path, context: ModelContext, prefix: str | None) -> OnnxBatches:
    """As `build`; ONNX Runtime writes a profile of all batches until `session.end_profiling()`, which names its file.

    Args:
        path: the ONNX file.
        context: see `build`.
        prefix: how the path of the profile's file begins; None for no profile.
    """
    import onnxruntime  # type: ignore[import-not-found,unused-ignore]

    check_precision("onnx", context)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = context.threads
    if prefix is not None:
        options.enable_profiling, options.profile_file_prefix = True, prefix
    on_gpu = context.device.startswith("cuda")
    provider = _CUDA if on_gpu else "CPUExecutionProvider"
    missing = ModelError(f"onnxruntime has no {provider} here; pip install onnxruntime-gpu on the GPU nodes")
    if provider not in onnxruntime.get_available_providers():
        raise missing
    limits = _limits(context) if on_gpu else {}
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[(provider, limits)])
    except Exception as error:  # onnxruntime's exceptions have no other base class
        if is_out_of_memory(error):
            raise
        raise ModelError(f"onnxruntime cannot read {path}: {error}; export the model again") from error
    if provider not in session.get_providers():  # it is built in, but system libraries that it needs are missing
        raise missing
    return OnnxBatches(session, _not_held(session, context) if on_gpu else ())


class OnnxBatches:
    """Runs batches in a session of ONNX Runtime.

    Args:
        session: the session.
        told: records of limits that do not hold for it.
    """

    def __init__(self, session: Any, told: tuple[Enforcement, ...]) -> None:
        self.session, self._told = session, told
        self._taken = session.get_inputs()[0]

    def __call__(self, payloads: list[Payload]) -> list[Any]:
        """Runs one batch."""
        wanted = _NUMBERS.get(self._taken.type)
        rows = np.stack([as_taken(np.asarray(payload), wanted) for payload in payloads])
        return list(self.session.run(None, {self._taken.name: rows})[0])

    def told(self) -> tuple[Enforcement, ...]:
        """Records of limits of the process that do not hold for ONNX Runtime, as far as it has any."""
        return self._told


def _limits(context: ModelContext) -> dict[str, str]:
    """The CUDA provider's options: it has an allocator and a stream of its own, so that torch's limits do not apply."""
    limits = {}
    if context.gpu_memory_gib is not None:
        limits["gpu_mem_limit"] = str(int(context.gpu_memory_gib * 2**30))
    if context.cuda_stream is not None:
        limits["user_compute_stream"] = str(context.cuda_stream)
    return limits


def _not_held(session: Any, context: ModelContext) -> tuple[Enforcement, ...]:
    """The records of limits that do not hold, by what the session says of itself."""
    taken = session.get_provider_options().get(_CUDA, {})
    told = []
    if context.gpu_memory_gib is not None:
        how = (
            f"gpu_mem_limit, {context.gpu_memory_gib:.2f} GiB, bounds ONNX Runtime's arena, but not what its kernels "
            "and CUDA's libraries take beside it"
        )
        told.append(Enforcement("gpu_memory", "", False, how))
    if context.cuda_stream is not None and taken.get("user_compute_stream") != str(context.cuda_stream):
        how = "this version of ONNX Runtime computes in a stream of its own, on all multiprocessors"
        told.append(Enforcement("gpu_share", "", False, how))
    return tuple(told)


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
    consumes=frozenset({"precision", "device", "threads", "gpu_memory_gib", "cuda_stream"}),
)
