"""Every view through every renderer: the numbers that come out are the view's, and a text is what somebody wrote."""

import csv
import inspect
import io
import json
import math
import pkgutil
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib import import_module
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from raytune_infer import report
from raytune_infer.errors import UserError
from raytune_infer.report.chart import Chart
from raytune_infer.report.renderers import RENDERERS, renderer_of
from raytune_infer.report.renderers.cell_text import cell_text
from raytune_infer.report.renderers.console_view import print_view
from raytune_infer.report.view import Cell, Column, Note, Quantiles, Quantity, Row, Table, View
from raytune_infer.report.words.values import spelled
from tests.raytune_infer.report.every_view import NAMES, TYPED, views

VIEWS = views()
every_view = pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)


def rendered(view: View, name: str) -> str:
    renderer_of(name)(view, out := io.StringIO())
    return out.getvalue()


def printed(view: View, width: int) -> str:
    print_view(Console(file=(out := io.StringIO()), width=width, soft_wrap=True), view)
    return out.getvalue()


def all_of(view: View) -> Iterator[View]:
    yield view
    for section in view.sections:
        yield from all_of(section)


def tables(view: View) -> list[Table]:
    return [table for each in all_of(view) for table in each.tables]


def user_texts(view: View) -> list[str]:
    """Titles, notes, and all cells that are texts."""
    each = [text for part in all_of(view) for text in (part.title, part.subtitle, *(n.text for n in part.notes))]
    cells = [cell for table in tables(view) for row in table.rows for cell in row.cells]
    each += [str(knob) for cell in cells if isinstance(cell, Mapping) for knob in cell.values()]
    return [*each, *(table.title for table in tables(view)), *(cell for cell in cells if isinstance(cell, str))]


def test_there_is_a_view_of_each_builder():
    """A builder is a function of this package that returns a view; those of sections are seen in the whole report.

    Private ones make part of a builder's views.
    """
    found: dict[str, str] = {}
    for module in pkgutil.walk_packages(report.__path__, "raytune_infer.report."):
        if ".renderers" not in module.name:
            owners: list[Any] = [import_module(module.name)]
            owners += [each for _, each in inspect.getmembers(owners[0], inspect.isclass)]
            functions = [f for owner in owners for _, f in inspect.getmembers(owner, inspect.isfunction)]
            found |= {f.__name__: f.__module__ for f in functions if f.__annotations__.get("return") == "View"}
    sections = {name for name in found if ".whole." in found[name] and name != "whole_report"}
    assert {name for name in found.keys() - sections if not name.startswith("_")} == set(VIEWS)


# JSON


def as_told(cell: Cell) -> Any:
    return vars(cell) if isinstance(cell, Quantity | Quantiles) else cell


@every_view
def test_json_has_every_number_as_it_is_with_its_unit(view):
    def check(part: View, told: Any) -> None:
        assert (told["title"], told["subtitle"]) == (part.title, part.subtitle)
        assert told["notes"] == [{"text": note.text, "kind": note.kind} for note in part.notes]
        for table, one in zip(part.tables, told["tables"], strict=True):
            names = [column.name for column in table.columns]
            assert [(c["name"], c["unit"]) for c in one["columns"]] == [(c.name, c.unit) for c in table.columns]
            assert one["rows"] == [dict(zip(names, map(as_told, row.cells), strict=True)) for row in table.rows]
        assert told["charts"] == json.loads(json.dumps([asdict(chart) for chart in part.charts]))
        for section, one in zip(part.sections, told["sections"], strict=True):
            check(section, one)

    check(view, json.loads(rendered(view, "json")))


def test_a_knob_that_is_infinite_is_json_all_the_same():
    table = Table("t", (Column("config", kind="config"),), (Row(({"wait": math.inf, "on": True, "n": 1},)),))
    [row] = json.loads(rendered(View(tables=(table,)), "json"))["tables"][0]["rows"]
    assert row["config"] == {"wait": "inf", "on": True, "n": 1}


# CSV


def rows(view: View, name: str = "") -> list[dict[str, str]]:
    """The rows of one table, a dictionary by its header for each: the whole output is one table."""
    return list(csv.DictReader(io.StringIO(rendered(view, f"csv:{name}" if name else "csv")), strict=True))


def in_columns(column: Column, cell: Cell) -> dict[str, Any]:
    """The columns of CSV that a cell is in."""
    if isinstance(cell, Mapping):
        return {f"{column.name}.{knob}": value for knob, value in cell.items()}
    if isinstance(cell, Quantity | Quantiles):
        return {column.name if p == "value" else f"{column.name}_{p}": value for p, value in vars(cell).items()}
    return {} if cell is None else {column.name: cell}


