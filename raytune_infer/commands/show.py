"""`show`: the trials of a run."""

from __future__ import annotations

import sys

from raytune_infer.commands.options import Db, Format, RunPath


def show(run: RunPath, db: Db = None, form: Format = "console") -> None:
    """Show a run's trials, the best one, and why failed ones failed."""
    from raytune_infer.report.renderers import renderer_of
    from raytune_infer.store.run_folder import open_run

    render = renderer_of(form)
    folder = open_run(run, db)
    study, trials = folder.read()
    from raytune_infer.report.study_report import trials_view
    from raytune_infer.study.result import best_of, comparison_so_far

    spec = folder.spec_of(study)
    comparison, left = comparison_so_far(folder, trials, spec)
    best = best_of(trials, comparison)
    render(trials_view(study, trials, best, comparison, spec.goal, left), sys.stdout)
