"""Falcon's search: regions by expected quality, Monte-Carlo tree search among them, Bayesian optimisation within one.

Falcon (SoCC 2022) knows a model by its key operators, whose resource curves say before the first trial which regions
of the space are worth searching. Here the curves are those of earlier services (`curves`), or what is expected of the
metrics (`Problem.expected`), for example from operators. The paper leaves open how the tree is built, and how the two
searches work together: docs/falcon.md says what is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from searchers.base import History, Problem, largest_free
from searchers.baselines.expected_improvement import goal_normal, log_chance, log_expected_improvement
from searchers.falcon import search
from searchers.falcon.expectation import Expected, expected_of
from searchers.falcon.knob_effects import KnobEffect, knob_effects
from searchers.falcon.regions import ByQuality, IntoHalves
from searchers.falcon.residual import Seen, predict
from searchers.falcon.tree import Tree, grow
from searchers.meta.metric_model import FEASIBLE, metric_model_of
from searchers.meta.monotone import Monotone
from searchers.quantities import PRICE

_ATYPICAL = 0.05
"""Probability that a configuration runs although a trial that had no less memory did not. As in `meta`."""


@dataclass(frozen=True, eq=False)
class Forecast:
    """What is expected of every configuration at some point of a search.

    Args:
        mean: `[n]` mean of ln(value) without limits.
        std: `[n]` its standard deviation.
        chance: `[n]` ln of the probability that it runs and keeps its limits.
    """

    mean: np.ndarray
    std: np.ndarray
    chance: np.ndarray

    def reward(self, best: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """`[n]` expected reward of each configuration, 0 to 1, and `[n]` its standard deviation.

        A reward is a value as a fraction of the best, which is the largest expected value, or the largest observed one
        if that is larger. It is 0 with the probability that the configuration does not count.

        Args:
            best: largest value that was observed; 0 while none is feasible.
        """
        expected = self.mean + self.chance
        top = max(float(expected.max()), float(np.log(best)) if best > 0 else -np.inf)
        if not np.isfinite(top):  # no configuration can be feasible
            return np.zeros(len(expected)), np.zeros(len(expected))
        reward = np.exp(expected - top)
        squared = (1 + self.std**2) * reward * np.exp(self.mean - top)  # E[r²] = P (1 + s²) m²
        return reward, np.sqrt(np.maximum(squared - reward**2, 0.0))


class Falcon:
    """Picks a region by tree search, and the point of the largest expected improvement in it.

    Args:
        problem: the space, the objective, and earlier services or what is expected of the metrics.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._model, self._objective = metric_model_of(problem)
        self._monotone = Monotone(problem.space)
        self.expected: Expected = expected_of(problem)
        self.effects: tuple[KnobEffect, ...] = self._knob_effects()
        self.tree: Tree = self._grown()

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The free position of the largest expected improvement in the region that tree search leads to."""
        if len(history.taken) >= len(self._problem.space):
            return None
        best = float(self._problem.values(history).max(initial=0.0))
        forecast = self.forecast(history)
        ended = np.array([o.position for o in history.observed], dtype=int)
        pending = np.array(sorted(history.pending), dtype=int)
        statistics = search.backed_up(self.tree, ended, pending, *forecast.reward(best))
        region = self.tree.leaf_of == search.selected(self.tree, statistics, rng)
        return largest_free(np.where(region, _scores(forecast, best), -np.inf), history, rng)

    def forecast(self, history: History) -> Forecast:
        """What is expected of every configuration after the trials so far."""
        usd = self._problem.usd_per_hour
        predicted = {}
        for quantity in self._model.quantities:
            at, y = self._model.measured(history.observed, quantity)
            pending = np.array(sorted(history.pending - set(at.tolist())), dtype=int)
            predicted[quantity] = predict(self.expected, quantity, Seen(at, y, pending, self._problem.noise))
        chance = log_chance(self._objective, predicted, usd)
        _, fails = self._monotone.implied(history.observed)
        chance[fails] = np.minimum(chance[fails], np.log(_ATYPICAL))
        mean, std = goal_normal(self._objective, predicted, usd)
        return Forecast(mean, std, chance)

    def _knob_effects(self) -> tuple[KnobEffect, ...]:
        """How much each knob moves each quantity, the price included if it matters."""
        surfaces = {q: each.mean for q, each in self.expected.quantities.items() if each.informed}
        noise = dict.fromkeys(surfaces, self._problem.noise)
        if FEASIBLE in surfaces:
            surfaces[FEASIBLE] = surfaces[FEASIBLE] / 2  # as a probability
        usd = self._problem.usd_per_hour
        priced = PRICE in {*self._objective.goal.names, *self._objective.limited}
        if surfaces and priced and (usd > 0).all():
            surfaces[PRICE], noise[PRICE] = np.log(usd), 1e-9
        return knob_effects(self._problem.space, self.expected.ranks, surfaces, noise)

    def _grown(self) -> Tree:
        """The tree of regions before the first trial."""
        space, ranks = self._problem.space, self.expected.ranks
        own = ranks[:, : len(space.knobs)]  # knobs that only sources have come last, and exist in no configuration here
        most = int(np.ceil(np.sqrt(len(space))))
        if not self.expected.informed:
            return grow(own, IntoHalves(own), most)
        quality, _ = self.forecast(History()).reward()
        ordered = np.array([knob.kind == "ordinal" for knob in space.knobs])
        usable = np.array([effect.kept for effect in self.effects])
        return grow(own, ByQuality(quality, own, ordered, usable, self._problem.noise), most)


def _scores(forecast: Forecast, best: float) -> np.ndarray:
    """`[n]` ln of the expected improvement × the chance to count; of the expected value × it while nothing counts."""
    gain = forecast.mean if best == 0 else log_expected_improvement(forecast.mean, forecast.std, np.log(best))
    # Finite, so that a region in which nothing can count is not left for another one.
    return np.maximum(gain + forecast.chance, -1e300).round(6)
