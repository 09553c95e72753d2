"""The table of operators' names: real names alone, each with one kind, and the field's words for common models."""

import pytest
import torch
from onnx import defs

from cluster.operators.kinds import COMPOSITE, ONNX_KINDS, TORCH_KINDS, UNMAPPED, kind_of, onnx_kind_of


def test_torch_has_every_operator_of_the_table():
    names = {schema.name for schema in torch._C._jit_get_all_schemas()}
    assert set(TORCH_KINDS) | COMPOSITE <= names


def test_nothing_is_both_an_operator_and_a_name_for_others():
    assert not COMPOSITE & set(TORCH_KINDS)


@pytest.mark.parametrize(
    ("name", "dims", "kind"),
    [
        ("aten::linear", 3, "dense"), ("aten::addmm", 2, "dense"), ("aten::bmm", 3, "batch_matmul"),
        ("aten::convolution", 3, "conv1d"), ("aten::mkldnn_convolution", 4, "conv2d"), ("aten::conv3d", 5, "conv3d"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", 4, "attention"), ("aten::gelu", 3, "activation"),
        ("aten::_softmax", 4, "softmax"), ("aten::native_batch_norm", 4, "batch_norm"), ("aten::cat", 2, "concat"),
        ("aten::slice", 2, "strided_slice"), ("quantized::linear_dynamic", 2, "dense"),
        ("quantized::conv2d.new", 4, "conv2d"), ("onednn::qlinear_pointwise", 2, "dense"),
        ("mkldnn::_convolution_pointwise", 4, "conv2d"), ("triton_poi_fused_add_gelu_3", None, "fused"),
        ("graph_0_cpp_fused_native_layer_norm_1", None, "fused"), ("flash_attn::_flash_attn_forward", 4, "attention"),
        ("mylib::secret", 2, UNMAPPED), ("aten::no_such_operator", None, UNMAPPED), ("aten::add.Tensor", 2, "add"),
    ],
)  # fmt: skip
def test_kinds_of_torch(name, dims, kind):
    assert kind_of(name, dims) == kind


def test_most_operators_of_onnx_have_a_kind_and_control_flow_of_strings_has_none():
    standard = {schema.name for schema in defs.get_all_schemas()}
    lacking = standard - set(ONNX_KINDS)
    # What is left computes no numbers, or only trains.
    others = ("Sequence", "Optional", "String", "Regex", "Image", "Loss", "Ada", "Momentum", "Gradient")
    assert not [name for name in lacking if not any(word in name for word in others)]
    assert (onnx_kind_of("Conv", 4), onnx_kind_of("Conv", 3), onnx_kind_of("Nothing")) == ("conv2d", "conv1d", UNMAPPED)
