"""One table from the names of torch and ONNX to the field's names of operators, its kinds.

Kinds are named as in the literature on operator libraries (Falcon, SoCC 2022, takes those of TVM's Relay): `conv2d`,
`dense`, `batch_norm`. Whatever has no entry is unmapped, which a profile shows as a line of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

UNMAPPED = "unmapped"
"""Kind of an operator that the table does not have."""
DISPATCH = "dispatch"
"""Kind of time that torch takes in operators that only call others."""
OUTSIDE = "outside"
"""Kind of time in which no operator runs: Python, a tokenizer, NumPy, a library that is not torch."""

_TORCH: Mapping[str, str] = {
    "conv1d": "conv1d",
    "conv2d": "conv2d thnn_conv2d _slow_conv2d_forward _conv_depthwise2d",
    "conv3d": "conv3d slow_conv3d slow_conv3d_forward conv_depthwise3d",
    "conv_transpose": "conv_transpose1d conv_transpose2d conv_transpose3d",
    "conv": "convolution _convolution mkldnn_convolution cudnn_convolution cudnn_convolution_relu "
            "cudnn_convolution_add_relu miopen_convolution convolution_overrideable _convolution_mode",
    "dense": "linear addmm addmm_ mm addmv addmv_ mv dot vdot inner mkldnn_linear _addmm_activation _int_mm _scaled_mm "
             "_weight_int8pack_mm _weight_int4pack_mm _weight_int4pack_mm_for_cpu _dyn_quant_matmul_4bit addr outer "
             "linalg_vecdot _sparse_semi_structured_linear fbgemm_linear_int8_weight fbgemm_linear_fp16_weight",
    "batch_matmul": "bmm baddbmm baddbmm_ addbmm chain_matmul linalg_multi_dot",
    "attention": "scaled_dot_product_attention _scaled_dot_product_attention_math _scaled_dot_product_flash_attention "
                 "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_efficient_attention "
                 "_scaled_dot_product_cudnn_attention _scaled_dot_product_fused_attention_overrideable "
                 "_flash_attention_forward _efficient_attention_forward _native_multi_head_attention "
                 "_triton_scaled_dot_attention _triton_multi_head_attention _transform_bias_rescale_qkv",
    "recurrent": "lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell mkldnn_rnn_layer "
                 "_cudnn_rnn _thnn_fused_lstm_cell _thnn_fused_gru_cell quantized_lstm quantized_gru",
    "batch_norm": "batch_norm native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
                  "_batch_norm_impl_index cudnn_batch_norm miopen_batch_norm _batch_norm_no_update "
                  "_batch_norm_with_update instance_norm",
    "layer_norm": "layer_norm native_layer_norm rms_norm _fused_rms_norm",
    "group_norm": "group_norm native_group_norm",
    "embedding": "embedding embedding_bag _embedding_bag _embedding_bag_forward_only embedding_renorm_ one_hot",
    "pooling": "max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices "
               "max_pool1d_with_indices mkldnn_max_pool2d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d "
               "adaptive_avg_pool2d adaptive_avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d "
               "mkldnn_adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d "
               "fractional_max_pool2d",
    "relu": "relu relu_ relu6 relu6_ leaky_relu leaky_relu_ prelu _prelu_kernel rrelu hardtanh hardtanh_",
    "sigmoid": "sigmoid sigmoid_ hardsigmoid hardsigmoid_ log_sigmoid log_sigmoid_forward",
    "tanh": "tanh tanh_",
    "activation": "gelu gelu_ silu silu_ mish mish_ elu elu_ selu selu_ celu celu_ softplus hardswish hardswish_ glu "
                  "softshrink hardshrink threshold threshold_",
    "softmax": "softmax _softmax log_softmax _log_softmax _safe_softmax _masked_softmax",
    "add": "add add_ sub sub_ rsub subtract _foreach_add _add_relu",
    "multiply": "mul mul_ multiply div div_ divide true_divide reciprocal addcmul addcdiv _foreach_mul",
    "elementwise": "abs abs_ neg neg_ exp exp_ exp2 expm1 log log2 log10 log1p log_ sqrt sqrt_ rsqrt rsqrt_ square pow "
                   "pow_ sin sin_ cos cos_ tan atan atan2 sinh cosh erf erfc erfinv sign ceil floor floor_ round "
                   "round_ trunc frac floor_divide remainder fmod clamp clamp_ clamp_min clamp_min_ clamp_max "
                   "clamp_max_ clip maximum minimum fmax fmin where eq ne lt le gt ge eq_ lt_ le_ gt_ ge_ logical_and "
                   "logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor bitwise_and_ "
                   "bitwise_or_ __and__ __or__ __xor__ __lshift__ __rshift__ bitwise_left_shift bitwise_right_shift "
                   "isnan isinf isfinite nan_to_num lerp masked_fill masked_fill_ dropout dropout_ alpha_dropout "
                   "feature_dropout native_dropout xlogy complex view_as_complex view_as_real polar real imag conj "
                   "resolve_conj resolve_neg sgn angle logaddexp dist cross cdist _cdist_forward",
    "reduction": "sum mean max min amax amin aminmax argmax argmin prod std var std_mean var_mean norm linalg_norm "
                 "linalg_vector_norm any all cumsum cumsum_ cumprod logsumexp logcumsumexp nansum count_nonzero "
                 "_logcumsumexp bincount histc median mode cosine_similarity trace is_nonzero equal nonzero",
    "sort": "sort topk argsort msort kthvalue _unique2 unique_consecutive searchsorted bucketize multinomial isin",
    "concat": "cat concat concatenate stack hstack vstack dstack",
    "split": "split split_with_sizes chunk unbind unsafe_split unsafe_chunk tensor_split unsafe_split_with_sizes",
    "strided_slice": "slice select narrow as_strided as_strided_ slice_scatter select_scatter diagonal",
    "transpose": "transpose transpose_ permute t t_ movedim swapaxes adjoint numpy_T mT pixel_shuffle pixel_unshuffle "
                 "channel_shuffle native_channel_shuffle",
    "resize": "upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_bilinear2d upsample_bicubic2d "
              "upsample_linear1d upsample_trilinear3d _upsample_bilinear2d_aa _upsample_bicubic2d_aa "
              "_upsample_nearest_exact2d grid_sampler grid_sampler_2d grid_sampler_3d affine_grid_generator",
    "data_movement": "copy_ _to_copy to clone contiguous reshape view _unsafe_view _reshape_alias view_as flatten "
                     "unflatten squeeze squeeze_ unsqueeze unsqueeze_ expand expand_as broadcast_to repeat "
                     "repeat_interleave tile roll flip rot90 gather scatter scatter_ scatter_add scatter_add_ "
                     "scatter_reduce index index_select index_put index_put_ _index_put_impl_ index_add index_add_ "
                     "index_fill index_fill_ index_copy index_copy_ take take_along_dim masked_select masked_scatter "
                     "pad constant_pad_nd reflection_pad1d reflection_pad2d replication_pad2d unfold im2col col2im "
                     "lift_fresh lift_fresh_copy detach detach_ alias tril triu tril_ triu_ pin_memory to_dense "
                     "to_mkldnn _to_cpu type_as _nested_tensor_from_mask _pad_packed_sequence _pack_padded_sequence "
                     "cartesian_prod meshgrid _unsafe_index cpu cuda",
    "creation": "empty empty_like empty_strided new_empty new_empty_strided zeros zeros_like new_zeros zero_ ones "
                "ones_like new_ones full full_like new_full fill_ arange linspace eye scalar_tensor tensor rand randn "
                "randint rand_like randn_like randperm uniform_ normal_ bernoulli bernoulli_ exponential_ random_ "
                "resize_ set_ tril_indices triu_indices resize_as_ _resize_output_",
    "scalar": "item _local_scalar_dense",
    "quantize": "quantize_per_tensor quantize_per_channel quantize_per_tensor_dynamic dequantize "
                "fake_quantize_per_tensor_affine fake_quantize_per_channel_affine int_repr choose_qparams_optimized "
                "_choose_qparams_per_tensor q_scale q_zero_point",
    "transform": "fft_fft fft_ifft fft_rfft fft_irfft fft_fft2 fft_ifft2 fft_fftn fft_ifftn _fft_r2c _fft_c2r _fft_c2c "
                 "stft istft",
}  # fmt: skip
"""Kind → names in torch's namespace `aten`, in any order."""

