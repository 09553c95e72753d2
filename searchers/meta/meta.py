"""Our searcher, the default: beliefs about every metric apart, from all that is known, conditioned on each trial.

Morphling asks a network that learned to learn; here what was learned is a Gaussian belief over the surfaces that a
service could have, and adapting it is exact. A mixture of beliefs is held: what earlier services teach
(`source_prior`), what formulas teach (`surfaces`), and almost nothing (`mixture.generic`). Each component weighs as
much as it predicted the trials so far, so a prior that is wrong loses its weight. docs/meta.md has it with equations.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from searchers.base import History, Problem, Searcher
from searchers.choice import largest_free
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
LARGEST = 2000
"""Configurations of the largest space that a joint belief is held about: its matrices have n² numbers."""
SHORTLIST = 1000
"""Configurations at random that stand for a larger space, before those near the best are added. Our choice."""
NEAR = 0.1
"""How much less worth is hardly less, as a fraction. Our choice: by 256 samples a worth of 0.3, as one trial is often
worth, is known to a tenth; `python -m benchmarks switching` finds no trial lost."""

_PRIOR_WEIGHTS: Mapping[str, float] = {SOURCES: 0.6, SHIPPED: 0.3, GENERIC: 0.1}
"""Weight of each component before the first trial, relative to one another. Our choice."""
_ATYPICAL = 0.05
"""How often a trial fails for a reason that says nothing of its neighbours. Our choice."""
_DROPPED = 0.01
"""A component of less weight than this has been dropped."""


@dataclass(frozen=True)
class MixtureComponent:
    """One belief about each quantity, and samples of it.

    Args:
        name: where it comes from.
        prior_weight: its weight before the first trial, relative to the others.
        beliefs: by quantity.
        deviations: for each quantity `[S, n]` samples less the mean.
    """

    name: str
    prior_weight: float
    beliefs: Beliefs
    deviations: Mapping[str, np.ndarray]

    def given(self, history: History, metric_model: MetricModel) -> dict[str, Posterior]:
        """What it makes of the trials so far, by quantity."""
        return {q: belief.given(*metric_model.measured(history.observed, q)) for q, belief in self.beliefs.items()}


def meta(problem: Problem, surfaces: SurfaceModel | None = None) -> Searcher:
    """`Meta`, on a shortlist where the space is larger than a joint belief can be."""
    make = partial(Meta, surfaces=surfaces)
    return make(problem) if len(problem.space) <= LARGEST else Shortlisted(problem, make, most=SHORTLIST)


class Meta:
    """Measure where the most is to be gained, or the search most likely ends (`acquisition`).

    Args:
        problem: the space, what counts as good, what is known of the service, and earlier services.
        tolerance: how much worse than the best is as good as the best, as a fraction.
        surfaces: what services like this could be; the model that ships when left out. `raytune-infer meta-train
            --from` trains one on one's own studies too.
        near: a configuration that needs no new replica is preferred to one that is worth more by no more than this
            fraction.
        samples: S, of the joint belief. They are the same at every call, so a suggestion moves only with what
            was measured.
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
        self._warned: set[str] = set()

    def suggest(self, history: History, rng: np.random.Generator) -> int | None:
        """The free position that is worth the most, ties broken at random; None when there is none."""
        if len(history.taken) >= len(self._problem.space):
            return None
        drawn = self.drawn(history)
        scores = acquisition(self._values(drawn), np.array(sorted(history.taken), dtype=int), self._tolerance)
        if scores.any():
            scores = sparing(scores, warm(self._replicas, history), self._near)
        else:  # nothing free is likely to count (the taken are worth 0): towards what is nearest to it
            scores = self._nearness(drawn)
        return largest_free(scores, history, rng)

    def chance_of_more(self, history: History, margin: float) -> float:
        """The chance that some configuration is better than all measured ones by more than a fraction `margin`."""
        measured = np.array(sorted({o.position for o in history.observed}), dtype=int)
        return chance_of_more(self._values(self.drawn(history)), measured, margin)

    def drawn(self, history: History) -> dict[str, np.ndarray]:
        """For each quantity `[S, n]` samples, from each component in proportion to its weight."""
        posteriors = self._posteriors(history)
        weights = self._weights(posteriors)
        self._warn_of_dropped(weights)
        drawn = {q: self._drawn_of(q, weights[q], [posterior[q] for posterior in posteriors]) for q in weights}
        runs, fails = self._monotone.implied(history.observed)
        typical = slice(round(_ATYPICAL * self._samples), None)
        drawn[FEASIBLE][typical, runs], drawn[FEASIBLE][typical, fails] = 1.0, -1.0
        return drawn

    def _makers(self) -> dict[str, Callable[[], Beliefs | None]]:
        problem, metrics = self._problem, self._metric_model.metrics
        grid = grid_over(problem.space, ())
        return {
            GENERIC: lambda: mixture.generic(grid, self._metric_model.quantities, problem.noise**2),
            SHIPPED: lambda: mixture.from_surfaces(self._surfaces, problem, grid, metrics),
            SOURCES: self._from_sources,
        }

    def _from_sources(self) -> Beliefs | None:
        sources = source_prior.credible(self._problem.sources, self._metric_model)
        if len(sources) < len(self._problem.sources):
            _log.warning(
                "not learning from %d of %d earlier studies: their results do not follow from their configurations",
                len(self._problem.sources) - len(sources), len(self._problem.sources),
            )  # fmt: skip
        return source_prior.from_sources(self._problem, sources, self._metric_model) if sources else None

    def _component(self, name: str, found: Beliefs) -> MixtureComponent:
        rng = np.random.default_rng(0)
        return MixtureComponent(
            name, _PRIOR_WEIGHTS[name], found, {q: b.deviations(self._samples, rng) for q, b in found.items()}
        )

    def _posteriors(self, history: History) -> list[dict[str, Posterior]]:
        return [component.given(history, self._metric_model) for component in self._components]

    def _weights(self, posteriors: list[dict[str, Posterior]]) -> dict[str, np.ndarray]:
        """For each quantity the weight of each component: Bayes' rule, as one may be right of one quantity only."""
        prior_weight = np.log([component.prior_weight for component in self._components])
        out = {}
        for q in self._metric_model.quantities:
            log = prior_weight + [posterior[q].log_density for posterior in posteriors]
            weights = np.exp(log - log.max())
            out[q] = weights / weights.sum()
        return out

    def _drawn_of(self, quantity: str, weights: np.ndarray, posteriors: list[Posterior]) -> np.ndarray:
        ends = np.round(np.cumsum(weights) * self._samples).astype(int)
        rng, parts = np.random.default_rng(1), []
        for component, posterior, start, end in zip(self._components, posteriors, [0, *ends[:-1]], ends, strict=True):
            noise = rng.standard_normal((end - start, len(posterior.at)))
            parts.append(posterior.samples(component.deviations[quantity][start:end], noise))
        return np.vstack(parts)

    def _warn_of_dropped(self, weights: Mapping[str, np.ndarray]) -> None:
        """Say once of each metric that what earlier services taught of it was dropped."""
        for place, component in enumerate(self._components):
            for q in self._metric_model.metrics:
                if component.name == SOURCES and weights[q][place] < _DROPPED and q not in self._warned:
                    self._warned.add(q)
                    _log.warning("what %s taught of %s does not fit the trials so far, and is dropped", SOURCES, q)

    def _values(self, drawn: Mapping[str, np.ndarray]) -> np.ndarray:
        return values(self._objective, drawn, self._problem.usd_per_hour)

    def _nearness(self, drawn: Mapping[str, np.ndarray]) -> np.ndarray:
        """`[n]` minus the e-folds by which limits are expected to be missed, and how likely it is not to run."""
        objective, missed = self._objective, np.zeros(len(self._problem.space))
        for name in objective.limited:
            if name in drawn:
                over = drawn[name] - np.log(max(objective.at_most.get(name, np.inf), 1e-300))
                under = np.log(max(objective.at_least.get(name, 0.0), 1e-300)) - drawn[name]
                missed += np.maximum(0, np.maximum(over, under)).mean(axis=0)
        return -missed - 10 * (drawn[FEASIBLE] <= 0).mean(axis=0)
