"""The search as a Ray Tune run: our searcher suggests, Tune schedules, and every event is recorded in the database."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ray import tune

from raytune_infer.comparing.other_processes import least_share
from raytune_infer.spec.service_spec import BudgetSpec
from raytune_infer.store.records import TrialRecord, observations
from raytune_infer.study.answers.answer_check import AnswerCheck
from raytune_infer.study.space import Resolver
from raytune_infer.study.suggestion import OTHERS_SHARE, StudySearcher, Suggestion
from raytune_infer.study.trials.ledger import Recorder
from raytune_infer.study.trials.trial import Measure, run_trial
from raytune_infer.study.trials.trial_log import TrialLog
from searchers.registry import SearcherFactory
from serve_deployments.backend import Backend
from serve_deployments.environment.temporary import environment, unless_set

_TRIAL_MEMORY_BYTES = 64 * 2**20
"""Memory that a trial's own process requests. It requests no core, because it only waits and the replica must have them
all; Tune needs some resource in a request, and memory is what the process really uses."""


@dataclass(frozen=True)
class SearchBudget:
    """What a search may still use.

    Args:
        trials: number of further trials.
        parallel: number of trials at a time.
        seconds: no trial begins after this time; None for no limit.
        stop_below: no trial begins once the probability that a configuration better by `WORTHWHILE` is left is below
            this; None for never.

    Raises:
        ValueError: no trial may run at a time.
    """

    trials: int
    parallel: int
    seconds: float | None
    stop_below: float | None

    def __post_init__(self) -> None:
        if self.parallel < 1:
            raise ValueError(f"at least one trial must run at a time, got {self.parallel}")

    @classmethod
    def left_by(cls, known: Sequence[TrialRecord], budget: BudgetSpec, *, trials: int, parallel: int) -> Self:
        """Return what finished trials have left of a study's budget, which has so many trials."""
        used_s = sum(t.seconds for t in known) / parallel  # before the run was interrupted
        seconds = None if budget.seconds is None else budget.seconds - used_s
        return cls(trials - len(known), parallel, seconds, budget.stop_below)

    @property
    def is_spent(self) -> bool:
        """Whether no further trial may begin."""
        return self.trials <= 0 or (self.seconds is not None and self.seconds <= 0)


def search(log: TrialLog, budget: SearchBudget, searcher: SearcherFactory, *, storage: Path) -> float | None:
    """Run more trials within a budget; the log's ledger records them in the database.

    Args:
        log: the study's trials so far, its space, and what runs and records more of them.
        budget: what the search may still use.
        searcher: function that makes the searcher for a problem.
        storage: folder for Tune's own files.

    Returns:
        The remaining probability if the search ended because of `stop_below`; else None.
    """
    known, runtime = log.searched(), log.runtime
    algorithm = StudySearcher.for_problem(log.space.problem, searcher, observations(known), log.study.seed)
    if budget.seconds is not None:
        algorithm.end_after(budget.seconds)
    algorithm.stop_below, algorithm.told_chance = budget.stop_below or 0.0, log.ledger.chance_of_more
    algorithm.usual_share = least_share(t.outcome.others_share for t in known)
    trainable = tune.with_resources(
        tune.with_parameters(
            raytune_infer_trial, resolver=log.space.resolver, backend=runtime.backend, measure=runtime.measure,
            check=runtime.check,
        ),
        tune.PlacementGroupFactory([{"memory": _TRIAL_MEMORY_BYTES}]),
    )  # fmt: skip
    with quiet_tune():
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=algorithm, num_samples=budget.trials, max_concurrent_trials=budget.parallel,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="tune", storage_path=str(storage.resolve()), verbose=0,
                callbacks=[Recorder(log.ledger, runtime.backend)],
                failure_config=tune.FailureConfig(max_failures=1),  # as in run_trial: one retry if its process ended
            ),
        ).fit()  # fmt: skip
    return algorithm.left


@contextmanager
def quiet_tune() -> Iterator[None]:
    """Switch off, inside the context, what our ledger and database replace in Tune; the user's settings win."""
    wanted = {
        "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C must reach us: Tune would return as if it were finished
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # files that repeat what the database has
        "TUNE_GLOBAL_CHECKPOINT_S": "inf",  # otherwise Tune writes all trials every ten seconds, and nobody reads them
        "RAY_AIR_NEW_OUTPUT": "0",  # prints a banner even at verbose=0
    }
    log = logging.getLogger("ray.tune")
    level = log.level
    log.setLevel(logging.CRITICAL)  # the ledger reports failed trials
    try:
        with environment(unless_set(wanted)):
            yield
    finally:
        log.setLevel(level)


def raytune_infer_trial(
    config: Mapping[str, Any], *, resolver: Resolver, backend: Backend, measure: Measure, check: AnswerCheck | None
) -> None:
    """Run one trial in a process of Tune's; its name is what Ray shows of that process."""
    suggestion = Suggestion.of(config)
    outcome = run_trial(
        resolver.settings(suggestion.config), tune.get_context().get_trial_id(), backend=backend, measure=measure,
        check=check, to_beat_rps=suggestion.to_beat_rps, usual_share=suggestion.usual_share,
    )  # fmt: skip
    told = {"could_not_run": outcome.reason, OTHERS_SHARE: outcome.others_share, "outcome": outcome}
    tune.report({**(outcome.metrics or {}), **told})