COMPOSITE: frozenset[str] = frozenset(
    "aten::matmul aten::einsum aten::tensordot aten::kron aten::bilinear aten::linalg_matmul aten::_trilinear "
    "aten::_transformer_encoder_layer_fwd "
    "aten::atleast_1d aten::atleast_2d aten::atleast_3d aten::result_type aten::can_cast aten::is_floating_point "
    "aten::is_complex aten::_has_compatible_shallow_copy_type aten::pairwise_distance".split()
)
"""Names that stand for others: what they call is counted by itself, and their own time is dispatch."""

_OF_COMPILED = re.compile(
    r"TorchDynamo .*|Torch-Compiled Region.*|Pregraph bytecode|AOTDispatcher .*|CompiledFunction.*|autograd::engine::.*"
)
"""Names that torch.compile gives to the parts of its own time."""
_COMPILED_GRAPH = re.compile(r"## Call CompiledFxGraph .* ##")
"""Name of a call of a compiled graph: its own time is that of Inductor's kernels, which have no names on a CPU."""

_PATTERNS: tuple[tuple[str, str], ...] = (
    (r"(quantized|onednn|_quantized)::(q?conv1d|_?qconv1d_pointwise)", "conv1d"),
    (r"(quantized|onednn|_quantized)::(q?conv2d|_?qconv2d_pointwise|qconv_pointwise)", "conv2d"),
    (r"(quantized|onednn|_quantized)::(q?conv3d|_?qconv3d_pointwise)", "conv3d"),
    (r"(quantized|onednn|_quantized|fbgemm|torchao)::.*(linear|matmul|int_mm|scaled_mm).*", "dense"),
    (r"quantized::(add|mul).*", "add"),
    (r"quantized::.*(embedding).*", "embedding"),
    (r"(quantized|quantized_decomposed)::.*(quantize|prepack|unpack|choose_qparams).*", "quantize"),
    (r"mkldnn(_prepacked)?::.*(conv).*", "conv"),
    (r"mkldnn(_prepacked)?::.*(linear|matmul).*", "dense"),
    (r"mkl::.*linear.*", "dense"),
    (r"prepacked::conv2d.*", "conv2d"),
    (r"prepacked::linear.*", "dense"),
    (r"(flash_attn(_\d+)?|xformers|sageattention|vllm)::.*(attn|attention|fwd|forward).*", "attention"),
    (r"torchvision::(nms|roi_align|roi_pool|ps_roi_align|deform_conv2d)", "detection"),
    # Kernels that torch's compilers have made of several operators: Inductor's on a CPU and a GPU, NNC's, nvFuser's.
    (r"(graph_\d+_)?(cpp|triton(_[a-z]+)?)_fused_.*", "fused"),
    (r"(graph_\d+_)?kernel_cpp_\d+|extern_kernels\..*", "fused"),
    (r"(prim::)?(TensorExpr(Dynamic)?Group|TensorExprDynamicGuard|FusionGroup|CudaFusionGroup|oneDNNFusionGroup).*",
     "fused"),
    (r"fused_.*", "fused"),
)  # fmt: skip
"""Names of libraries' and compilers' operators, matched as a whole → kind; the first match counts."""

