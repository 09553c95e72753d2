"""One trial: it runs a replica, loads it, and returns the measurement or the reason why there is none."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple, Protocol

from raytune_infer.comparing.neighbours import among_neighbours
from raytune_infer.comparing.other_processes import is_repeated, less_disturbed
from raytune_infer.counted import by_number, counted
from raytune_infer.store.records import ANSWERS_DIFFER, REPEATED, Outcome
from raytune_infer.study.answers.answer_check import AnswerCheck, AskSamples
from serve_deployments.backend import Backend, Beside, CouldNotRun, Lost, ReplicaFacts, Running, Startup
from serve_deployments.endpoint import first_line
from serve_deployments.metrics.answers.agreement import AnswerAgreement
from serve_deployments.metrics.level_result import TOLERATED_SHARE, first_error, load_share
from serve_deployments.metrics.measurement import Measurement
from serve_deployments.resources.enforcement import Enforcement
from serve_deployments.settings import Settings

_NO_CORES = "replicas have every core of the machine, or took those of the load"
_log = logging.getLogger(__name__)


class Measure(Protocol):
    """Function that loads a running replica with these settings and measures it."""

    def __call__(self, running: Running, settings: Settings, *, to_beat_rps: float | None = None) -> Measurement:
        """Measure the replica; may end early once the rate is certainly below `to_beat_rps`."""
        ...


@dataclass(frozen=True)
class TrialRuntime:
    """What runs and measures the replicas of trials.

    Args:
        backend: runs the replicas.
        measure: measures a replica in the search.
        ask: asks a replica the samples whose answers are compared; None if none are.
        check: compares the answers of each trial with the default's; None until the default has been asked.
        measure_in: round of the final comparison → measures a replica in that round, by the same rules with other
            random arrivals. All replicas of a round get the same arrivals, so the effect of chance is common to them,
            like the machine's drift; between rounds it differs, so that it shows as noise.
        again: about how many times as long a measurement in a round takes as one in the search, which may be coarser.
        beside: starts neighbours of a replica on its GPU, among which it is measured in a round; None: it is alone.
    """

    backend: Backend
    measure: Measure
    measure_in: Callable[[int], Measure]
    ask: AskSamples | None = None
    check: AnswerCheck | None = None
    again: float = 1.0
    beside: Beside | None = None


def run_trial(
    settings: Settings,
    name: str,
    *,
    backend: Backend,
    measure: Measure,
    check: AnswerCheck | None = None,
    to_beat_rps: float | None = None,
    usual_share: float | None = None,
    beside: Beside | None = None,
) -> Outcome:
    """Start a replica, ask it, measure it and release it; retry once if what it ran on is lost.

    A measurement on disturbed cores is repeated once, on the same replica (`other_processes.is_repeated`).

    Args:
        settings: the replica's settings.
        name: name of the trial, unique within its study.
        backend: runs the replica.
        measure: measures the replica.
        check: compares its answers with the default's; a replica that breaks a limit on them is not loaded.
        to_beat_rps: rate in requests/s that it needs to become the best; None where there is no such rate.
        usual_share: the least share of its cores that other processes had in a trial of this study; None: not known.
        beside: starts as many neighbours as fit on its GPU, if it pays for a part of one; None: it is measured alone.

    Returns:
        The measurement, or the reason why the configuration could not run.
    """
    measure_well = _Measuring(measure, usual_share, to_beat_rps, beside)
    try:
        return _attempt(settings, name, backend, measure_well, check)
    except Lost as error:
        lost = _words(error)
    try:
        return replace(_attempt(settings, name, backend, measure_well, check), lost=lost)
    except Lost as error:
        return Outcome(metrics=None, reason=_words(error), settings=settings.as_dict(), lost=lost)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


class _Measured(NamedTuple):
    """A measurement, and the one on more disturbed cores whose place it takes; None if it was not repeated.

    `neighbours` tells of those that there were, which took `neighbours_s` to start.
    """

    believed: Measurement
    other: Measurement | None = None
    neighbours: Enforcement | None = None
    neighbours_s: float = 0.0

    @property
    def seconds(self) -> float:
        """Duration of all measuring."""
        return self.believed.seconds + (0.0 if self.other is None else self.other.seconds)


@dataclass(frozen=True)
class _Measuring:
    """Measures a replica among its neighbours, and once more if that was on disturbed cores and could matter.

    Args:
        measure: measures the replica.
        usual_share: see `run_trial`.
        to_beat_rps: see `run_trial`.
        beside: see `run_trial`.
    """

    measure: Measure
    usual_share: float | None
    to_beat_rps: float | None
    beside: Beside | None

    def __call__(self, replica: Running, settings: Settings, name: str) -> _Measured:
        with among_neighbours(replica, settings, name, self.beside) as among:
            measured = self._measured(among if among.neighbours else replica, settings)
        return measured._replace(neighbours=among.told, neighbours_s=among.start_s)

    def _measured(self, running: Running, settings: Settings) -> _Measured:
        first = self.measure(running, settings, to_beat_rps=self.to_beat_rps)
        if not is_repeated(first, self.usual_share, self.to_beat_rps):
            return _Measured(first)
        second = self.measure(running, settings, to_beat_rps=self.to_beat_rps)
        believed = less_disturbed(first, second)
        return _Measured(believed, second if believed is first else first)


def _attempt(
    settings: Settings,
    name: str,
    backend: Backend,
    measure: _Measuring,
    check: AnswerCheck | None,
) -> Outcome:
    """Make one attempt at a trial; raises Lost if what it ran on is lost."""
    measured: _Measured | None = None
    try:
        with backend.running(settings, name) as replica:
            up = time.monotonic()
            answers = None if check is None else check(replica, settings)
            if check is not None and answers is not None and (why := check.broken(answers)) is not None:
                reason = f"{ANSWERS_DIFFER}: {why}"
                return Outcome(metrics=None, reason=reason, settings=settings.as_dict(), answers=answers)
            asked = up if check is None else time.monotonic()
            measured = measure(replica, settings, name)
            facts, startup = replica.facts(), replica.startup
            done = time.monotonic()
        left = time.monotonic()
    except Lost as error:
        if not (seen := _seen_by_load_generator(measured and measured.believed)):
            raise
        raise type(error)(f"{error}{seen}") from error
    except CouldNotRun as error:
        reason = f"{_words(error)}{_seen_by_load_generator(measured and measured.believed)}"
        return Outcome(metrics=None, reason=reason, settings=settings.as_dict())
    except Exception as error:
        # Unexpected, so the whole traceback is logged; but one failed trial must not end the search.
        _log.exception("trial failed")
        return Outcome(metrics=None, reason=f"Unforeseen: {first_line(error)}", settings=settings.as_dict())
    overhead = {
        **startup.seconds,
        **({} if answers is None else {"answers": asked - up}),
        # A measurement in virtual time is longer than the real time that passes here.
        "load": max(0.0, done - asked - measured.seconds - measured.neighbours_s),
        **({"neighbours": measured.neighbours_s} if measured.neighbours_s else {}),
        **({} if measured.other is None else {REPEATED: measured.other.seconds}),
        "leave": left - done,
    }
    told = () if measured.neighbours is None else (measured.neighbours,)
    facts = replace(facts, enforcements=(*facts.enforcements, *told))
    return _outcome(settings, measured.believed, facts, answers, replace(startup, seconds=overhead))


def _outcome(
    settings: Settings,
    measurement: Measurement,
    facts: ReplicaFacts,
    answers: AnswerAgreement | None,
    beside: Startup,
) -> Outcome:
    """Return the outcome of a load test; `beside` is how the replica came to be, and all time not spent measuring."""
    level = measurement.levels[measurement.reported]
    ended = measurement.reason + _what_failed(facts, measurement)
    if not measurement.found and (level.overloaded or not level.completed):
        # No rate could be held, or nothing was answered, so none of its numbers means anything.
        return Outcome(metrics=None, reason=f"NoRate: {ended}", settings=settings.as_dict(), answers=answers)
    figures = {} if answers is None else answers.figures
    return Outcome(
        metrics={k: v for k, v in {**measurement.metrics, **figures}.items() if math.isfinite(v)},
        levels=measurement.levels,
        reported=measurement.reported,
        interval_rps=measurement.interval_rps,
        ended=ended,
        client_limited=measurement.client_limited,
        enforcements=tuple(map(_as_dict, (*facts.enforcements, *_surroundings(measurement), *_new(beside)))),
        hostname=facts.hostname,
        settings=settings.as_dict(),
        in_place=beside.in_place,
        ended_early=measurement.ended_early,
        overhead=beside.seconds,
        answers=answers,
    )


def _as_dict(told: Enforcement) -> dict[str, object]:
    """Return what is stored of an enforcement: what is not known of it is left out."""
    return {name: value for name, value in asdict(told).items() if value is not None}


def _what_failed(facts: ReplicaFacts, measurement: Measurement) -> str:
    """Return the text of the first failures that the load generator and the model saw, once if they are the same."""
    if not facts.raised:
        return _seen_by_load_generator(measurement, reached=facts.longest_batch_s > 0)
    first, said = _first_error(measurement), facts.said or ""
    seen = "" if first is not None and (first in said or said in first) else _seen_by_load_generator(measurement)
    return f"{seen}; the model raised {counted(facts.raised, 'time')}, first {said}"


def _first_error(measurement: Measurement | None) -> str | None:
    """Return the error of the first request that failed, in its sender's words; None if none did."""
    return None if measurement is None else first_error(measurement.levels)


