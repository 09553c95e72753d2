"""One trial: run a replica, load it, say what it can do, or why it could not."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import asdict

from raytune_infer.history import Outcome
from serve_deployments.backend import Backend, CouldNotRun, Running
from serve_deployments.measurement import Measurement
from serve_deployments.settings import Settings

_log = logging.getLogger(__name__)

Measure = Callable[[Running, Settings], Measurement]
"""Loads a running replica, which has these settings, and says what it can do."""


def run_trial(settings: Settings, *, backend: Backend, measure: Measure) -> Outcome:
    """Deploy, measure, take down.

    Returns:
        What was measured, or the reason why the configuration could not run.
    """
    try:
        with backend.running(settings) as replica:
            measurement = measure(replica, settings)
            facts = replica.facts()
    except CouldNotRun as error:
        return Outcome(metrics=None, reason=f"{type(error).__name__}: {error}", settings=settings.as_dict())
    except Exception as error:
        # Unforeseen, so the log has all of it; but one odd trial must not end the search.
        _log.exception("trial failed")
        reason = f"Unforeseen: {type(error).__name__}: {error}"
        return Outcome(metrics=None, reason=reason, settings=settings.as_dict())
    answered = any(load.completed for load in measurement.loads)
    return Outcome(
        # A quantity that is undefined (a percentile of nothing) was not measured.
        metrics={k: v for k, v in measurement.metrics.items() if math.isfinite(v)} if answered else None,
        reason=None if answered else "NoAnswer: not one request was answered; the replica's log says why",
        loads=tuple(load.as_dict() for load in measurement.loads),
        client_limited=measurement.client_limited,
        enforcements=tuple(asdict(e) for e in facts.enforcements),
        hostname=facts.hostname,
        settings=settings.as_dict(),
    )
