"""A page holds every text and number of its view as text, whatever a user typed, and fetches nothing."""

import io
import json
import re
from html.parser import HTMLParser

import pytest

from raytune_infer.report.chart import Axis, Chart, Dot, Plane, PlaneCell, Planes, Quantity, Series
from raytune_infer.report.renderers import renderer_of
from raytune_infer.report.renderers.html import html_view
from raytune_infer.report.renderers.html.page import page
from raytune_infer.report.view import Column, Note, Row, Table, View
from raytune_infer.report.words.values import spelled
from tests.raytune_infer.report.every_view import views
from tests.raytune_infer.report.shown_views import texts

VIEWS = views()
NASTY = (
    "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a & b", '" onload="alert(1)', "'",
    "line\u2028separator", "<!--", "شكل", "模型", "%{x}",
)  # fmt: skip


class Page(HTMLParser):
    """What a browser finds on a page: elements, rows of tables, and texts outside scripts and styles."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.texts, self.rows, self.scripts = [], [], [], [], []
        self._raw = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self._raw = tag if tag in ("script", "style") else None
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self._raw = None
        if tag in ("table", "td", "th"):
            self.texts.append("")

    def handle_data(self, data):
        if self._raw is not None:
            self.scripts += [data] if self._raw == "script" else []
            return
        self.texts.append(data)
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def rendered(view):
    renderer_of("html")(view, out := io.StringIO())
    return out.getvalue()


def body(view):
    return Page(html_view.body(view))


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_every_cell_of_a_table_is_on_the_page_in_the_words_of_the_console(view):
    for table in view.tables:
        if table.layout == "rows" and not any(column.spread for column in table.columns):
            found = body(View(tables=(table,))).rows
            assert found[0] == [column.words or column.name for column in table.columns]
            assert found[1:] == texts(table)
    whole = "".join(body(view).texts)
    for note in (*view.notes, *(n for section in view.sections for n in section.notes)):
        assert note.text in whole


def everywhere(typed):
    """A view with this text wherever a view has one."""
    columns = Column("c", typed, kind="text"), Column("k", kind="config", spread=True)
    table = Table("t", columns, (Row((typed, {typed: typed})),), title=typed)
    lines = (Series(typed, "line", (Dot(1, Quantity(2), typed),)),)
    chart = Chart("c", typed, typed, Axis(typed), Axis(typed, typed), lines)
    plane = Plane(typed, (typed,), typed + "2", (typed,), (PlaneCell(0, 0, failed=typed),))
    charts = chart, Planes("p", typed, typed, Axis(typed), (plane,))
    return View(typed, typed, (table,), (Note(typed),), sections=(View(typed),), answer=typed, charts=charts)


@pytest.mark.parametrize("typed", NASTY)
def test_what_a_user_typed_is_text_on_the_page_and_in_what_is_drawn(typed):
    text, harmless = rendered(everywhere(typed)), rendered(everywhere("a"))
    # It makes no element and no attribute that another text would not make.
    assert Page(text).tags == Page(harmless).tags
    assert [name for name, _ in Page(text).attributes] == [name for name, _ in Page(harmless).attributes]
    shown = typed.encode("unicode_escape").decode() if "\u2028" in typed else typed
    assert Page(text).texts.count(shown) >= 5
    assert "\u2028" not in text
    drawn = json.loads(Page(text).scripts[0])
    assert drawn["chart-1"]["knobs"] == [typed, typed + "2"]
    # plotly reads tags in texts.
    titles = [trace["name"] for trace in drawn["chart-0"]["data"]]
    assert titles == [typed.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")]


def test_a_page_names_nothing_that_it_would_fetch_and_its_policy_refuses_it():
    text = rendered(VIEWS["whole_report"])
    found = Page(text)
    links = [value for name, value in found.attributes if name in ("src", "href", "action", "data", "poster")]
    assert links == ["data:,"]
    assert "link" not in found.tags[found.tags.index("body") :] and "iframe" not in found.tags
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert "base-uri 'none'; form-action 'none'" in policy
    assert policy.startswith("default-src 'none';") and "connect" not in policy and "http" not in policy
    assert "Licensed under the MIT license" in text


def test_a_page_is_utf_8_as_it_says_whatever_the_encoding_of_the_terminal():
    out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    renderer_of("html")(View("模型 ü"), out)
    assert "模型 ü" in out.buffer.getvalue().decode()


def test_a_page_without_a_chart_does_not_carry_the_library():
    assert len(page("t", "", {})) < 50_000 < 1_000_000 < len(page("t", "", {"x": {}}))


def test_a_chart_has_a_table_with_all_its_numbers_and_a_label():
    dots = (Dot(1.5, Quantity(20.25, 19.5, 21.75), spelled({"a": 1})), Dot(2.5, Quantity(30.0), "b"))
    chart = Chart("c", "Title", "What is seen.", Axis("load", "requests/s"), Axis("p99", "ms"),
                  (Series("one", "line", dots),), limit=25.0)  # fmt: skip
    found = body(View(charts=(chart,)))
    assert found.rows == [
        ["series", "load, requests/s", "p99, ms", "configuration"],
        ["one", "1.5", "20.25 (19.50 to 21.75)", "a=1"], ["one", "2.5", "30", "b"],
    ]  # fmt: skip
    [label] = [value for name, value in found.attributes if name == "aria-label" and "Title." in value]
    assert "What is seen." in label


def test_series_differ_in_more_than_colour():
    many = tuple(Series(str(at), "line", (Dot(0, Quantity(at)),)) for at in range(6))
    figure = html_view.drawn(View(charts=(Chart("c", "", "", Axis("x"), Axis("y"), many),)))["chart-0"]
    looks = {(trace["line"]["dash"], trace["marker"]["symbol"]) for trace in figure["data"]}
    assert len({dash for dash, _ in looks}) == len({mark for _, mark in looks}) == 6


@pytest.mark.parametrize(("last", "step"), [(3, 1), (10, 1), (11, 2), (40, 5), (101, 20), (500, 50)])
def test_numbers_of_trials_are_whole_on_their_axis(last, step):
    dots = tuple(Dot(at, Quantity(1.0)) for at in (1, last))
    chart = Chart("c", "", "", Axis("trial", whole=True), Axis("y"), (Series("s", "measured", dots),))
    assert html_view.drawn(View(charts=(chart,)))["chart-0"]["layout"]["xaxis"]["dtick"] == step


@pytest.mark.parametrize("less", [True, False])
def test_the_better_end_of_a_plane_is_bright_and_named(less):
    plane = Plane("a", ("1",), "b", ("x",), (PlaneCell(0, 0, measured=Quantity(1.0)),))
    planes = Planes("p", "t", "c", Axis("least p99_ms"), (plane,), less_is_better=less)
    heat = html_view.drawn(View(charts=(planes,)))["chart-0"]["planes"][0]["data"][0]
    # The bright end of Cividis is that of its high numbers.
    assert heat["colorscale"] == "Cividis" and heat["reversescale"] == less
    assert heat["colorbar"]["title"]["text"] == "least p99_ms (brighter is better)"


def test_a_plane_has_what_is_measured_before_what_is_predicted():
    cells = (
        PlaneCell(0, 0, predicted=Quantity(5.0, 4.0, 6.0)),
        PlaneCell(1, 0, predicted=Quantity(7.0, 6.0, 8.0), measured=Quantity(7.5)),
        PlaneCell(2, 0, failed="out of memory"),
    )  # fmt: skip
    planes = Planes("p", "t", "c", Axis("rps"), (Plane("a", ("1", "2", "3"), "b", ("x",), cells),))
    heat, measured, failed = html_view.drawn(View(charts=(planes,)))["chart-0"]["planes"][0]["data"]
    assert heat["z"] == [[5.0, 7.5, None]]
    assert (measured["x"], failed["x"]) == ([1], [2])
    assert heat["text"][0][1] == "measured 7.5<br>predicted 7.0 (6.0 to 8.0)"


def test_an_error_bar_reaches_up_to_the_upper_end_and_down_to_the_lower_one():
    dots = (Dot(1.0, Quantity(20.0, 19.0, 25.0)), Dot(2.0, Quantity(30.0)))
    chart = Chart("c", "", "", Axis("x"), Axis("y"), (Series("s", "measured", dots),))
    [trace] = html_view.drawn(View(charts=(chart,)))["chart-0"]["data"]
    assert (trace["error_y"]["array"], trace["error_y"]["arrayminus"]) == ([5, 0], [1, 0])
