"""What the curves of a model's operators lead a searcher to expect: `Problem.expected` from predicted batches.

Operators tell how long a batch takes, not what a service around it adds, nor at which rate requests will come. So a
rate is expected to follow batches per second, and a latency the time of a batch, but for a factor that all
configurations share: the first trial tells it.
"""

from __future__ import annotations

import numpy as np

from raytune_infer.operators.prediction import NoPrediction, Predictor, predict_all
from raytune_infer.operators.profiling import ServiceProfile
from searchers.base import ExpectedMetrics, Problem
from searchers.quantities import PRICE, role

BY = "the curves of its operators"
_SHAPE = 0.2
"""Standard deviation, in e-folds, of what a service adds differently from configuration to configuration: waiting for
incomplete batches, work on the host beside the model. Our choice."""
_UNKNOWN = 2.0
"""Standard deviation, in e-folds, at a configuration whose resources no curve has: that of knobs that act by factors
of 2 or 3. Our choice."""
_NORMAL_95 = 1.96
"""Half of a 95 % interval in standard deviations."""


def expected_metrics(problem: Problem, predictor: Predictor, profile: ServiceProfile) -> ExpectedMetrics:
    """Return what is expected of the metrics that the objective or a limit names.

    Shares of requests and limits that the load test keeps by itself are left out, and so are times to a first or a
    further part of an answer, which a batch does not tell.

    Args:
        problem: the space, and the objective.
        predictor: predicts batches of the model.
        profile: the model's profile.

    Raises:
        NoPrediction: nothing is predicted of any configuration, or of any of the metrics.
    """
    named = (problem.objective.goal.names | set(problem.objective.limited)) - {PRICE} - problem.kept
    told = [metric for metric in sorted(named) if role(metric) in ("rate", "latency") and not problem.is_share(metric)]
    if not told:
        names = ", ".join(sorted(named)) or "the price"
        raise NoPrediction(f"operators tell nothing of {names}, only of rates and latencies")
    space = problem.space
    predicted = predict_all(predictor, [space[position] for position in range(len(space))], profile)
    known = np.array([each is not None for each in predicted])
    if not known.any():
        raise NoPrediction(
            f"no curve has the resources of any of the {len(space)} configurations; measure them with "
            "`raytune-infer operators SERVICE_YAML --curves`"
        )
    found = [each for each in predicted if each is not None]
    logs: dict[str, np.ndarray] = {
        "rate": _filled(known, np.log([each.rate_rps for each in found])),
        "latency": _filled(known, np.log([each.seconds for each in found])),
    }
    std = np.full(len(space), _UNKNOWN)
    std[known] = np.hypot([each.own_error / _NORMAL_95 for each in found], _SHAPE)
    return ExpectedMetrics(BY, {metric: logs[role(metric)] for metric in told}, dict.fromkeys(told, std))


def _filled(known: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """`[n]` the logarithms where they are known, and their mean elsewhere."""
    out = np.full(len(known), float(logs.mean()))
    out[known] = logs
    return out
