"""FLOPs and bytes of one call of an operator, by a formula for each kind.

A multiply-add counts as two operations, as in torch.utils.flop_counter. Notation: x the input, y the output, |x| its
numbers, N batch, C channels, K size of a kernel, L and S lengths of queries and keys, E width of a head.

    dense, batch_matmul   2 m n k of [m, k] times [k, n], for each matrix; a bias is not counted
    convN d               2 |y| C_in / groups * K
    attention             2 L S (E + E_v) for each head: both products; the softmax is not counted
    recurrent             2 |W| for each step and each sequence, W all matrices
    pooling               |x|, each number taken in once
    reduction             |x|
    softmax               5 |x|: maximum, difference, exponential, sum, quotient
    layer_norm, group_norm  7 |x|: mean, difference, square, sum, quotient, scale, shift
    batch_norm            2 |x|: with the statistics that it has, a multiply-add
    add, multiply, elementwise, activations   |y|, one each, whatever the function costs
    embedding, data movement, views           0

Bytes are the least that has to be moved: each input and output once. Of an embedding's table only the rows looked up
count; views move nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from cluster.operators.operator_call import ITEM_BYTES, Argument, Tensor, Work

Formula = Callable[[Sequence[Argument]], tuple[float, float]]
"""Arguments → FLOPs and bytes of the output."""


class NoFormula(ValueError):
    """Nothing is known of the work of such a call."""


def work_of(name: str, kind: str, arguments: Sequence[Argument]) -> Work:
    """Returns the work of one call; of one without a formula only the bytes of its inputs are known.

    Args:
        name: name of the operator with its namespace.
        kind: its kind.
        arguments: its arguments in order.
    """
    inputs = [each for each in _tensors(arguments)]
    if name in _VIEWS:
        return Work(0.0, 0.0)
    formula = _BY_NAME.get(name) or _BY_KIND.get(kind)
    try:
        if formula is None:
            raise NoFormula(name)
        flops, out = formula(arguments)
    except (NoFormula, IndexError, TypeError, ValueError, AttributeError):
        return Work(0.0, float(sum(each.size_bytes for each in inputs)), known=False)
    if kind == "embedding":
        taken = sum(each.size_bytes for each in inputs[1:]) + out  # of the table only what is looked up
    else:
        taken = float(sum(each.size_bytes for each in inputs))
    return Work(flops, taken + out)


def _tensors(arguments: Sequence[Argument]) -> list[Tensor]:
    found: list[Tensor] = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            found.append(argument)
        elif isinstance(argument, tuple):
            found += [each for each in argument if isinstance(each, Tensor)]
    return found


def _tensor(arguments: Sequence[Argument], at: int) -> Tensor:
    found = arguments[at]
    if not isinstance(found, Tensor):
        raise NoFormula(f"argument {at} is no tensor")
    return found


def _bytes(numbers: float, like: Tensor) -> float:
    return numbers * ITEM_BYTES.get(like.dtype, 4)


def _linear(arguments: Sequence[Argument]) -> tuple[float, float]:
    """`[..., k]` times the transpose of `[n, k]`."""
    x, weight = _tensor(arguments, 0), _tensor(arguments, 1)
    out = x.numbers // x.sizes[-1] * (weight.sizes[0] if len(weight.sizes) == 2 else 1)
    return 2.0 * out * x.sizes[-1], _bytes(out, x)


def _product(first: int, second: int) -> Formula:
    """`[..., m, k]` times `[..., k, n]`, or vectors, of the arguments at these places."""

    def formula(arguments: Sequence[Argument]) -> tuple[float, float]:
        a, b = _tensor(arguments, first), _tensor(arguments, second)
        left = a.sizes if len(a.sizes) > 1 else (1, *a.sizes)
        right = b.sizes if len(b.sizes) > 1 else (*b.sizes, 1)
        if left[-1] != right[-2]:
            raise NoFormula(f"{left} times {right}")
        out = math.prod(_broadcast(left[:-2], right[:-2])) * left[-2] * right[-1]
        return 2.0 * out * left[-1], _bytes(out, a)

    return formula


def _broadcast(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    """The sizes of what two tensors of these sizes make together, by NumPy's rule."""
    length = max(len(first), len(second))
    pairs = zip((1,) * (length - len(first)) + tuple(first), (1,) * (length - len(second)) + tuple(second), strict=True)
    return tuple(b if a == 1 else a for a, b in pairs)


