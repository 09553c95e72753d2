"""How numbers are written: by hand, for each size of number and of interval."""

import math

import pytest

from raytune_infer.counted import by_number, counted
from raytune_infer.report.words.values import (
    estimate,
    formatted,
    in_effect,
    interval,
    number,
    significant,
    spelled,
    value_text,
)
from searchers.space import Value


@pytest.mark.parametrize(
    ("value", "text"),
    [(11842.6, "11840"), (1e9, "1000000000"), (123.456, "123.5"), (2.0, "2"), (0.07549, "0.07549"),
     (1.5e-5, "0.000015"), (0.0, "0"), (-43.214, "-43.21"), (9999.9, "10000"), (100.0, "100"),
     (math.inf, "inf"), (math.nan, "nan")],
)  # fmt: skip
def test_a_number_has_four_digits_and_no_exponent(value, text):
    assert significant(value) == number(value) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [((3707.2, 3419.0, 4020.3), "3710 (3420 to 4020)"), ((11800.0, 9001.0, 15500.0), "11800 (9000 to 15500)"),
     ((157.5, 145.2, 171.3), "158 (145 to 171)"), ((3.163, 2.75, 3.63), "3.16 (2.75 to 3.63)"),
     # The nearer end decides: with the other's place, 0.4 would be 0.
     ((5.0, 0.4, 60.0), "5.0 (0.4 to 60.0)"),
     # No more than four digits, however narrow the interval is.
     ((1 / 3, 1 / 3, 1 / 3), "0.3333 (0.3333 to 0.3333)"), ((100.0, 99.99999, 100.00001), "100.0 (100.0 to 100.0)")],
)  # fmt: skip
def test_an_interval_decides_how_many_digits_are_written(values, text):
    assert number(*values) == text
    assert f"{estimate(*values)} ({interval(*values)})" == text


def test_a_column_may_ask_for_other_digits():
    assert formatted(12345.678, ".3g") == "12300" and formatted(0.1234, ".1%") == "12.3%"
    assert formatted(0.5, ".4f") == "0.5000" and formatted(7, "d") == "7" and formatted(15.75, "g") == "15.75"


def test_what_has_no_effect_in_a_configuration_is_not_spelled():
    config: dict[str, Value] = {"cpu_cores": 1, "gpu_type": "none", "gpu_share": 0.5, "gpu_memory": 0.25}
    assert spelled(config) == "cpu_cores=1  gpu_type=none"
    assert in_effect({**config, "gpu_type": "T4"}) == {**config, "gpu_type": "T4"}
    assert spelled({"gpu_share": 0.5}) == "gpu_share=0.5"


def test_different_values_are_different_in_words():
    values: list[Value] = [8, "8", 8.0, "8.0", True, "True", "true", "None", "nan", "a", "", " 8", '"8"']
    values += ["\n", "\\n", '"\\n"', "a\\nb\n"]
    assert len({value_text(value) for value in values}) == len(values)
    assert [value_text(value) for value in (8, "8", "a 8", "\n", "\\n")] == ["8", '"8"', "a 8", "\\n", '"\\\\n"']


def test_one_is_singular_and_every_other_number_plural():
    assert [counted(many, "trial") for many in (0, 1, 2)] == ["0 trials", "1 trial", "2 trials"]
    assert [counted(many, "copy", "copies") for many in (0, 1, 12)] == ["0 copies", "1 copy", "12 copies"]
    assert [by_number(many, "is", "are") for many in (0, 1, 2)] == ["are", "is", "are"]
