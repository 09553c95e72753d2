"""Traces of ONNX Runtime: what its own profiler writes of a run, as calls of operators.

The profile is a JSON file of `InferenceSession.end_profiling`: an event for each node, with the sizes of its inputs and
outputs and the bytes of its weights (`parameter_size`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cluster.operators.kinds import onnx_kind_of
from cluster.operators.operator_call import Argument, OperatorCall, Tensor, Work
from cluster.operators.trace import Trace
from cluster.operators.work import work_of

_TYPES: Mapping[str, str] = {
    "float": "float32", "double": "float64", "float16": "float16", "bfloat16": "bfloat16", "bool": "bool",
    **{f"{kind}{bits}": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}  # fmt: skip
"""ONNX Runtime's name of a type of numbers → torch's."""


def trace_of_events(events: Sequence[Mapping[str, Any]], batch: int) -> Trace:
    """Returns the trace of the last run in a profile: those before it prepare memory.

    The file does not say which node holds memory at its peak, so that only weights are known.

    Args:
        events: the events of a profile: the content of its JSON file.
        batch: number of payloads of the batch.

    Raises:
        ValueError: the file has no run, as a newer version may write it in another form.
    """
    whole = [event for event in events if event.get("name") == "model_run"]
    nodes = [event for event in events if str(event.get("name", "")).endswith("_kernel_time")]
    if not whole or not nodes:
        raise ValueError(
            f"the profile of ONNX Runtime has {len(whole)} runs and {len(nodes)} nodes; one each is needed"
        )
    last = max(whole, key=lambda event: event["ts"])
    calls = [_call(event) for event in nodes if event["ts"] >= last["ts"]]
    took_s = last["dur"] / 1e6
    return Trace(batch, tuple(calls), took_s, max(0.0, took_s - sum(call.time_s for call in calls)))


def _call(event: Mapping[str, Any]) -> OperatorCall:
    told = event.get("args", {})
    inputs, outputs = _tensors(told.get("input_type_shape")), _tensors(told.get("output_type_shape"))
    op_type = str(told.get("op_name", "?"))
    kind = onnx_kind_of(op_type, len(inputs[0].sizes) if inputs else None)
    work = _work(op_type, kind, inputs, outputs)
    arguments: tuple[Argument, ...] = inputs
    weight_bytes = float(told.get("parameter_size") or 0)
    return OperatorCall(op_type, kind, arguments, event["dur"] / 1e6, work, weight_bytes=weight_bytes)


def _work(op_type: str, kind: str, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> Work:
    """The work of a node; its output is known, so that its attributes, which are not told, need not be."""
    moved = float(sum(each.size_bytes for each in (*inputs, *outputs)))
    out = outputs[0].numbers if outputs else 0
    if kind.startswith("conv") and len(inputs) > 1 and op_type in ("Conv", "FusedConv"):
        return Work(2.0 * out * math.prod(inputs[1].sizes[1:]), moved)
    if op_type in ("Gemm", "FusedGemm") and outputs and len(outputs[0].sizes) == 2:
        return Work(2.0 * out * inputs[0].numbers / outputs[0].sizes[0], moved)
    found = work_of(op_type, kind, inputs)
    return Work(found.flops, moved, found.known)


def _tensors(told: Any) -> tuple[Tensor, ...]:
    """Tensors of `[{"float": [2, 3]}, …]`; a type that is no number counts as bytes."""
    found = []
    for each in told or ():
        for name, sizes in each.items():
            if all(isinstance(size, int) and size >= 0 for size in sizes):
                found.append(Tensor(tuple(sizes), _TYPES.get(name, "uint8")))
    return tuple(found)
