"""The profile of ONNX Runtime, of a network whose numbers are known."""

import json

import numpy as np
import pytest

from cluster.operators.onnx_trace import trace_of_events

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def network(path):
    helper, numbers = onnx.helper, onnx.numpy_helper.from_array
    kernel = numbers(np.ones((8, 3, 3, 3), "float32"), "kernel")
    matrix = numbers(np.ones((10, 8), "float32"), "matrix")
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]), helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "matrix"], ["y"], transB=1),
    ]  # fmt: skip
    taken = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3, 16, 16])
    made = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 10])
    graph = helper.make_graph(nodes, "net", [taken], [made], [kernel, matrix])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def test_nodes_are_operators_with_their_work_and_weights(tmp_path):
    network(tmp_path / "net.onnx")
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "profile")
    # Without its own arrangement of numbers, so that the shapes are those of the file.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), options, providers=["CPUExecutionProvider"])
    for _ in range(2):
        session.run(None, {"x": np.zeros((4, 3, 16, 16), "float32")})
    with open(session.end_profiling()) as file:
        found = trace_of_events(json.load(file), 4)
    by_kind = {call.kind: call for call in found.calls}
    assert [call.kind for call in found.calls] == ["conv2d", "pooling", "data_movement", "dense"]  # of one run
    assert by_kind["conv2d"].work.flops == 2 * (4 * 8 * 16 * 16) * (3 * 3 * 3)
    assert by_kind["dense"].work.flops == 2 * (4 * 10) * 8
    assert by_kind["conv2d"].weight_bytes == 4 * 8 * 3 * 3 * 3
    assert found.traced_s >= sum(call.time_s for call in found.calls) > 0


def test_a_file_without_a_run_is_refused():
    with pytest.raises(ValueError, match="0 runs and 0 nodes"):
        trace_of_events([], 1)