def _ints(argument: Argument, count: int) -> tuple[int, ...]:
    """A list of numbers for each spatial dimension; one alone stands for all."""
    values = argument if isinstance(argument, tuple) else (argument,)
    if not values or not all(isinstance(value, int) for value in values):
        raise NoFormula(f"{argument!r} is no list of numbers")
    whole = [int(value) for value in values if isinstance(value, int)]
    return tuple(whole * count if len(whole) == 1 else whole)


def _convolution(stride_at: int, padding_at: int, dilation_at: int, transposed_at: int | None = None) -> Formula:
    """`[N, C_in, ...]` with weights `[C_out, C_in / groups, ...]`, its numbers at these places of the arguments.

    Where the argument at `transposed_at` is true, it is a transposed one with weights `[C_in, C_out / groups, ...]`;
    without a groups' number its output is taken for one group.
    """

    def formula(arguments: Sequence[Argument]) -> tuple[float, float]:
        x, weight = _tensor(arguments, 0), _tensor(arguments, 1)
        dims = len(weight.sizes) - 2
        stride, padding = _ints(arguments[stride_at], dims), _ints(arguments[padding_at], dims)
        dilation = _ints(arguments[dilation_at], dims)
        batch = x.numbers // math.prod(x.sizes[-dims - 1 :])
        sides = list(zip(x.sizes[-dims:], stride, padding, dilation, weight.sizes[2:], strict=True))
        if transposed_at is not None and arguments[transposed_at]:
            # Each number of the input is multiplied with a whole kernel.
            spread = math.prod((n - 1) * s - 2 * p + d * (k - 1) + 1 for n, s, p, d, k in sides)
            return 2.0 * x.numbers * math.prod(weight.sizes[1:]), _bytes(batch * weight.sizes[1] * spread, x)
        places = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, s, p, d, k in sides]
        out = batch * weight.sizes[0] * math.prod(places)
        return 2.0 * out * math.prod(weight.sizes[1:]), _bytes(out, x)

    return formula


def _attention(arguments: Sequence[Argument]) -> tuple[float, float]:
    """Queries `[..., L, E]`, keys `[..., S, E]`, values `[..., S, E_v]`."""
    query, key, value = (_tensor(arguments, at) for at in range(3))
    heads = math.prod(query.sizes[:-2])
    length, width = query.sizes[-2:]
    flops = 2.0 * heads * length * key.sizes[-2] * (width + value.sizes[-1])
    return flops, _bytes(heads * length * value.sizes[-1], query)


def _multi_head(arguments: Sequence[Argument]) -> tuple[float, float]:
    """`_native_multi_head_attention`: the projections of `[N, L, E]` too, by weights `[3 E, E]` and `[E, E]`."""
    x, packed, out = _tensor(arguments, 0), _tensor(arguments, 5), _tensor(arguments, 7)
    length, width = x.sizes[-2:]
    tokens = x.numbers // width
    return 2.0 * tokens * (packed.numbers + out.numbers) + 4.0 * tokens * length * width, _bytes(x.numbers, x)


def _recurrent(arguments: Sequence[Argument]) -> tuple[float, float]:
    """Each number of a matrix takes part in one multiply-add for each step of each sequence: `[steps, N, width]`."""
    x = _tensor(arguments, 0)
    matrices = [t for t in _tensors(arguments[1:]) if len(t.sizes) == 2]
    states = [t for t in _tensors(arguments[1:]) if len(t.sizes) == 3]
    if not matrices or len(x.sizes) != 3:
        raise NoFormula("no matrices")
    steps = x.numbers // x.sizes[-1]
    width = states[0].sizes[-1] if states else matrices[0].sizes[0]
    return 2.0 * steps * sum(each.numbers for each in matrices), _bytes(steps * width, x)


def _each_input(times: float) -> Formula:
    """So many operations for each number of the input, and an output of its size."""

    def formula(arguments: Sequence[Argument]) -> tuple[float, float]:
        x = _tensor(arguments, 0)
        return times * x.numbers, _bytes(x.numbers, x)

    return formula


