"""Renderer of views as HTML: one file with everything in it, which fetches nothing and can be passed on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from raytune_infer.report.chart import Chart, Planes
from raytune_infer.report.renderers.chart_tables import table_of
from raytune_infer.report.renderers.html.figures import chart_figure, planes_figures
from raytune_infer.report.renderers.html.page import page
from raytune_infer.report.renderers.html.tables import table_html, text
from raytune_infer.report.view import Listing, Note, View

_MOST_ROWS = 2000
"""Most rows of the table below a chart. Our choice: more make a page slow; `--format csv` has all."""


def render(view: View, out: TextIO) -> None:
    """Write a view as a page of its own."""
    whole = page(view.title or view.answer or "raytune-infer", body(view), drawn(view))
    if (raw := getattr(out, "buffer", None)) is None:
        out.write(whole)
        return
    # The page says that it is UTF-8, so it is, whatever the encoding of a terminal whose output goes into a file.
    out.flush()
    raw.write(whole.encode())
    raw.flush()


def body(view: View, level: int = 1) -> str:
    """Return a view as the HTML within a page, headings from this level on."""
    return "".join(_parts(view, level, "s"))


def drawn(view: View) -> Mapping[str, Any]:
    """Return the id of each chart's place in `body` → what is drawn there."""
    found: dict[str, Any] = {}
    for at, chart in enumerate(_all_charts(view)):
        found[f"chart-{at}"] = chart_figure(chart) if isinstance(chart, Chart) else planes_figures(chart)
    return found


def _all_charts(view: View) -> Iterator[Chart | Planes]:
    yield from view.charts
    for section in view.sections:
        yield from _all_charts(section)


def _parts(view: View, level: int, place: str) -> Iterator[str]:
    numbers = iter(range(10**6))
    yield from _section(view, level, place, numbers)


def _section(view: View, level: int, place: str, numbers: Iterator[int]) -> Iterator[str]:
    yield f'<section id="{place}">'
    if view.title:
        yield f'<h{min(level, 6)} dir="auto">{text(view.title)}</h{min(level, 6)}>'
    if view.subtitle:
        yield f'<p class="subtitle" dir="auto">{text(view.subtitle)}</p>'
    if view.answer:
        yield f'<p class="answer" dir="auto">{text(view.answer)}</p>'
    for chart in view.charts:
        yield _chart(chart, next(numbers))
    for table in view.tables:
        yield table_html(table)
    yield from map(_listing, view.listings)
    yield from map(_note, view.notes)
    for at, section in enumerate(view.sections):
        yield from _section(section, level + bool(view.title), f"{place}-{at + 1}", numbers)
    yield "</section>"


def _listing(listing: Listing) -> str:
    return (
        f'<details data-listing="{text(listing.name)}"><summary>{text(listing.title)}</summary>'
        f'<div class="scroll" role="region" aria-label="{text(listing.title)}" tabindex="0">'
        f"<pre>{text(listing.text)}</pre></div></details>"
    )


def _note(note: Note) -> str:
    # What a note is stands in words too where colour alone would tell it.
    said = {"warning": "Warning: ", "failure": "Failed: "}.get(note.kind, "")
    return f'<p class="note {note.kind}" dir="auto">{said}{text(note.text)}</p>'


def _chart(chart: Chart | Planes, at: int) -> str:
    table = table_of(chart)
    rows = table.rows[:_MOST_ROWS]
    more = "" if len(rows) == len(table.rows) else f"<p>The first {len(rows)} of {len(table.rows)} rows.</p>"
    shown = table_html(type(table)(table.name, table.columns, rows), chart.title)
    choice = '<p class="choice"></p>' if isinstance(chart, Planes) else ""
    return (
        f'<figure><figcaption><b dir="auto">{text(chart.title)}</b> <span dir="auto">{text(chart.caption)}</span>'
        f'</figcaption>{choice}<div class="chart" id="chart-{at}" role="img" '
        f'aria-label="{text(chart.title)}. {text(chart.caption)} The numbers are in the table below."></div>'
        f'<details data-chart="{text(chart.name)}"><summary>The numbers of this chart</summary>'
        f"{shown}{more}</details></figure>"
    )
