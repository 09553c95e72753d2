"""Predicted rate at which a configuration breaks limits it was not measured under, from its batch durations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from raytune_infer.store.records import TrialRecord
from serve_deployments.load.arrivals import Arrivals
from serve_deployments.measuring.predicting.rate_prediction import predicted_rates
from serve_deployments.metrics.metric_table import LATENCY, METRICS
from serve_deployments.settings import Settings


def predicted_rps(trials: Sequence[TrialRecord], at_most: Mapping[str, float], arrivals: Arrivals) -> float | None:
    """Predict the rate (requests/s) at which a simulated queue breaks the first limit; None if it cannot be predicted.

    Args:
        trials: trials of one configuration; the queue serves batches like theirs.
        at_most: metric → largest value allowed; a limit on errors is ignored, as a queue does not predict them.
        arrivals: the arrival pattern.
    """
    latencies = {name: limit for name, limit in at_most.items() if name != "error_rate"}
    if not latencies or not all(name in METRICS and METRICS[name].time is LATENCY for name in latencies):
        return None
    levels = [level for trial in trials for level in trial.outcome.levels]
    settings = next(Settings.of(trial.outcome.settings) for trial in trials if trial.outcome.levels)
    near_rps = max(level.requested_rps or level.achieved_rps for level in levels)
    if not near_rps > 0:
        return None
    priors = predicted_rates(levels, settings, arrivals, latencies, near_rps)
    known = [prior.rate_rps for prior in priors if prior is not None]
    return min(known) if len(known) == len(priors) else None
