"""The search as a Ray Tune run: our searcher proposes, Tune schedules, every event goes to the history."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import tune

from raytune_infer.environment import environment, unless_set
from raytune_infer.store.records import TrialRecord, observations
from raytune_infer.study.ledger import Ledger, Recorder
from raytune_infer.study.space import Resolver, ServiceSpace
from raytune_infer.study.suggestion import StudySearcher, Suggestion
from raytune_infer.study.trial import Measure, TrialRuntime, run_trial
from searchers.registry import Factory
from serve_deployments.backend import Backend

_TRIAL_MEMORY_BYTES = 64 * 2**20
"""A trial's own process asks for no core: it waits, and the replica must have them all. Tune needs some
resource in a request, and memory is what it really takes."""


def search(
    space: ServiceSpace,
    *,
    trials: int,
    parallel: int,
    seconds: float | None,
    stop_below: float | None,
    searcher: Factory,
    seed: int,
    known: tuple[TrialRecord, ...],
    ledger: Ledger,
    runtime: TrialRuntime,
    storage: Path,
) -> float | None:
    """Run up to `trials` more trials, `parallel` at a time; what they gave is in the ledger's database.

    Args:
        space: what is searched.
        trials: how many more.
        parallel: how many at once.
        seconds: no trial begins later than that; None for no limit.
        stop_below: no trial begins once the chance that a configuration better by `WORTHWHILE` is left is
            below this; None for never.
        searcher: makes it, given the problem.
        seed: of its random choices.
        known: trials that are finished already.
        ledger: where each trial is written down.
        runtime: where they are run.
        storage: folder for Tune's own files.

    Returns:
        The chance that was left, if the search ended for that.
    """
    algorithm = StudySearcher.for_problem(space.problem, searcher, observations(known), seed)
    if seconds is not None:
        algorithm.end_after(seconds)
    algorithm.stop_below = stop_below or 0.0
    trainable = tune.with_resources(
        tune.with_parameters(_trainable, resolver=space.resolver, backend=runtime.backend, measure=runtime.measure),
        tune.PlacementGroupFactory([{"memory": _TRIAL_MEMORY_BYTES}]),
    )
    with quiet_tune():
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=algorithm, num_samples=trials, max_concurrent_trials=parallel, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name="tune", storage_path=str(storage.resolve()), verbose=0,
                callbacks=[Recorder(ledger, runtime.backend)],
                failure_config=tune.FailureConfig(max_failures=1),  # a process that ended: once more, as in run_trial
            ),
        ).fit()  # fmt: skip
    return algorithm.left


@contextmanager
def quiet_tune() -> Iterator[None]:
    """Tune without what ledger and history do, for this run alone. What the user sets stands."""
    wanted = {
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C must reach us: Tune would return as if done
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # files that repeat what the history has
        "TUNE_GLOBAL_CHECKPOINT_S": "inf",  # all trials written anew every ten seconds, though nobody reads them
        "RAY_AIR_NEW_OUTPUT": "0",  # prints a banner even at verbose=0
    }
    log = logging.getLogger("ray.tune")
    level = log.level
    log.setLevel(logging.CRITICAL)  # failed trials are told by the ledger
    try:
        with environment(unless_set(wanted)):
            yield
    finally:
        log.setLevel(level)


def _trainable(config: Mapping[str, Any], *, resolver: Resolver, backend: Backend, measure: Measure) -> None:
    suggestion = Suggestion.of(config)
    outcome = run_trial(
        resolver.settings(suggestion.config), tune.get_context().get_trial_id(), backend=backend, measure=measure,
        to_beat_rps=suggestion.to_beat_rps,
    )  # fmt: skip
    tune.report({**(outcome.metrics or {}), "could_not_run": outcome.reason, "outcome": outcome})