_ONNX: Mapping[str, str] = {
    "conv2d": "Conv FusedConv NhwcConv ConvInteger QLinearConv NhwcFusedConv",
    "conv_transpose": "ConvTranspose",
    "dense": "Gemm MatMul Einsum FusedMatMul FusedGemm MatMulInteger DynamicQuantizeMatMul MatMulIntegerToFloat "
             "QLinearMatMul MatMulNBits QGemm MatMulBnb4 MatMulFpQ4",
    "attention": "Attention FlexAttention MultiHeadAttention QAttention GroupQueryAttention SparseAttention "
                 "PackedAttention PackedMultiHeadAttention DecoderMaskedMultiHeadAttention DecoderMaskedSelfAttention "
                 "LongformerAttention LinearAttention CausalConvWithState",
    "recurrent": "LSTM GRU RNN DynamicQuantizeLSTM",
    "batch_norm": "BatchNormalization InstanceNormalization MeanVarianceNormalization",
    "layer_norm": "LayerNormalization SkipLayerNormalization SimplifiedLayerNormalization RMSNormalization "
                  "SkipSimplifiedLayerNormalization",
    "group_norm": "GroupNormalization GroupNorm SkipGroupNorm LRN LpNormalization",
    "embedding": "EmbedLayerNormalization GatherBlockQuantized OneHot",
    "pooling": "MaxPool AveragePool GlobalAveragePool GlobalMaxPool LpPool GlobalLpPool MaxUnpool NhwcMaxPool "
               "QLinearAveragePool QLinearGlobalAveragePool",
    "relu": "Relu LeakyRelu PRelu ThresholdedRelu QLinearLeakyRelu",
    "sigmoid": "Sigmoid HardSigmoid QLinearSigmoid",
    "tanh": "Tanh",
    "activation": "Gelu FastGelu BiasGelu QuickGelu Elu Selu Celu Softplus Softsign SwiGLU HardSwish Mish Swish "
                  "BiasSplitGelu",
    "softmax": "Softmax LogSoftmax Hardmax QLinearSoftmax",
    "add": "Add Sub Sum QLinearAdd BiasAdd",
    "multiply": "Mul Div Reciprocal QLinearMul",
    "elementwise": "Abs Neg Exp Log Sqrt Pow Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Erf Sign Ceil "
                   "Floor Round Mod Clip Max Min Mean Where Equal Less LessOrEqual Greater GreaterOrEqual And Or Not "
                   "Xor BitwiseAnd BitwiseOr BitwiseNot BitwiseXor Shrink IsNaN IsInf BitShift Dropout QuickGeluGrad "
                   "RotaryEmbedding",
    "reduction": "ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp "
                 "ReduceSumSquare ArgMax ArgMin CumSum CumProd NonZero Det",
    "sort": "TopK Unique NonMaxSuppression Multinomial",
    "concat": "Concat QLinearConcat ConcatFromSequence",
    "split": "Split SplitToSequence",
    "strided_slice": "Slice",
    "transpose": "Transpose DepthToSpace SpaceToDepth",
    "resize": "Resize Upsample GridSample AffineGrid",
    "data_movement": "Reshape Flatten Squeeze Unsqueeze Expand Tile Pad Gather GatherElements GatherND Scatter "
                     "ScatterElements ScatterND Cast CastLike BitCast Identity CenterCropPad Col2Im ReverseSequence "
                     "TensorScatter MemcpyToHost MemcpyFromHost ReorderInput ReorderOutput Trilu Compress",
    "creation": "Constant ConstantOfShape Range Shape Size EyeLike RandomNormal RandomUniform RandomNormalLike "
                "RandomUniformLike Bernoulli BlackmanWindow HammingWindow HannWindow",
    "quantize": "QuantizeLinear DequantizeLinear DynamicQuantizeLinear",
    "transform": "DFT STFT MelWeightMatrix",
    "detection": "RoiAlign MaxRoiPool DeformConv",
    "control": "If Loop Scan SequenceMap",
    "tree": "TreeEnsemble TreeEnsembleClassifier TreeEnsembleRegressor",
    "classical": "LinearClassifier LinearRegressor SVMClassifier SVMRegressor Scaler Normalizer Imputer LabelEncoder "
                 "ZipMap FeatureVectorizer CategoryMapper CastMap ArrayFeatureExtractor OneHotEncoder Binarizer "
                 "DictVectorizer TfIdfVectorizer",
}  # fmt: skip
"""Kind → types of ONNX's operators, those of ONNX Runtime and of ONNX-ML among them."""