def _seen_by_load_generator(measurement: Measurement | None, *, reached: bool = True) -> str:
    """Return the text of what went wrong with requests as their sender saw it; empty if nothing did.

    Args:
        measurement: the load test; None if there was none.
        reached: whether it is certain that the replica has run its model, be it before the load.
    """
    if (first := _first_error(measurement)) is not None:
        return f"; requests failed, the first with {first}"
    levels = () if measurement is None else measurement.levels
    # Of a level with answers, what was given up may only have waited behind too many others.
    silent = [level for level in levels if level.unanswered and not (level.completed or level.errors)]
    if not silent:
        return ""
    given_up, ended = sum(level.unanswered for level in silent), sum(level.completed + level.errors for level in levels)
    within_s = min(level.unanswered_s for level in silent)
    doubt = "" if reached or ended else ": the replica was not reached, or needs longer to answer"
    which = f"{given_up} of {counted(given_up + ended, 'request')} {by_number(given_up, 'was', 'were')}"
    return f"; {which} not answered within {within_s:.3g} s{doubt}"


def _new(startup: Startup) -> tuple[Enforcement, ...]:
    """Return why a new replica was started although there was one to change, and what that cost; else nothing."""
    if startup.not_changed is None:
        return ()
    spent_s = startup.seconds.get("change", 0.0)
    how = f"a replica was not changed in place within {spent_s:.2g} s, so a new one was started: {startup.not_changed}"
    return (Enforcement("change in place", "yes", False, how),)


def _surroundings(measurement: Measurement) -> tuple[Enforcement, ...]:
    """Return what else ran on the machine meanwhile: not a limit of the replica, but needed to judge its numbers."""
    apart, share = measurement.apart, measurement.others_share
    how = "pinned" if apart else f"{_NO_CORES}{_taken_by_load(measurement)}"
    told = [Enforcement("load on other cores", "yes", apart, how)]
    if share is not None:
        alone = share < TOLERATED_SHARE
        had = f"less than {TOLERATED_SHARE:.0%}" if alone else f"about {max(10, round(100 * share, -1)):.0f}%"
        told.append(Enforcement("cores to itself", "yes", alone, f"other processes used {had} of them"))
    return tuple(told)


def _taken_by_load(measurement: Measurement) -> str:
    """Return what the load generator used of the replica's cores, and the remedy; empty where it was little."""
    if (share := load_share(measurement.levels) or 0.0) < TOLERATED_SHARE:
        return ""
    return (
        f"; it used about {5 * round(20 * share)}% of the replica's, which would be faster without it: to leave a core "
        "to the load, lower `cpu_cores` or add a machine"
    )