@every_view
def test_csv_has_every_number_as_it_is(view):
    for name in dict.fromkeys(table.name for table in tables(view)):
        named = [(table, row) for table in tables(view) if table.name == name for row in table.rows]
        for (table, row), line in zip(named, rows(view, name), strict=True):
            expected: dict[str, Any] = {}
            for column, cell in zip(table.columns, row.cells, strict=True):
                expected |= in_columns(column, cell)
            said = {column: text for column, text in line.items() if text}
            assert said == {column: str(value) for column, value in expected.items() if value is not None}
            assert all(float(line[n]) == v for n, v in expected.items() if isinstance(v, float))


@every_view
def test_csv_is_one_table_that_pandas_reads_and_the_others_are_asked_for_by_name(view):
    main = tables(view)[0]
    count = sum(len(table.rows) for table in tables(view) if table.name == main.name)
    assert len(pd.read_csv(io.StringIO(rendered(view, "csv")))) == count
    with pytest.raises(UserError, match=f"--format csv:nothing: there is no such table; there are {main.name}"):
        rendered(view, "csv:nothing")


def test_charts_and_notes_are_tables_of_csv_too():
    view = VIEWS["recommendation_view"]
    said = [("answer", view.answer), *((note.kind, note.text) for note in view.notes)]
    assert [(row["kind"], row["text"]) for row in rows(view, "notes")] == said
    for chart in view.charts:
        assert isinstance(chart, Chart)
        points = [(s.name, dot.x, dot.y.value, dot.label) for s in chart.series for dot in s.dots]
        assert points and points == [
            (r["series"], float(r["x"]), float(r["y"]), r["label"]) for r in rows(view, chart.name)
        ]
    assert [chart.name for chart in view.charts] == ["latency", "busy"]
    assert rendered(View(), "csv") == ""


# Console


def numbers_in(text: str) -> list[str]:
    return re.findall(r"(?<![\w.])\d[\d.]*(?:e[+-]\d+)?%?", text)


@every_view
@pytest.mark.parametrize("width", [400, 132, 80, 60, 40, 20])
def test_the_console_shows_every_number_whole_however_narrow_it_is(view, width):
    shown = numbers_in(printed(view, width))
    for table in tables(view):
        for row in table.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                if column.kind in ("number", "quantity", "quantiles") and cell is not None:
                    for number in numbers_in(cell_text(column, cell)):
                        assert number in shown, (column.name, cell)


@every_view
@pytest.mark.parametrize("width", [132, 80, 60, 40, 20])
def test_no_box_is_wider_than_the_console(view, width):
    lines = [line for line in printed(view, width).splitlines() if line[:1] in ("┏", "┃", "┡", "│", "├", "└")]
    assert max(map(len, lines), default=0) <= width


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (Quantity(1739.6, 1690.2, 1821.0), "1740 (1690 to 1821)"),
        (Quantity(58.944, at_least=True, estimated=True), "≥ ~58.94"),
        (Quantity(0.18512, 0.144, 0.211, estimated=True, at_most=True), "≤ ~0.185 (0.144 to 0.211)"),
        (Quantiles(11, 19, None, 3), "11 / 19 / – (3)"),
        (None, "–"),
    ],
)
def test_what_people_are_told_of_a_number(cell, said):
    kind: Any = {Quantity: "quantity", Quantiles: "quantiles"}.get(type(cell), "number")
    assert cell_text(Column("x", kind=kind), cell) == said


def test_digits_are_those_of_the_column():
    assert cell_text(Column("x"), 12345.678) == "12350" and cell_text(Column("x", digits=".1%"), 0.1234) == "12.3%"
    assert (
        cell_text(Column("x", kind="quantity", digits=".2f"), Quantity(0.5, 0.456, 0.554)) == "0.500 (0.456 to 0.554)"
    )
    assert cell_text(Column("x", kind="text"), None) == ""


