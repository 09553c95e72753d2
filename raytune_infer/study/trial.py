"""One trial: run a replica, load it, say what it can do, or why it could not."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from raytune_infer.store.records import Outcome
from serve_deployments.backend import Backend, CouldNotRun, Lost, ReplicaFacts, Running
from serve_deployments.enforcement import Enforcement
from serve_deployments.metrics.measurement import Measurement
from serve_deployments.settings import Settings

_ALONE = 0.05
"""A part of its cores that a replica may lose to others and count as alone. Our choice: Ray's own processes and the
system take some, and a rate's interval has room for it."""

_NO_CORES = "replicas have every core of the machine, or took those of the load"
_log = logging.getLogger(__name__)


class Measure(Protocol):
    """Loads a running replica, which has these settings, and says what it can do."""

    def __call__(self, running: Running, settings: Settings, *, to_beat_rps: float | None = None) -> Measurement:
        """May end early once the rate is surely below `to_beat_rps`."""
        ...


@dataclass(frozen=True)
class TrialRuntime:
    """Where trials are run.

    Args:
        backend: runs the replicas.
        measure: loads one in the search.
        measure_in: round of the comparison at the end → loads one in that round, by the same rules under other
            random arrivals. All of a round have the same, so their luck is shared as the machine's drift is, and
            what it does to a configuration differs from round to round, as chance must to be told from skill.
    """

    backend: Backend
    measure: Measure
    measure_in: Callable[[int], Measure]


def run_trial(
    settings: Settings, name: str, *, backend: Backend, measure: Measure, to_beat_rps: float | None = None
) -> Outcome:
    """Have a replica, measure it, leave it; once more if what it ran on is lost.

    Args:
        settings: what the replica runs under.
        name: of the trial; unique within its study.
        backend: runs the replica.
        measure: loads it.
        to_beat_rps: the rate that it needs to become the best; None where there is no such rate.

    Returns:
        What was measured, or the reason why the configuration could not run.
    """
    try:
        return _attempt(settings, name, backend, measure, to_beat_rps)
    except Lost as error:
        lost = _words(error)
    try:
        return replace(_attempt(settings, name, backend, measure, to_beat_rps), lost=lost)
    except Lost as error:
        return Outcome(metrics=None, reason=_words(error), settings=settings.as_dict(), lost=lost)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _attempt(settings: Settings, name: str, backend: Backend, measure: Measure, to_beat_rps: float | None) -> Outcome:
    """One attempt at a trial; raises Lost if what it ran on is lost."""
    try:
        with backend.running(settings, name) as replica:
            up = time.monotonic()
            measurement = measure(replica, settings, to_beat_rps=to_beat_rps)
            facts, startup = replica.facts(), replica.startup
            measured = time.monotonic()
        left = time.monotonic()
    except Lost:
        raise
    except CouldNotRun as error:
        return Outcome(metrics=None, reason=_words(error), settings=settings.as_dict())
    except Exception as error:
        # Unforeseen, so the log has all of it; but one odd trial must not end the search.
        _log.exception("trial failed")
        return Outcome(metrics=None, reason=f"Unforeseen: {_words(error)}", settings=settings.as_dict())
    level = measurement.levels[measurement.reported]
    ended = measurement.reason + _what_failed(facts, measurement)
    if not measurement.found and (level.overloaded or not level.completed):
        # Not one rate could be held, or nothing was answered, so no number of it means anything.
        return Outcome(metrics=None, reason=f"NoRate: {ended}", settings=settings.as_dict())
    return Outcome(
        metrics={k: v for k, v in measurement.metrics.items() if math.isfinite(v)},
        levels=measurement.levels,
        reported=measurement.reported,
        interval_rps=measurement.interval_rps,
        ended=ended,
        client_limited=measurement.client_limited,
        enforcements=tuple(asdict(e) for e in (*facts.enforcements, *_surroundings(measurement))),
        hostname=facts.hostname,
        settings=settings.as_dict(),
        in_place=startup.in_place,
        ended_early=measurement.ended_early,
        overhead={
            **startup.seconds,
            # In virtual time a measurement takes longer than what passes here.
            "load": max(0.0, measured - up - measurement.seconds),
            "leave": left - measured,
        },
    )


def _what_failed(facts: ReplicaFacts, measurement: Measurement) -> str:
    """The first failure in its own words, the model's before the load side's; nothing where nothing failed."""
    if facts.raised:
        return f"; the model raised {facts.raised} times, first {facts.said}"
    first = next((level.first_error for level in measurement.levels if level.first_error is not None), None)
    return "" if first is None else f"; requests failed, the first with {first}"


def _surroundings(measurement: Measurement) -> tuple[Enforcement, ...]:
    """What else the machine did meanwhile: no limit of the replica, but who trusts the number must know of it."""
    apart, share = measurement.apart, measurement.others_share
    told = [Enforcement("load on other cores", "yes", apart, "pinned" if apart else _NO_CORES)]
    if share is not None:
        had = f"less than {_ALONE:.0%}" if share < _ALONE else f"about {max(10, round(100 * share, -1)):.0f}%"
        told.append(Enforcement("cores to itself", "yes", share < _ALONE, f"other processes had {had} of them"))
    return tuple(told)
