"""The standard knobs: their allowed values, their feature columns for searchers, and the cost of changing them.

The spaces of services and the synthetic tasks that the shipped meta-model is trained on share these definitions:
feature columns of the same name mean the same quantity in every space, so a meta-model can be transferred. A trained
meta-model ignores a column that has been renamed, so names must not change. Scales are logarithmic, because the
effect of resources and batch sizes depends on ratios.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cluster import catalogue, gpus
from cluster.gpu_names import gpu_names
from raytune_infer.spec.document import shown
from searchers.space import Knob, Value
from serve_deployments.settings import IN_PLACE, fixed

NO_GPU = "none"
"""The value of `gpu_type` for a replica on the CPU."""

PRECISION_BITS: Mapping[str, tuple[int, int]] = {
    "float32": (32, 8), "bfloat16": (16, 8), "float16": (16, 5), "int8": (8, 0),
}  # fmt: skip
"""Precision → bits of a number and of its exponent: IEEE 754; bfloat16 has float32's exponent."""


KnobKind = Literal["ordinal", "categorical"]

_MOST = 1_000_000
"""Largest value of a knob in cores, requests per batch, threads or milliseconds. Our choice: more than any machine has
or anybody waits."""

_COLUMNS: Mapping[str, str] = {
    **dict.fromkeys(("tensor_parallel", "tp", "num_gpus", "gpus"), "log2_gpus"),
    # Not log2_gpu_memory_gib, which is the card's memory: columns of one name are summed, and the sum of two
    # logarithms of GiB has no meaning.
    "gpu_memory_gib": "log2_gpu_memory_cap_gib",
}
"""Common name of a custom knob → the feature column of the quantity that it stands for."""


@dataclass(frozen=True)
class StandardKnob:
    """A knob that the tool understands.

    Args:
        kind: "ordinal" if neighbouring values behave alike, else "categorical".
        columns: names of its feature columns.
        features: value → its features, in the order of `columns`.
        wrong: value → why it is not allowed; None if it is.
    """

    kind: KnobKind
    columns: tuple[str, ...]
    features: Callable[[Value], tuple[float, ...]]
    wrong: Callable[[Value], str | None]


def encode(name: str, values: Sequence[Value]) -> Knob:
    """Return the knob with this name and these values; a name that is not standard gets the encoding of `Knob`.

    Raises:
        ValueError: a value that the standard knob does not take.
    """
    standard = STANDARD_KNOBS.get(name)
    if standard is None:
        numeric = all(_is_number(v) for v in values)
        return _own(name, _in_order(values, numeric), "ordinal" if numeric else "categorical")
    if wrong := next((why for v in values if (why := standard.wrong(v)) is not None), None):
        raise ValueError(f"knob {name!r} {wrong}")
    ordered = _in_order(values, standard.kind == "ordinal")
    return _knob(name, ordered, standard.kind, standard.columns, tuple(standard.features(v) for v in ordered))


def encode_found(name: str, values: Sequence[Value], kind: KnobKind) -> Knob:
    """Return the knob of a table measured elsewhere: columns as in `encode`, but order and kind of the values as given.

    Values that would be refused in a service.yaml are accepted: a GPU type that the catalogue lacks gets the mean of
    the others' features, GPU shares with a value above 1 are per cent, cores may be fractions. Values that the
    standard knob cannot interpret at all get the encoding of `Knob`.

    Raises:
        ValueError: there are no values, or repeated ones.
    """
    standard = STANDARD_KNOBS.get(name)
    if standard is None or not values:
        return _own(name, values, kind)
    if name == "gpu_type":
        features = _gpu_features_found(values)
    elif name == "gpu_share" and all(_is_number(v) for v in values) and max(map(float, values)) > 1:
        features = _features_found(standard, [float(v) / 100 for v in values])
    else:
        features = _features_found(standard, values)
    if features is None:
        return _own(name, values, kind)
    return _knob(name, tuple(values), kind, standard.columns, features)


def gpu_name(value: Value) -> str | None:
    """Return the GPU type that a value of `gpu_type` asks for; None if it asks for none."""
    return None if value == NO_GPU else str(value)


def _knob(
    name: str,
    values: tuple[Value, ...],
    kind: KnobKind,
    columns: tuple[str, ...],
    features: tuple[tuple[float, ...], ...],
) -> Knob:
    """Make a standard knob; `serve_deployments.settings.IN_PLACE` says whether a change needs a new replica."""
    if name not in IN_PLACE:
        return Knob(name, values, kind, columns, features, "new replica")
    kept = [fixed(name, value) for value in values]
    apart = tuple(kept.index(one) for one in kept)
    return Knob(name, values, kind, columns, features, "in place", apart if any(apart) else ())


