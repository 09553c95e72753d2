"""Adapter that lets any Tuner use our searchers: a subclass of `ray.tune.search.Searcher`.

It turns Tune's trials into a history, and suggestions into Tune's configurations.
"""

from __future__ import annotations

import logging
import math
import numbers
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeGuard

import numpy as np
import ray.tune.search
from ray import cloudpickle
from ray.tune.result import AUTO_RESULT_KEYS

from searchers.base import History, Problem, Searcher
from searchers.objective import Expression, Metrics, Objective
from searchers.quantities import PRICE
from searchers.ray_tune.knob_paths import KnobPaths
from searchers.ray_tune.param_space import paths_of, space_of
from searchers.registry import DEFAULT, SearcherFactory, named
from searchers.space import Space

_log = logging.getLogger(__name__)

FIGURE = "figure"
"""Name of the Tuner's metric in our objective, as Tune's names (`val/loss`) need not be identifiers."""

# Entries that Tune itself adds to a result; they say nothing about the configuration.
_TUNES_OWN = frozenset({*AUTO_RESULT_KEYS, "done", "training_iteration", "should_checkpoint"})


class TuneSearcher(ray.tune.search.Searcher):
    """Search algorithm for Ray Tune that searches a finite space with one of our searchers.

    `Tuner(trainable, param_space={…}, tune_config=TuneConfig(metric="rps", mode="max", num_samples=30,
    search_alg=TuneSearcher()))` is all that is needed. Trials that fail, do not report the metric, or report it
    as NaN count as configurations that could not run; of several reports, the last one with the metric counts. The
    search finishes when every configuration has been tried, so `num_samples=-1` tries all of them, in the searcher's
    order.

    The metric must be positive in all trials, as rates, latencies and prices are, or negative in all. Zero counts as
    "could not run", as configurations are compared by ratio.

    Args:
        space: what to search; left out, it is read from the Tuner's `param_space`.
        searcher: a name of `searchers.registry`, or a function from a Problem to a Searcher.
        metric: the metric to optimise; may be left to TuneConfig if there is a `param_space`.
        mode: "max" or "min"; may be left to TuneConfig likewise.
        seed: seed of all random choices.

    Raises:
        ValueError: the searcher is unknown, or metric or mode contradict TuneConfig's.
    """

    def __init__(
        self,
        space: Space | None = None,
        searcher: str | SearcherFactory = DEFAULT,
        metric: str | None = None,
        mode: str | None = None,
        *,
        seed: int = 0,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        self._factory = named(searcher) if isinstance(searcher, str) else searcher
        self._given_space = space
        self._seed = seed
        self._problem: Problem | None = None
        self._paths: KnobPaths | None = None  # None: the space was not read from a `param_space`
        self._searcher: Searcher | None = None
        self._history = History()
        self._positions: dict[str, int] = {}
        self._evaluated: list[tuple[dict[str, Any], float | None]] = []
        self._reported: dict[str, dict[str, Any]] = {}  # trial → its last report with the metric
        self._first: float | None = None  # the first figure that is not 0, whose sign all others must have
        self._ended = False
        if space is not None and metric and mode:
            self._start(Problem(space, _objective(mode)))

    @classmethod
    def for_problem(
        cls, problem: Problem, searcher: str | SearcherFactory, history: History | None = None, seed: int = 0
    ) -> Self:
        """Make a TuneSearcher for a Problem, whose objective reads the metrics that trials report.

        Args:
            problem: the space, the objective and the prices.
            searcher: a name of `searchers.registry`, or a function from a Problem to a Searcher.
            history: what is known already. Its pending trials are regarded as lost, as this object does not run them.
            seed: seed of all random choices.
        """
        self = cls(searcher=searcher, seed=seed)
        self._history = History((history or History()).observed)
        self._start(problem)
        return self

    @property
    def history(self) -> History:
        """The observations so far, and the positions of running trials."""
        return self._history

    @property
    def problem(self) -> Problem:
        """The problem that is searched.

        Raises:
            ValueError: space, metric or mode are not known yet.
        """
        if self._problem is None:
            missing = [name for name in ("metric", "mode") if not getattr(self, f"_{name}")]
            missing += [] if self._given_space else ["space"]
            raise ValueError(
                f"TuneSearcher lacks {' and '.join(missing)}; Tune passes TuneConfig's metric and mode on "
                "only together with a non-empty `param_space`, so give them to TuneSearcher otherwise; "
                "`Tuner.restore` takes `param_space` too"
            )
        return self._problem

    @property
    def our_searcher(self) -> Searcher:  # not `searcher`: Tune takes an object with that attribute for a wrapper
        """The searcher of this package that makes the suggestions; ValueError as for `problem`."""
        if self._searcher is None:
            self._searcher = self._factory(self.problem)
        return self._searcher

    def position_of(self, trial_id: str) -> int:
        """Position in the space of the configuration suggested for a trial; KeyError if there was none."""
        return self._positions[trial_id]

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Take metric, mode and space from the Tuner; False if a space or a problem that differs is already set."""
        if self._problem is not None and not self._metric:
            return False  # for_problem: the objective is complete.
        # Otherwise Tune ends the whole run at a report without the metric, instead of calling that trial failed.
        os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
        self._metric = _agreed("metric", self._metric, metric)
        self._mode = _agreed("mode", self._mode, mode)
        space = self._given_space or space_of(config)
        if self._problem is not None and self._problem.space.knobs != space.knobs:
            return False  # Used before with another `param_space`, which its history is about.
        if self._given_space is None:
            self._paths = paths_of(config)
        if self._metric and self._mode and self._problem is None:
            self._start(Problem(space, _objective(self._mode)))
        # On False, Tune reports the right error if `config` has domains, and continues if it has constants only.
        return self._given_space is None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # Ray leaves FINISHED out.
        """The next configuration; None if none is free but trials are still running, FINISHED at the end."""
        problem = self.problem
        if self._ended:
            return self.FINISHED
        done = len(self._history.observed) + len(self._history.pending)
        position = self.our_searcher.suggest(self._history, np.random.default_rng([self._seed, done]))
        if position is None:
            return None if self._history.pending else self.FINISHED
        self._history = self._history.await_(position)
        self._positions[trial_id] = position
        return self._knob_paths().nested(problem.space[position])

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep a report that has the metric, in case that the trial's last one lacks it."""
        if self._metric in result:
            self._reported[trial_id] = result

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Record what the trial measured, or that its configuration could not run."""
        # The position is kept after completion: a failed trial that is run again under its id reports a second time.
        position = self._positions.get(trial_id)
        reported = self._reported.pop(trial_id, None)
        if result and self._metric and self._metric not in result:
            result = {**(reported or {}), **result}
        if position is not None:
            self._history = self._history.observe(position, None if error else self._metrics(result))

    def add_evaluated_point(
        self,
        parameters: dict[str, Any],
        value: float,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        """Add a configuration that was measured elsewhere to the history.

        Raises:
            KeyError: the configuration is not in the space.
            ValueError: the objective is that of a given Problem and needs more than one value.
        """
        if self._problem is not None and self._problem.objective.goal.names != {FIGURE}:
            raise ValueError("this objective needs more than one value; pass a History to `for_problem`")
        self._evaluated.append((parameters, None if error or value is None else float(value)))
        self._take_evaluated()

    def save(self, checkpoint_path: str) -> None:
        """Write the state to a file: the settings, the history, and the position of each trial id."""
        state = {key: getattr(self, key) for key in self._STATE}
        Path(checkpoint_path).write_bytes(cloudpickle.dumps(state))

    def restore(self, checkpoint_path: str) -> None:
        """Read what `save` wrote; the searcher itself is rebuilt, as it depends on the history alone."""
        self.__dict__.update(cloudpickle.loads(Path(checkpoint_path).read_bytes()))
        self._searcher = None

    _STATE = (
        "_history", "_positions", "_evaluated", "_problem", "_seed", "_metric", "_mode", "_factory", "_given_space",
        "_reported", "_first", "_ended", "_paths",
    )  # fmt: skip

    def _start(self, problem: Problem) -> None:
        self._problem = problem
        self._take_evaluated()

    def _knob_paths(self) -> KnobPaths:
        return self._paths or KnobPaths.of_names(knob.name for knob in self.problem.space.knobs)

    def _take_evaluated(self) -> None:
        """Turn points that were measured elsewhere into observations, once the space is known."""
        if self._problem is None:
            return
        for parameters, value in self._evaluated:
            config = self._knob_paths().config_of(parameters, self._problem.space)
            self._history = self._history.observe(
                self._problem.space.position(config), None if value is None else self._figured({}, value)
            )
        self._evaluated = []

    def _metrics(self, result: Mapping[str, Any] | None) -> Metrics | None:
        """The metrics in a result; None if the configuration could not run or a metric that is needed is missing."""
        if not result or result.get("could_not_run"):
            return None
        metrics = {
            sys.intern(str(key)): float(v) for key, v in result.items() if _is_number(v) and not _is_tunes_own(key)
        }
        if self._metric:
            figure = result.get(self._metric)
            if not _is_number(figure):
                return None
            return self._figured(metrics, float(figure))
        needed = {*self.problem.objective.goal.names, *self.problem.objective.limited} - {PRICE}
        return metrics if all(math.isfinite(metrics.get(name, math.nan)) for name in needed) else None

    def _figured(self, metrics: dict[str, float], value: float) -> Metrics | None:
        """The metrics with the value of the Tuner's metric; None if that says that the configuration could not run.

        Searchers compare by ratio, so a metric that is negative is taken without its sign, and the other way round: the
        largest of negative numbers is that which is nearest to 0.
        """
        if value == 0:
            said = "%s = %g is not positive; the trial is recorded as one that could not run"
            _log.warning(said, self._metric, value)
        if not math.isfinite(value) or value == 0:
            return None
        if self._first is None:
            self._first = value
            if value < 0:
                objective = self.problem.objective
                self._problem = replace(self.problem, objective=replace(objective, minimize=not objective.minimize))
                self._searcher = None
        if (value < 0) != (self._first < 0):
            if not self._ended:
                said = (
                    "the search ends here: %s was %g in one trial and %g in another, and must be positive in all or "
                    "negative in all, as configurations are compared by ratio; report another metric"
                )
                _log.error(said, self._metric, self._first, value)
            self._ended = True
            return None
        return {**metrics, FIGURE: abs(value)}


def _objective(mode: str) -> Objective:
    return Objective(Expression(FIGURE), minimize=mode == "min")


def _agreed(what: str, ours: str | None, tuners: str | None) -> str | None:
    if ours and tuners and ours != tuners:
        raise ValueError(
            f"TuneSearcher has {what}={ours!r}, TuneConfig has {what}={tuners!r}; give it in one of them only"
        )
    return ours or tuners


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_tunes_own(key: str) -> bool:
    return key in _TUNES_OWN or key.startswith("config/")
