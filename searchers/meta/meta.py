"""The default searcher: it models every metric separately by a mixture of Gaussian priors, updated by each trial.

Morphling adapts a meta-trained network by gradient steps; here the learned knowledge is a Gaussian prior over the
surfaces that a service could have, and conditioning it is exact. The mixture has three components: a prior from
earlier services (`source_prior`), one from formulas (`surfaces`), and one that knows almost nothing
(`mixture.generic`); a fourth from what is expected of the metrics, if the problem has that. Each is weighted by how
well it predicted the trials so far, so that a wrong prior loses its weight. docs/meta.md gives the equations.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from searchers.base import History, Problem, Searcher, largest_free
from searchers.meta import mixture, source_prior
from searchers.meta.acquisition import acquisition, chance_of_more
from searchers.meta.gaussian import Posterior
from searchers.meta.joint_grid import grid_over
from searchers.meta.metric_model import FEASIBLE, MetricModel, metric_model_of, values
from searchers.meta.mixture import Beliefs
from searchers.meta.monotone import Monotone
from searchers.meta.shortlist import Shortlisted
from searchers.meta.switching import replicas, sparing, warm
from searchers.surfaces.belief import SurfaceModel, pretrained

_log = logging.getLogger(__name__)

SOURCES, SHIPPED, GENERIC = "earlier services", "the shipped prior", "nothing but the knobs"
EXPECTED = "what is expected"
LARGEST = 2000
"""Largest number of configurations for a joint prior over the whole space: its matrices have n² numbers."""
SHORTLIST = 1000
"""Number of random configurations that represent a larger space, before those near the best are added. Our choice."""
NEAR = 0.1
"""Difference in acquisition that is negligible, as a fraction. Our choice: with 256 samples, an acquisition of 0.3,
which is common, is known to within a tenth; by `python -m benchmarks switching` it costs no additional trials."""

_PRIOR_WEIGHTS: Mapping[str, float] = {SOURCES: 0.6, SHIPPED: 0.3, GENERIC: 0.1, EXPECTED: 0.6}
"""Weight of each component before the first trial, relative to one another. Our choice."""
_ATYPICAL = 0.05
"""Probability that a trial fails for a reason that does not concern similar configurations. Our choice."""
_KEPT = 0.1
"""Share of the samples that follow the prior weights whatever the trials say. Our choice, on llm-serving and planes-cpu
with sources and with sources that mislead."""
_DROPPED = 0.01
"""A component whose weight by Bayes' rule is below this is reported as dropped."""


@dataclass(frozen=True)
class MixtureComponent:
    """One component of the mixture: a prior for each quantity, and samples of it.

    Args:
        name: what the priors are made from.
        prior_weight: weight before the first trial, relative to the other components.
        beliefs: the priors, by quantity.
        deviations: for each quantity, `[S, n]` samples of the prior minus its mean.
    """

    name: str
    prior_weight: float
    beliefs: Beliefs
    deviations: Mapping[str, np.ndarray]

    def given(self, history: History, metric_model: MetricModel) -> dict[str, Posterior]:
        """The component's posterior of each quantity after the trials so far."""
        return {q: belief.given(*metric_model.measured(history.observed, q)) for q, belief in self.beliefs.items()}


def meta(problem: Problem, surfaces: SurfaceModel | None = None) -> Searcher:
    """Make a `Meta`, on a shortlist if the space is too large for a joint prior."""
    make = partial(Meta, surfaces=surfaces)
    return make(problem) if len(problem.space) <= LARGEST else Shortlisted(problem, make, most=SHORTLIST)


