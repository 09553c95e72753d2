"""The inputs of ONNX files, and the refusal of those with more or fewer than one before anything is started."""

import numpy as np
import onnx
import pytest

from serve_deployments.models.context import ModelError
from serve_deployments.models.model import ModelFiles, check
from serve_deployments.models.onnx_inputs import input_names


def written(path, inputs, weights=(), *, listed=False):
    """An ONNX file that adds up its inputs and weights, the weights listed as inputs too as older files do."""
    names = [*inputs, *weights]
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 2]) for name in names]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Sum", names, ["sum"])],
        "sum",
        values if listed else values[: len(inputs)],
        [onnx.helper.make_tensor_value_info("sum", onnx.TensorProto.FLOAT, ["n", 2])],
        [onnx.numpy_helper.from_array(np.ones((300, 2), np.float32), name) for name in weights],
        doc_string="a text",
    )
    onnx.save(onnx.helper.make_model(graph, ir_version=3 if listed else 8), path)
    return path


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("inputs", [[], ["rows"], ["ids", "mask", "kinds"]])
def test_inputs_are_those_that_a_caller_gives(tmp_path, inputs, listed):
    assert input_names(written(tmp_path / "m.onnx", inputs, ["w", "v"], listed=listed)) == tuple(inputs)


def test_a_file_of_another_kind_has_none_that_are_known(tmp_path):
    whole = written(tmp_path / "m.onnx", ["rows"], ["w"]).read_bytes()
    for number, data in enumerate([b"", b"no model", whole[:-5], b"\xff" * 40, whole + whole, b"\x3a"]):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(data)
        assert input_names(path) is None


@pytest.mark.parametrize(
    ("inputs", "has"), [(["ids", "mask"], r"2 inputs \(ids, mask\)"), ([], "no input"), (["rows"], None)]
)
def test_one_input_is_supported_which_is_said_before_the_file_is_loaded(tmp_path, inputs, has):
    source = ModelFiles(str(written(tmp_path / "m.onnx", inputs, ["w"])))
    if has is None:
        check(source, {})
        return
    with pytest.raises(ModelError, match=f"m.onnx has {has}; one input is supported: export the model with one, or"):
        check(source, {})
