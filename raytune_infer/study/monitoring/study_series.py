"""Figures of a study as a whole that are shown while it runs; those of the level that runs come from its load."""

from __future__ import annotations

from raytune_infer.store.records import StudyRecord, TrialRecord
from serve_deployments.metrics.shown.series import LEVEL_SERIES, STUDY_LABELS, WARM_REPLICAS, Series

TRIALS = Series(
    "raytune_infer_trials",
    "Trials by how they stand: running, within the limits, breaks a limit, ended early, or could not run.",
    (*STUDY_LABELS, "state"),
)
BUDGET = Series("raytune_infer_trials_budget", "Trials that the search may have; the final comparison has its own.")
BEST_FIGURE = Series(
    "raytune_infer_best_figure",
    "What the study maximises or minimises, in the best trial of the search so far, in its own unit.",
)
BEST_RATE_RPS = Series("raytune_infer_best_rate_rps", "Requests per second of the best trial of the search so far.")
BEST_COST_USD = Series(
    "raytune_infer_best_usd_per_million_requests",
    "Cost of a million requests in US dollars in the best trial of the search so far.",
)
SPENT_USD = Series(
    "raytune_infer_spent_usd",
    "What the finished trials have cost in US dollars: the price of each one's replica for as long as it took.",
)
CHANCE_OF_MORE = Series(
    "raytune_infer_chance_of_more",
    "Probability, by the searcher's own model, that a configuration is left that is noticeably better than the best.",
)
STUDY_SERIES = (TRIALS, BUDGET, BEST_FIGURE, BEST_RATE_RPS, BEST_COST_USD, SPENT_USD, CHANCE_OF_MORE)

ALL_SERIES = (*STUDY_SERIES, *LEVEL_SERIES, WARM_REPLICAS)
"""Everything that a study shows while it runs."""

RUNNING = "running"
STATES = (RUNNING, "within the limits", "breaks a limit", "ended early", "could not run")


def labels_of(study: StudyRecord) -> dict[str, str]:
    """Return the labels of everything that a study shows."""
    return {"study": study.name, "run": f"{study.created_at:%Y-%m-%d %H:%M:%S} #{study.id}"}


def state_of(trial: TrialRecord) -> str:
    """Return how a finished trial ended, one of `STATES`, as `show` says it."""
    if trial.outcome.metrics is None:
        return "could not run"
    if trial.value is None:
        return "breaks a limit"
    return "ended early" if trial.outcome.ended_early else "within the limits"
