"""`recommend`: a run's trials ranked again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from raytune_infer.commands.options import RunPath, console_of_output


def recommend(
    run: RunPath,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC=NUMBER", help="The most that counts, e.g. p99_ms=50; `=none` takes one away."),
    ] = None,
    at_least: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=NUMBER", help="The least that counts, e.g. rps=200.")
    ] = None,
    maximize: Annotated[str | None, typer.Option(help="Another goal, e.g. 'rps / usd_per_hour'.")] = None,
    minimize: Annotated[str | None, typer.Option(help="Another goal, of which less is better.")] = None,
    prices: Annotated[str | None, typer.Option(help="A price book: a built-in name or a YAML file.")] = None,
    curve: Annotated[Path | None, typer.Option(help="Draw latency over rate of the best few: a .svg or .png.")] = None,
) -> None:
    """Rank a run's trials again under other limits, prices or goals, without a new trial."""
    from raytune_infer.ranking.other_objective import bounds
    from raytune_infer.ranking.recommendation import recommend as ranked_again
    from raytune_infer.report.curve_drawing import draw_curves, drawable
    from raytune_infer.report.recommendation_report import asked, notes, ranking_table, trials_needed

    if curve is not None:
        drawable(curve)
    found = ranked_again(
        run, limits=bounds(limit or [], "--limit"), at_least=bounds(at_least or [], "--at-least"),
        maximize=maximize, minimize=minimize, prices=prices,
    )  # fmt: skip
    console = console_of_output()
    console.print(asked(found), highlight=False)
    console.print(ranking_table(found))
    for note in notes(found):
        console.print(f"  {escape(note)}", highlight=False)
    for line in trials_needed(found):
        console.print(escape(line), highlight=False)
    if curve is not None:
        draw_curves(found, curve)
        console.print(f"  the curves: {curve}", highlight=False)