def test_a_table_that_is_too_wide_goes_on_below_with_what_tells_its_rows_apart():
    columns = (Column("who", "who", kind="text", key=True), *(Column(f"c{i}", f"c{i}") for i in range(4)))
    view = View(tables=(Table("t", columns, (Row(("ann", 1111, 2222, 3333, 4444)),), title="all"),))
    assert "".join(printed(view, 20)).splitlines() == [
        "all",
        "┏━━━━━┳━━━━━━┓", "┃ who ┃   c0 ┃", "┡━━━━━╇━━━━━━┩", "│ ann │ 1111 │", "└─────┴──────┘",
        "┏━━━━━┳━━━━━━┓", "┃ who ┃   c1 ┃", "┡━━━━━╇━━━━━━┩", "│ ann │ 2222 │", "└─────┴──────┘",
        "┏━━━━━┳━━━━━━┓", "┃ who ┃   c2 ┃", "┡━━━━━╇━━━━━━┩", "│ ann │ 3333 │", "└─────┴──────┘",
        "┏━━━━━┳━━━━━━┓", "┃ who ┃   c3 ┃", "┡━━━━━╇━━━━━━┩", "│ ann │ 4444 │", "└─────┴──────┘",
    ]  # fmt: skip
    assert printed(view, 27).count("who") == 2 and printed(view, 34).count("who") == 1 + 1
    assert printed(view, 35).count("who") == 1
    assert printed(view, 10).splitlines() == [
        "all", "  who: ann", "  c0:  1111", "  c1:  2222", "  c2:  3333", "  c3:  4444"
    ]  # fmt: skip


# Texts


@every_view
def test_what_a_user_typed_comes_through_every_renderer_unharmed(view):
    texts = [text for text in user_texts(view) if text]
    assert any(TYPED in text for text in texts)
    told = json.loads(rendered(view, "json"))
    names = dict.fromkeys((*(table.name for table in tables(view)), *(["notes"] if notes_of(view) else [])))
    cells = [cell for name in names for row in rows(view, name) for cell in row.values()]
    titles = {title for each in all_of(view) for title in (each.title, each.subtitle)}
    titles |= {table.title for table in tables(view)}  # CSV has none
    shown = printed(view, 1000)
    for text in texts:
        assert text in _strings(told) and (text in cells or text in titles)
        assert text in shown


def notes_of(view: View) -> list[str]:
    return [text for each in all_of(view) for text in (each.answer, *(note.text for note in each.notes)) if text]


def _strings(told: Any) -> list[str]:
    if isinstance(told, dict):
        return [text for value in told.values() for text in _strings(value)]
    return [text for value in told for text in _strings(value)] if isinstance(told, list) else [str(told)]


@pytest.mark.parametrize("typed", [TYPED, "[red]", "[/]", "\\[x]", ":smile:", "[link=x]", *NAMES])
def test_markup_is_text_wherever_it_stands(typed):
    columns = (Column("name", typed, kind="text"), Column("config", kind="config", spread=True))
    table = Table("t", columns, (Row((typed, {typed: typed})),), title=typed)
    turned = Table("u", columns, (Row((typed, {typed: typed})),), layout="columns")
    view = View(typed, typed, (table, turned), (Note(typed, "failure"), Note(typed, "conclusion")))
    # Two titles, that of the table, two headings and two cells, a column of the other with its name, and two notes.
    assert printed(view, 500).count(typed) == 2 + 1 + 4 + 3 + 2
    assert json.loads(rendered(view, "json"))["notes"][0]["text"] == typed
    assert rows(view)[0]["name"] == rows(view)[0][f"config.{typed}"] == rows(view, "notes")[0]["text"] == typed


def test_a_terminal_takes_no_command_from_a_text():
    table = Table("t", (Column("a", kind="text"),), (Row(("\x1b[2Jcell\x07",)),), title="\x1b]0;title\x07")
    shown = printed(View("\x1b[31mred", tables=(table,), notes=(Note("\x9b31mnote\r", "warning"),)), 80)
    assert not {"\x1b", "\x07", "\x9b", "\r"} & set(shown)
    assert "\\x1b[31mred" in shown and "\\x1b[2Jcell\\x07" in shown and "\\x9b31mnote\\r" in shown


@pytest.mark.parametrize("value", ["a\tb", "line\nline", "line\n", "\r\n", " \x1b[31m"])
def test_a_knob_s_value_is_on_one_line_and_none_looks_like_another(value):
    columns = (Column("trial", digits="d", key=True), Column("config", kind="config", spread=True))
    table = Table("t", columns, (Row((1, {"prompt": value})), Row((2, {"prompt": value.strip()}))))
    boxes, lines = printed(View(tables=(table,)), 80), spelled({"prompt": value, "size": 1})
    written = value.encode("unicode_escape").decode()
    assert len(boxes.splitlines()) == 6 and f" {written} │" in boxes
    assert lines.splitlines() == [lines] and lines.startswith("prompt=") and lines.endswith("  size=1")


def test_a_form_that_there_is_not_is_refused_with_those_that_there_are():
    with pytest.raises(UserError, match=f"--format xml: there are {', '.join(RENDERERS)}"):
        renderer_of("xml")
