"""What a searcher sees of each standard knob: the numbers by hand, and which values are refused."""

import math

import pytest

from cluster.gpu_names.gpu_names import find
from raytune_infer.spec.standard_knobs import STANDARD_KNOBS, encode, encode_found, gpu_name

BY_HAND = [
    ("cpu_cores", (4, 1, 2), (1, 2, 4), "log2_cpu_cores", (0, 1, 2), "new replica"),
    ("gpu_share", (1.0, 0.25), (0.25, 1.0), "log2_gpu_share", (-2, 0), "new replica"),
    ("gpu_memory", (0.5,), (0.5,), "log2_gpu_memory_gib", (-1,), "new replica"),
    ("max_batch_size", (64, 8), (8, 64), "log2_max_batch_size", (3, 6), "in place"),
    ("batch_wait_ms", (7, 0, 1), (0, 1, 7), "log2_batch_wait_ms_plus_1", (0, 1, 3), "in place"),
    ("threads", (2, 1), (1, 2), "log2_threads", (0, 1), "in place"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "ordered", "column", "numbers", "changes"), BY_HAND)
def test_numbers_of_a_standard_knob(name, given, ordered, column, numbers, changes):
    knob = encode(name, given)
    assert (knob.name, knob.values, knob.kind, knob.columns) == (name, ordered, "ordinal", (column,))
    assert [f for (f,) in knob.features] == pytest.approx(list(numbers)) and knob.changes == changes


def test_precisions_and_gpus_are_told_apart_but_not_ordered():
    precision = encode("precision", ("int8", "float32", "bfloat16", "float16"))
    assert (precision.values, precision.kind) == (("int8", "float32", "bfloat16", "float16"), "categorical")
    # Bits of a number, as log2, and bits of its exponent.
    assert precision.features == ((3, 0), (5, 8), (4, 8), (4, 5)) and precision.changes == "in place"
    gpu = encode("gpu_type", ("none", "T4"))
    assert gpu.features[1] == find("T4").features() and gpu.kind == "categorical" and gpu.changes == "new replica"
    assert (gpu_name("none"), gpu_name("T4")) == (None, "T4")


def test_ones_own_knobs():
    assert encode("beams", (4, 1)).values == (1, 4) and encode("beams", (4, 1)).kind == "ordinal"
    named = encode("mode", ("b", "a"))
    assert (named.values, named.kind, named.columns) == (("b", "a"), "categorical", ("mode=b", "mode=a"))
    mixed = encode("mode", ("b", 1))
    assert mixed.kind == "categorical" and encode("flag", (True, False)).kind == "categorical"
    assert encode("x", (math.inf, 1)).kind == "categorical"
    # What means a number of GPUs or GiB is told under one name; a value that has no logarithm is told as it is.
    assert encode("tp", (1, 4)).columns == ("log2_gpus",) and encode("tp", (0, 4)).columns == ("tp",)
    assert encode("gpu_memory_gib", (8,)).features == ((3.0,),)
    assert encode("tp", ("a", "b")).columns == ("tp=a", "tp=b")


REFUSED = [
    ("cpu_cores", (0, -1, 1.0, 1.5, "2", True, 1_000_001), "whole numbers from 1 to 1000000"),
    ("max_batch_size", (0, 2.5), "whole numbers"),
    ("threads", (0,), "whole numbers"),
    ("gpu_share", (0, 0.0, -0.1, 1.01, "0.5", True, math.nan), "fractions of one GPU, above 0 and up to 1"),
    ("gpu_memory", (0, 2), "fractions of one GPU"),
    ("batch_wait_ms", (-1, -0.001, 1_000_001, "5", True, math.nan), "milliseconds from 0 to 1000000"),
    ("gpu_type", (4, "H1000"), "GPU"),
    ("precision", ("fp16", 16), "any of float32, bfloat16, float16, int8"),
]


@pytest.mark.parametrize(("name", "wrong", "said"), REFUSED)
def test_values_that_no_replica_could_run_under_are_refused(name, wrong, said):
    for value in wrong:
        why = STANDARD_KNOBS[name].wrong(value)
        assert why is not None and said in why, value
        with pytest.raises(ValueError, match=f"knob '{name}' "):
            encode(name, (value,))


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("cpu_cores", (1, 1_000_000)), ("gpu_share", (1, 0.01)), ("gpu_memory", (1.0, 1e-6)),
        ("batch_wait_ms", (0, 0.5, 1_000_000)), ("gpu_type", ("none", "T4", "Tesla T4")), ("precision", ("int8",)),
    ],
)  # fmt: skip
def test_values_at_the_bounds_are_good(name, right):
    assert [STANDARD_KNOBS[name].wrong(value) for value in right] == [None] * len(right)


def test_what_was_measured_elsewhere_keeps_its_order_and_kind():
    batch = encode_found("max_batch_size", (8, 1), "categorical")
    assert (batch.values, batch.kind, batch.features, batch.changes) == (
        (8, 1), "categorical", ((3.0,), (0.0,)), "in place",
    )  # fmt: skip
    # A share of 1 is a whole card, one of 50 is per cent; a wait below nothing makes no sense, half a core does.
    assert encode_found("gpu_share", (0.5, 1), "ordinal").features == ((-1.0,), (0.0,))
    assert encode_found("gpu_share", (25, 100), "ordinal").features == ((-2.0,), (0.0,))
    assert encode_found("gpu_share", (25, 200), "ordinal").columns == ("log2_gpu_share",)
    assert encode_found("cpu_cores", (0.5, 2), "ordinal").features == ((-1.0,), (1.0,))
    assert encode_found("cpu_cores", (0, 2), "ordinal").columns == ("cpu_cores",)
    assert encode_found("batch_wait_ms", (-1, 2), "ordinal").columns == ("batch_wait_ms",)
    assert encode_found("gpu_share", ("half", "whole"), "ordinal").columns == ("rank_gpu_share",)
    with pytest.raises(ValueError, match="needs one or more distinct values"):
        encode_found("cpu_cores", (), "ordinal")