def _together(times: float) -> Formula:
    """So many operations for each number of what the tensors make together."""

    def formula(arguments: Sequence[Argument]) -> tuple[float, float]:
        sizes: tuple[int, ...] = ()
        tensors = _tensors(arguments)
        for each in tensors:
            sizes = _broadcast(sizes, each.sizes)
        return times * math.prod(sizes), _bytes(math.prod(sizes), _widest(tensors))

    return formula


def _widest(tensors: Sequence[Tensor]) -> Tensor:
    """The tensor whose type the output has: of floating-point ones the first, else the first."""
    return next((each for each in tensors if "float" in each.dtype), tensors[0])


def _smaller(arguments: Sequence[Argument]) -> tuple[float, float]:
    """One operation for each number of the input; the output, smaller by an unknown factor, is not counted."""
    return float(_tensor(arguments, 0).numbers), 0.0


def _embedding(arguments: Sequence[Argument]) -> tuple[float, float]:
    """Rows of `[rows, width]` at `[...]` places."""
    table, places = _tensor(arguments, 0), _tensor(arguments, 1)
    return 0.0, _bytes(places.numbers * table.sizes[-1], table)


def _moved(arguments: Sequence[Argument]) -> tuple[float, float]:
    """All inputs are written once more."""
    return 0.0, float(sum(each.size_bytes for each in _tensors(arguments)))


_CONVOLUTIONS: Mapping[str, Formula] = {
    **{f"aten::conv{n}d": _convolution(3, 4, 5) for n in (1, 2, 3)},
    "aten::convolution": _convolution(3, 4, 5, 6), "aten::_convolution": _convolution(3, 4, 5, 6),
    "aten::mkldnn_convolution": _convolution(4, 3, 5), "aten::cudnn_convolution": _convolution(4, 3, 5),
    "mkldnn::_convolution_pointwise": _convolution(4, 3, 5),
}  # fmt: skip
_BY_NAME: Mapping[str, Formula] = {
    **_CONVOLUTIONS,
    "aten::linear": _linear, "aten::mkldnn_linear": _linear, "mkldnn::_linear_pointwise": _linear,
    "aten::addmm": _product(1, 2), "aten::_addmm_activation": _product(1, 2), "aten::addmv": _product(1, 2),
    "aten::baddbmm": _product(1, 2), "aten::mm": _product(0, 1), "aten::mv": _product(0, 1),
    "aten::dot": _product(0, 1), "aten::bmm": _product(0, 1), "aten::_int_mm": _product(0, 1),
    "aten::_native_multi_head_attention": _multi_head,
    "aten::copy_": lambda arguments: (0.0, 0.0), "aten::embedding": _embedding,
    "MatMul": _product(0, 1), "FusedMatMul": _product(0, 1), "QLinearMatMul": _product(0, 3),
    "MatMulInteger": _product(0, 1), "DynamicQuantizeMatMul": _product(0, 1),
}  # fmt: skip
_BY_KIND: Mapping[str, Formula] = {
    "attention": _attention, "recurrent": _recurrent, "pooling": _smaller, "reduction": _smaller,
    "softmax": _each_input(5), "layer_norm": _each_input(7), "group_norm": _each_input(7),
    "batch_norm": _each_input(2), "relu": _each_input(1), "sigmoid": _each_input(1), "tanh": _each_input(1),
    "activation": _each_input(1), "add": _together(1), "multiply": _together(1), "elementwise": _together(1),
    "concat": _moved, "data_movement": _moved, "quantize": _moved, "transpose": _moved,
}  # fmt: skip
_VIEWS = frozenset(
    "aten::view aten::_unsafe_view aten::_reshape_alias aten::as_strided aten::transpose aten::permute aten::t "
    "aten::expand aten::expand_as aten::squeeze aten::unsqueeze aten::slice aten::select aten::narrow aten::detach "
    "aten::alias aten::split aten::chunk aten::unbind aten::split_with_sizes aten::view_as aten::unflatten "
    "aten::lift_fresh aten::resolve_conj aten::resolve_neg aten::diagonal aten::movedim aten::numpy_T aten::mT".split()
)
"""Names of operators that move nothing: another view of the same numbers."""
