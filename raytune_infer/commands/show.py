"""`show`: the trials of a run."""

from __future__ import annotations

from rich.markup import escape

from raytune_infer.commands.options import RunPath, console_of_output


def show(run: RunPath) -> None:
    """The trials of a run, its best, and why each failed one failed."""
    from raytune_infer.store.run_folder import open_run

    console = console_of_output()
    folder = open_run(run)
    study, trials = folder.read()
    from raytune_infer.comparing.comparison import compared
    from raytune_infer.comparing.comparison_verdict import standings, verdict
    from raytune_infer.report.study_report import footnotes, trials_table
    from raytune_infer.study.result import best_of, position_of

    spec = folder.spec_of(study)
    best = best_of(trials, spec.goal)
    searched = sum(t.purpose == "search" for t in trials)
    console.print(
        f"[bold]{escape(study.name)}[/]  {searched} of {study.trials} trials, searcher {study.searcher}, "
        f"seed {study.seed}, begun {study.created_at:%Y-%m-%d %H:%M} UTC"
    )
    console.print(trials_table(trials, None if best is None else best.number))
    for note in footnotes(trials):
        console.print(f"  {escape(note)}", highlight=False)
    comparison = compared(trials, spec.goal, position_of(spec.default_config, trials))
    if comparison.rounds:
        console.print(standings(comparison, spec.goal))
    for sentence in verdict(comparison, spec.goal):
        console.print(escape(sentence), highlight=False)