class Meta:
    """Searcher that measures the configuration with the largest acquisition (`meta.acquisition`).

    Args:
        problem: the space, the objective, what is known about the service, and earlier services.
        tolerance: values that are worse than the best by at most this fraction count as the best.
        surfaces: model of the surfaces that services like this could have; the shipped one when left out.
            `raytune-infer meta-train --from` trains one that includes your own studies.
        near: a configuration that needs no new replica is preferred to one whose acquisition is larger by no more
            than this fraction.
        samples: S, the number of joint samples. The same random numbers are used at every call, so that a suggestion
            changes only with the measurements.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        tolerance: float = 0.05,
        surfaces: SurfaceModel | None = None,
        near: float = NEAR,
        samples: int = 256,
    ) -> None:
        self._problem = problem
        self._surfaces = surfaces or pretrained()
        self._tolerance, self._near = tolerance, near
        self._replicas = replicas(problem.space)
        self._samples = samples
        self._metric_model, self._objective = metric_model_of(problem)
        self._components = tuple(
            self._component(name, found) for name, make in self._makers().items() if (found := make()) is not None
        )
        self._monotone = Monotone(problem.space)
        self._warned: set[tuple[str, str]] = set()

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The free position of the largest acquisition, ties broken at random; None if none is free."""
        if len(history.taken) >= len(self._problem.space):
            return None
        scores = self.worth(history)
        if scores.max() > 0:  # an acquisition, not how near something is to being feasible
            scores = sparing(scores, warm(self._replicas, history), self._near)
        return largest_free(scores, history, rng)

    def worth(self, history: History) -> np.ndarray:
        """`[n]` how much it is worth to measure each configuration: its acquisition.

        Where no free configuration is likely to be feasible (taken ones have no acquisition), it is at most 0: how near
        each is to being feasible.
        """
        drawn = self.drawn(history)
        scores = acquisition(self._values(drawn), np.array(sorted(history.taken), dtype=int), self._tolerance)
        return scores if scores.any() else self._nearness(drawn)

    def chance_of_more(self, history: History, margin: float) -> float:
        """Probability that some configuration is better than all measured ones by more than the fraction `margin`."""
        measured = np.array(sorted({o.position for o in history.observed}), dtype=int)
        return chance_of_more(self._values(self.drawn(history)), measured, margin)

    def predicted(self, history: History) -> np.ndarray:
        """`[S, n]` posterior samples of the value of every configuration, 0 where it is infeasible."""
        return self._values(self.drawn(history))

    def drawn(self, history: History) -> dict[str, np.ndarray]:
        """For each quantity, `[S, n]` posterior samples, from each component in proportion to its weight."""
        posteriors = self._posteriors(history)
        weights = self._weights(posteriors)
        self._warn_of_dropped(weights)
        drawn = {q: self._drawn_of(q, self._shares(weights[q]), [each[q] for each in posteriors]) for q in weights}
        runs, fails = self._monotone.implied(history.observed)
        typical = np.random.default_rng(2).random((self._samples, 1)) >= _ATYPICAL
        drawn[FEASIBLE][typical & runs], drawn[FEASIBLE][typical & fails] = 1.0, -1.0
        return drawn

    def _makers(self) -> dict[str, Callable[[], Beliefs | None]]:
        problem, metrics = self._problem, self._metric_model.metrics
        grid = grid_over(problem.space, ())
        return {
            GENERIC: lambda: mixture.generic(grid, self._metric_model.quantities, problem.noise**2),
            SHIPPED: lambda: mixture.from_surfaces(self._surfaces, problem, grid, metrics),
            SOURCES: self._from_sources,
            EXPECTED: lambda: mixture.from_expected(problem, grid, self._metric_model.quantities),
        }

    def _from_sources(self) -> Beliefs | None:
        sources = source_prior.credible(self._problem.sources, self._metric_model)
        if len(sources) < len(self._problem.sources):
            _log.warning(
                "ignoring %d of %d earlier studies: their configurations do not explain their results",
                len(self._problem.sources) - len(sources), len(self._problem.sources),
            )  # fmt: skip
        return source_prior.from_sources(self._problem, sources, self._metric_model) if sources else None

    def _component(self, name: str, found: Beliefs) -> MixtureComponent:
        rng = np.random.default_rng(0)
        # One service goes equally far along a direction in all its quantities: a fast one has a short latency too.
        along = rng.standard_normal((self._samples, max(len(belief.directions) for belief in found.values())))
        deviations = {
            q: belief.deviations(self._samples, rng, along[:, : len(belief.directions)]) for q, belief in found.items()
        }
        return MixtureComponent(name, _PRIOR_WEIGHTS[name], found, deviations)

    def _posteriors(self, history: History) -> list[dict[str, Posterior]]:
        return [component.given(history, self._metric_model) for component in self._components]

    def _weights(self, posteriors: list[dict[str, Posterior]]) -> dict[str, np.ndarray]:
        """For each quantity, the components' weights by Bayes' rule, as one may be right about one quantity only."""
        prior_weight = np.log([component.prior_weight for component in self._components])
        out = {}
        for q in self._metric_model.quantities:
            log = prior_weight + [posterior[q].log_density for posterior in posteriors]
            weights = np.exp(log - log.max())
            out[q] = weights / weights.sum()
        return out

    def _shares(self, weights: np.ndarray) -> np.ndarray:
        """The components' shares of the samples, given their weights by Bayes' rule.

        A part follows the prior weights whatever the trials say: they are few, and where one component looked.
        """
        prior_weight = np.array([component.prior_weight for component in self._components])
        return (1 - _KEPT) * weights + _KEPT * prior_weight / prior_weight.sum()

    def _drawn_of(self, quantity: str, weights: np.ndarray, posteriors: list[Posterior]) -> np.ndarray:
        ends = np.round(np.cumsum(weights) * self._samples).astype(int)
        rng, parts = np.random.default_rng(1), []
        for component, posterior, start, end in zip(self._components, posteriors, [0, *ends[:-1]], ends, strict=True):
            noise = rng.standard_normal((end - start, len(posterior.at)))
            parts.append(posterior.samples(component.deviations[quantity][start:end], noise))
        return np.vstack(parts)

    def _warn_of_dropped(self, weights: Mapping[str, np.ndarray]) -> None:
        """Log a warning, once for each metric, when a component that someone vouches for has lost its weight."""
        expected = self._problem.expected
        vouched = {SOURCES: (SOURCES, self._metric_model.metrics)}
        if expected is not None:
            vouched[EXPECTED] = (expected.by, tuple(q for q in self._metric_model.metrics if q in expected.log_mean))
        for place, component in enumerate(self._components):
            by, metrics = vouched.get(component.name, ("", ()))
            for q in metrics:
                if weights[q][place] < _DROPPED and (by, q) not in self._warned:
                    self._warned.add((by, q))
                    said = "the prior from %s for %s contradicts the trials so far and now has almost no weight"
                    _log.warning(said, by, q)

    def _values(self, drawn: Mapping[str, np.ndarray]) -> np.ndarray:
        return values(self._objective, drawn, self._problem.usd_per_hour)

    def _nearness(self, drawn: Mapping[str, np.ndarray]) -> np.ndarray:
        """`[n]` minus the e-folds by which limits are expected to be missed, minus 10 · P(cannot run)."""
        objective, missed = self._objective, np.zeros(len(self._problem.space))
        for name in objective.limited:
            if name in drawn:
                over = drawn[name] - np.log(max(objective.at_most.get(name, np.inf), 1e-300))
                under = np.log(max(objective.at_least.get(name, 0.0), 1e-300)) - drawn[name]
                missed += np.maximum(0, np.maximum(over, under)).mean(axis=0)
        return -missed - 10 * (drawn[FEASIBLE] <= 0).mean(axis=0)
