"""Searcher that uses Hyperopt's tree-structured Parzen estimator (TPE), as a function of the history.

Bergstra, Bardenet, Bengio, Kégl, "Algorithms for Hyper-Parameter Optimization" (NeurIPS 2011).
"""

from __future__ import annotations

from typing import Any

import hyperopt
import numpy as np
from hyperopt import hp, tpe

from searchers.base import History, Problem
from searchers.baselines.nearest import nearest_free

_RANDOM_FIRST = 3
"""Number of random configurations at the start. Our choice: of 3, 5, 7, 10 and 20, hyperopt's default, it takes the
fewest trials to 95 % of the best on llm-serving (mean 20.0; 26.3 with the default) and planes-cpu (8.6; 12.6)."""


class Hyperopt:
    """Calls `hyperopt.tpe.suggest` on a trials object that is rebuilt from the history at every call.

    Ordinal knobs are quantised ranks, categorical ones choices; the free configuration nearest to its
    suggestion is taken. An infeasible configuration has the value 0, as feasible values are positive.

    Args:
        problem: the space to search and the objective.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        space = problem.space
        self._labels = [f"{i}:{knob.name}" for i, knob in enumerate(space.knobs)]
        self._ordinal = np.array([knob.kind == "ordinal" for knob in space.knobs])
        self._domain = hyperopt.Domain(lambda ranks: ranks, self._dimensions())
        # [n, knobs] rank of every configuration's value in each knob.
        self._ranks = space.ranks

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The free position nearest to TPE's suggestion, ties broken at random."""
        if len(history.taken) == len(self._ranks):
            return None
        wanted = self._suggested(history, seed=int(rng.integers(2**31)))
        return nearest_free(self._problem.space, wanted, history, rng)

    def _dimensions(self) -> dict[str, Any]:
        def dimension(label: str, values: int, ordinal: bool) -> Any:
            # The range extends half a rank beyond both ends, so that the end values are as likely as the others.
            return hp.quniform(label, -0.49, values - 0.51, 1) if ordinal else hp.randint(label, values)

        knobs = self._problem.space.knobs
        return {
            label: dimension(label, len(knob.values), bool(ordinal))
            for label, knob, ordinal in zip(self._labels, knobs, self._ordinal, strict=True)
        }

    def _suggested(self, history: History, seed: int) -> np.ndarray:
        """`[knobs]` ranks that TPE would try next."""
        trials = hyperopt.Trials()
        trials.insert_trial_docs([self._document(i, history) for i in range(len(history.observed))])
        trials.refresh()
        new = tpe.suggest(
            [len(history.observed)], self._domain, trials, seed, n_startup_jobs=_RANDOM_FIRST, verbose=False
        )
        values = new[0]["misc"]["vals"]
        return np.array([round(float(values[label][0])) for label in self._labels])

    def _document(self, trial: int, history: History) -> dict[str, Any]:
        """One observation in hyperopt's format; hyperopt minimises, so the value is negated here."""
        observation = history.observed[trial]
        ranks = self._ranks[observation.position].tolist()
        misc = {
            "tid": trial,
            "cmd": self._domain.cmd,
            "workdir": None,
            "idxs": {label: [trial] for label in self._labels},
            "vals": {label: [rank] for label, rank in zip(self._labels, ranks, strict=True)},
        }
        loss = -(self._problem.value(observation) or 0.0)
        return {
            "state": hyperopt.JOB_STATE_DONE, "tid": trial, "spec": None, "misc": misc, "exp_key": None,
            "result": {"loss": loss, "status": hyperopt.STATUS_OK}, "owner": None, "version": 0,
            "book_time": None, "refresh_time": None,
        }  # fmt: skip
