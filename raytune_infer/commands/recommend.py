"""`recommend`: a run's trials ranked again."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from raytune_infer.commands.options import Db, Format, RunPath


def recommend(
    run: RunPath,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=NUMBER", help="Upper bound, e.g. p99_ms=50; `=none` removes the run's own; may be repeated."
        ),
    ] = None,
    at_least: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=NUMBER", help="Lower bound, e.g. rps=200; otherwise as --limit.")
    ] = None,
    maximize: Annotated[str | None, typer.Option(help="Another goal to maximise, e.g. 'rps / usd_per_hour'.")] = None,
    minimize: Annotated[str | None, typer.Option(help="Another goal to minimise, e.g. 'p99_ms'.")] = None,
    prices: Annotated[str | None, typer.Option(help="A price book: a built-in name or a YAML file.")] = None,
    curve: Annotated[
        Path | None, typer.Option(help="Draw latency over rate for the best configurations, to this .svg or .png file.")
    ] = None,
    db: Db = None,
    form: Format = "console",
) -> None:
    """Rank a run's trials again under other limits, prices or goals, without a new trial."""
    from raytune_infer.ranking.other_objective import bounds
    from raytune_infer.ranking.recommendation import recommend as ranked_again
    from raytune_infer.report.chart import Chart
    from raytune_infer.report.recommendation_report import recommendation_view
    from raytune_infer.report.renderers import renderer_of
    from raytune_infer.report.renderers.curve_drawing import draw_curves, drawable
    from raytune_infer.report.view import Note

    render = renderer_of(form)
    if curve is not None:
        drawable(curve)
    found = ranked_again(
        run, limits=bounds(limit or [], "--limit"), at_least=bounds(at_least or [], "--at-least"),
        maximize=maximize, minimize=minimize, prices=prices, db=db,
    )  # fmt: skip
    view = recommendation_view(found)
    if curve is not None:
        draw_curves([each for each in view.charts if isinstance(each, Chart)], curve)
        view = replace(view, notes=(*view.notes, Note(f"the curves: {curve}")))
    render(view, sys.stdout)