def _own(name: str, values: Sequence[Value], kind: KnobKind) -> Knob:
    """Make a knob in the encoding of `Knob`, but with a column name from `_COLUMNS` where its name has one there."""
    column = _COLUMNS.get(name)
    if column is None or not all(_is_number(v) and float(v) > 0 for v in values):
        return Knob(name, tuple(values), kind)
    return Knob(name, tuple(values), kind, (column,), tuple(_log2(v) for v in values))


def _features_found(standard: StandardKnob, values: Sequence[Value]) -> tuple[tuple[float, ...], ...] | None:
    """Features of values that the standard knob takes, or would take if whole numbers could be fractions; else None."""
    whole = standard.wrong is _whole
    for value in values:
        if not (whole and _is_number(value) and float(value) > 0) and standard.wrong(value) is not None:
            return None
    return tuple(standard.features(v) for v in values)


def _gpu_features_found(values: Sequence[Value]) -> tuple[tuple[float, ...], ...] | None:
    """Features of GPU types; an unknown type gets the mean of the known ones. None if none is known."""
    values = [NO_GPU if str(value).lower() in (NO_GPU, "cpu") else value for value in values]
    wrong = [_gpu_type(value) is not None for value in values]
    known = [_gpu_features(v) for v, bad in zip(values, wrong, strict=True) if not bad and gpu_name(v) is not None]
    if not known:
        return None
    mean = tuple(math.fsum(column) / len(known) for column in zip(*known, strict=True))
    return tuple(mean if bad else _gpu_features(v) for v, bad in zip(values, wrong, strict=True))


def _in_order(values: Sequence[Value], numeric: bool) -> tuple[Value, ...]:
    return tuple(sorted(values, key=float)) if numeric else tuple(values)


def _log2(value: Value) -> tuple[float, ...]:
    return (math.log2(float(value)),)


def _log2_plus_1(value: Value) -> tuple[float, ...]:
    return (math.log2(float(value) + 1),)  # a wait of 0 is usual, and 0 has no logarithm


def _gpu_features(value: Value) -> tuple[float, ...]:
    name = gpu_name(value)
    return catalogue.NO_GPU_FEATURES if name is None else gpu_names.find(name).features()


def _precision_features(value: Value) -> tuple[float, ...]:
    bits, exponent_bits = PRECISION_BITS[str(value)]
    return math.log2(bits), float(exponent_bits)


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: Value) -> str | None:
    good = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST
    return None if good else f"needs whole numbers from 1 to {_MOST}, got {shown(value)}"


def _fraction(value: Value) -> str | None:
    good = _is_number(value) and 0 < float(value) <= 1
    return None if good else f"needs fractions of one GPU, above 0 and up to 1, got {shown(value)}"


def _milliseconds(value: Value) -> str | None:
    good = _is_number(value) and 0 <= float(value) <= _MOST
    return None if good else f"needs milliseconds from 0 to {_MOST}, got {shown(value)}"


def _gpu_type(value: Value) -> str | None:
    if not isinstance(value, str):
        return f"needs names of GPU types, or {NO_GPU!r}, got {shown(value)}"
    try:
        _gpu_features(value)
    except gpu_names.UnknownGpu as error:
        return f"has a value that is not known: {error}"
    return None


def _precision(value: Value) -> str | None:
    return None if value in PRECISION_BITS else f"needs any of {', '.join(PRECISION_BITS)}, got {shown(value)}"


STANDARD_KNOBS: Mapping[str, StandardKnob] = {
    "cpu_cores": StandardKnob("ordinal", ("log2_cpu_cores",), _log2, _whole),
    "gpu_type": StandardKnob("categorical", gpus.FEATURE_NAMES, _gpu_features, _gpu_type),
    "gpu_share": StandardKnob("ordinal", ("log2_gpu_share",), _log2, _fraction),
    # The same column as the GPU type has, because columns of one name are summed: log2 of the card's GiB plus log2
    # of the fraction is log2 of the GiB that the replica may use.
    "gpu_memory": StandardKnob("ordinal", ("log2_gpu_memory_gib",), _log2, _fraction),
    "max_batch_size": StandardKnob("ordinal", ("log2_max_batch_size",), _log2, _whole),
    "batch_wait_ms": StandardKnob("ordinal", ("log2_batch_wait_ms_plus_1",), _log2_plus_1, _milliseconds),
    "threads": StandardKnob("ordinal", ("log2_threads",), _log2, _whole),
    "precision": StandardKnob(
        "categorical", ("log2_precision_bits", "precision_exponent_bits"), _precision_features, _precision
    ),
}  # fmt: skip
"""Name → standard knob, in the order of the documentation."""