def _by_name(table: Mapping[str, str], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for kind, names in table.items():
        for name in names.split():
            if found.setdefault(prefix + name, kind) != kind:
                raise ValueError(f"operator {name!r} is both {found[prefix + name]!r} and {kind!r}; keep one of them")
    return found


TORCH_KINDS: Mapping[str, str] = _by_name(_TORCH, "aten::")
"""Name of an operator of torch → its kind."""
ONNX_KINDS: Mapping[str, str] = _by_name(_ONNX)
"""Type of an operator of ONNX → its kind."""
_COMPILED = tuple((re.compile(pattern), kind) for pattern, kind in _PATTERNS)


def only_calls_others(name: str) -> bool:
    """Whether a name stands for others, which are counted by themselves."""
    return name in COMPOSITE or _OF_COMPILED.fullmatch(name) is not None


def is_compiled_graph(name: str) -> bool:
    """Whether the own time of such an event is that of kernels that a compiler has fused."""
    return _COMPILED_GRAPH.fullmatch(name) is not None


def kind_of(name: str, dims: int | None = None) -> str:
    """Returns the kind of an operator of torch or one of its libraries; `UNMAPPED` for an unknown one.

    Args:
        name: its name with its namespace, such as `aten::linear`; an overload's name after a dot does not count.
        dims: number of dimensions of its first tensor, which tells how many a convolution has where its name does not.
    """
    plain = name.partition(".")[0]
    kind = TORCH_KINDS.get(plain)
    if kind is None:
        kind = next((kind for pattern, kind in _COMPILED if pattern.fullmatch(plain)), UNMAPPED)
    return f"conv{dims - 2}d" if kind == "conv" and dims in (3, 4, 5) else kind


def onnx_kind_of(op_type: str, dims: int | None = None) -> str:
    """Returns the kind of an operator of ONNX by its type; `UNMAPPED` for an unknown one.

    Args:
        op_type: its type, such as `MatMul`.
        dims: number of dimensions of its first input, as in `kind_of`.
    """
    kind = ONNX_KINDS.get(op_type, UNMAPPED)
    return f"conv{dims - 2}d" if kind == "conv2d" and dims in (3, 4, 5) else kind
