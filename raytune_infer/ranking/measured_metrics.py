"""Which metrics the trials of a run measured, so that a question about another one is refused and not answered."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from raytune_infer.errors import UserError
from raytune_infer.store.records import TrialRecord
from searchers.quantities import PRICE
from serve_deployments.metrics.metric_table import METRICS, MISSED, metric_of

_OF_REQUEST_LIMITS = ("attainment", "goodput")
"""Metrics that a level has only where its requests had limits of their own."""


def check_measured(names: Collection[str], trials: Sequence[TrialRecord], run: str) -> None:
    """Refuse metrics that no trial measured: no configuration could keep a limit on them or have a goal of them.

    Args:
        names: names of the metrics that are asked for.
        trials: the run's trials.
        run: the run, for the message.

    Raises:
        UserError: no trial measured one of them.
    """
    missing = sorted(name for name in names if name != PRICE and not _measured(name, trials))
    if missing:
        there = ", ".join(name for name in METRICS if _measured(name, trials))
        remedy = "; `quality: module:score` in service.yaml has a new run measure it" if "quality" in missing else ""
        raise UserError(f"no trial of {run} measured {', '.join(missing)}; it has {there}{remedy}")


def _measured(name: str, trials: Sequence[TrialRecord]) -> bool:
    """Whether a trial measured a metric, even if none of its requests was answered and it has no value."""
    metric = metric_of(name)
    assert metric is not None, "checked before"
    if metric.of_answers:
        return any(t.outcome.answers is not None and name in t.outcome.answers.figures for t in trials)
    levels = (level for t in trials for level in t.outcome.levels)
    if metric.time is not None:
        return any(metric.time.name in level.distributions for level in levels)
    if metric.field is not None and name not in _OF_REQUEST_LIMITS:
        return True
    return any((MISSED if metric.field else name) in level.counts for level in levels)
