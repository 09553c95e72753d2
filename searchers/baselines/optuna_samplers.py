"""Searchers that use Optuna's samplers, as functions of the history.

Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework" (KDD 2019).
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from searchers.base import History, Problem
from searchers.baselines.constraint_values import figures_and_constraints
from searchers.baselines.nearest import nearest_free

_RANDOM_FIRST = 5
"""Random configurations before the Gaussian process decides. Our choice, as in `bo`: on llm-serving its mean is 7.07
trials to 95 % of the best, that of Optuna's default of 10 is 9.42."""

# Optuna would otherwise log a message for the study that each suggestion creates.
logging.getLogger("optuna").setLevel(logging.WARNING)


class Optuna:
    """Asks an Optuna study, rebuilt from the history at every call, for its next trial.

    Ordinal knobs are integer ranks, categorical ones categories; the free configuration nearest to the suggestion is
    taken. Limits are Optuna's constraints (`constraint_values`), which each sampler uses in its own way; a trial that
    did not run breaks one and has the lowest value, as the samplers would ignore failed trials.

    Args:
        problem: the space to search and the objective.
        sampler: seed → the sampler.
    """

    def __init__(self, problem: Problem, sampler: Callable[[int], optuna.samplers.BaseSampler]) -> None:
        self._problem = problem
        self._sampler = sampler
        self._dimensions: dict[str, BaseDistribution] = {
            knob.name: IntDistribution(0, len(knob.values) - 1)
            if knob.kind == "ordinal"
            else CategoricalDistribution(tuple(range(len(knob.values))))
            for knob in problem.space.knobs
        }

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The free position nearest to the sampler's suggestion, ties broken at random."""
        if len(history.taken) == len(self._problem.space):
            return None
        study = optuna.create_study(direction="maximize", sampler=self._sampler(int(rng.integers(2**31))))
        study.add_trials(self._trials(history))
        wanted = study.ask(fixed_distributions=self._dimensions).params
        ranks = np.array([wanted[name] for name in self._dimensions])
        return nearest_free(self._problem.space, ranks, history, rng)

    def _trials(self, history: History) -> list[optuna.trial.FrozenTrial]:
        figures, constraints = figures_and_constraints(self._problem, history)
        ranks = self._problem.space.ranks[[o.position for o in history.observed]]
        return [
            optuna.trial.create_trial(
                params=dict(zip(self._dimensions, row.tolist(), strict=True)),
                distributions=self._dimensions,
                value=float(figure),
                constraints=dict(broken),
            )
            for row, figure, broken in zip(ranks, figures, constraints, strict=True)
        ]


def optuna_tpe(problem: Problem) -> Optuna:
    """Tree-structured Parzen estimators (Watanabe 2023, "Tree-structured Parzen estimator").

    Trials that break a constraint rank below all others, by the sum of what they break.
    """
    return Optuna(problem, lambda seed: optuna.samplers.TPESampler(seed=seed))


def optuna_gp(problem: Problem) -> Optuna:
    """A Gaussian process with Matérn kernel and log expected improvement, one more for each constraint.

    ln P(all constraints are kept) is added to the log expected improvement (Gardner et al. 2014).
    """
    return Optuna(problem, lambda seed: optuna.samplers.GPSampler(seed=seed, n_startup_trials=_RANDOM_FIRST))
