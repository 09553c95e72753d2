"""Ways in which a model computes: each has streams and threads of its own, which a share of a GPU must reach."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from serve_deployments.device.gpu import share
from serve_deployments.models.compiling import compiled
from serve_deployments.models.context import ModelContext
from serve_deployments.resources.enforcement import Enforcement

Way = tuple[Callable[[], Any], Callable[[], Sequence[Enforcement]]]
"""Computes one product of two matrices; the model's own records of limits."""


def _nothing() -> Sequence[Enforcement]:
    return ()


def in_torch(job: Any, torch: Any) -> Way:
    """Torch, in the thread that a replica gives its model."""
    a = torch.randn(job.size, job.size, device=job.device)
    made = torch.empty_like(a)
    return lambda: torch.mm(a, a, out=made), _nothing


def in_joined_threads(job: Any, torch: Any) -> Way:
    """Torch, in threads that a replica calls a model in, as for `concurrent: true`."""
    run, _ = in_torch(job, torch)
    threads = ThreadPoolExecutor(1, initializer=share.join)
    return lambda: threads.submit(run).result(job.within_s), _nothing


def in_own_thread(job: Any, torch: Any) -> Way:
    """Torch, in a thread that the model starts, which nothing holds to the share: a replica must say so."""
    threads = ThreadPoolExecutor(1)

    def run() -> Any:
        a = torch.randn(job.size, job.size, device=job.device)
        return torch.mm(a, a)

    return lambda: threads.submit(run).result(job.within_s), _nothing


def in_graphs_of_torch(job: Any, torch: Any) -> Way:
    """`torch.compile` in the mode in which it records CUDA graphs."""
    a = torch.randn(job.size, job.size, device=job.device)
    confined = share.held_stream() is not None
    run, told = compiled(
        torch.nn.Linear(job.size, job.size, bias=False).to(job.device).eval().requires_grad_(False),
        "reduce-overhead", device="cuda", cuda_graphs=False, in_stream=confined, compile=torch.compile,
    )  # fmt: skip
    return lambda: run(a), lambda: told


def in_onnx(job: Any, torch: Any) -> Way:
    """ONNX Runtime, which has a stream and an arena of its own."""
    import numpy as np
    import onnx
    import onnxruntime

    from serve_deployments.models.loaders.onnx import build

    number = onnx.TensorProto.FLOAT
    weight = onnx.numpy_helper.from_array(np.ones((job.size, job.size), np.float32), "weight")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["rows", "weight"], ["all"]),
         onnx.helper.make_node("ReduceSum", ["all"], ["sum"], keepdims=0)],
        "product",
        [onnx.helper.make_tensor_value_info("rows", number, ["batch", job.size])],
        [onnx.helper.make_tensor_value_info("sum", number, [])],
        [weight],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    context = ModelContext(
        device=job.device,
        gpu_memory_gib=job.memory * torch.cuda.mem_get_info()[1] / 2**30 if job.memory else None,
        cuda_stream=share.held_stream(),
    )
    if job.device != "cpu" and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        raise ImportError("no CUDA in this build", name="onnxruntime-gpu")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "product.onnx"
        onnx.save(model, path)
        batch: Any = build(path, context)
    rows = np.ones((job.size, job.size), np.float32)
    return lambda: batch.session.run(None, {"rows": rows}), batch.told


COMPUTING: dict[str, Callable[[Any, Any], Way]] = {
    "torch": in_torch, "torch, called in many threads": in_joined_threads,
    "torch, in a thread of the model's": in_own_thread, "torch.compile with CUDA graphs": in_graphs_of_torch,
    "ONNX Runtime": in_onnx,
}  # fmt: skip
