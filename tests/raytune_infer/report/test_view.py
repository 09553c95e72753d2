"""A view is data that any renderer can show: rows fit their columns, and no number is one that JSON does not have."""

import math

import pytest

from raytune_infer.report.chart import Axis, Dot
from raytune_infer.report.view import Cell, Column, Quantiles, Quantity, Row, Table
from raytune_infer.report.words.metric_columns import metric_column
from searchers.objective import Expression, Objective

BOTH = (Column("name", kind="text"), Column("rate_rps", "rate", "requests/s"))


@pytest.mark.parametrize(
    ("column", "cell", "takes"),
    [
        (Column("x", kind="text"), "[/INST]", True),
        (Column("x", kind="text"), 1.0, False),
        (Column("x"), 1, True),
        (Column("x"), 1.5, True),
        (Column("x"), "1.5", False),
        (Column("x"), True, False),
        (Column("x"), math.nan, False),
        (Column("x"), math.inf, False),
        (Column("x", kind="quantity"), Quantity(1.0, 0.9, 1.1), True),
        (Column("x", kind="quantity"), Quantity(1.0, 0.9, math.inf), False),
        (Column("x", kind="quantity"), 1.0, False),
        (Column("x", kind="quantiles"), Quantiles(3, None, None, 2), True),
        (Column("x", kind="quantiles"), Quantity(1.0), False),
        (Column("x", kind="config"), {"size": 3, "mode": "[a]"}, True),
        (Column("x", kind="config"), "size=3", False),
    ],
)
def test_a_cell_is_what_its_column_says_or_nothing(column: Column, cell: Cell, takes: bool):
    assert Table("t", (column,), (Row((None,)),)).column("x") == [None]
    if takes:
        assert Table("t", (column,), (Row((cell,)),)).column("x") == [cell]
    else:
        with pytest.raises(ValueError, match=f"column 'x' of 't' takes a {column.kind}, got "):
            Table("t", (column,), (Row((cell,)),))


def test_a_row_has_a_cell_for_each_column_and_columns_have_names_of_their_own():
    with pytest.raises(ValueError, match="'t' has 2 columns, a row of it 1 cells"):
        Table("t", BOTH, (Row(("a",)),))
    with pytest.raises(ValueError, match=r"one or more columns of different names, got \['name', 'name'\]"):
        Table("t", (BOTH[0], BOTH[0]), ())
    with pytest.raises(ValueError, match=r"one or more columns of different names, got \[\]"):
        Table("t", (), ())


def test_a_heading_has_its_unit():
    assert [column.words for column in BOTH] == ["", "rate, requests/s"]
    assert Column("usd_per_hour", unit="USD/hour").words == "USD/hour"
    assert Axis("latency", "ms").words == "latency, ms" and Axis("model busy").words == "model busy"


def test_knobs_are_those_of_all_rows():
    rows = (Row(({"b": 1, "a": 2},)), Row((None,)), Row(({"a": 1, "c": True},)))
    assert Table("t", (Column("config", kind="config"),), rows).knobs("config") == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("x", "y"), [(math.inf, Quantity(1.0)), (1.0, Quantity(math.nan)), (1.0, Quantity(1.0, 0.0, math.inf))]
)
def test_a_chart_has_no_point_that_is_nowhere(x: float, y: Quantity):
    assert Dot(1.0, Quantity(2.0, 1.0, 3.0)).y.high == 3.0
    with pytest.raises(ValueError, match="a point of a chart needs finite numbers"):
        Dot(x, y)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("p99_ms", "p99, ms (limit 50)"), ("answers_same", "answers_same (at least 0.9)"),
        ("error_rate", "error_rate (limit 0.01)"), ("p50_ms", "p50, ms"), ("quality", "quality"),
    ],
)  # fmt: skip
def test_a_comma_stands_before_a_unit_alone(name, words):
    limits = {"p99_ms": 50.0, "error_rate": 0.01}
    objective = Objective(Expression("rps"), at_most=limits, at_least={"answers_same": 0.9})
    assert metric_column(name, objective).words == words
