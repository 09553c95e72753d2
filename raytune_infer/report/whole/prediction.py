"""What the study's own searcher expects of configurations, after all of the study's trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from cluster.prices import DEFAULT_BOOK, NoPrice, PriceBook, built_in, load_prices
from raytune_infer.report.chart import Quantity
from raytune_infer.report.whole.run_facts import RunFacts
from raytune_infer.spec.demand import price
from raytune_infer.spec.standard_knobs import encode
from raytune_infer.store.prior import kept_prior
from raytune_infer.store.records import TrialRecord
from raytune_infer.study.space import problem_of
from searchers.base import History, Observation, PredictsValues
from searchers.quantities import PRICE
from searchers.registry import PREDICT_GAINS, named
from searchers.space import Config, Space, typed

MOST = 2000
"""Most configurations that are predicted at once: a joint model of more has too large matrices (`meta.LARGEST`)."""

_UNLIKELY = 0.5
"""Probability of keeping the limits below which no figure is told, as most of its samples have none. Our choice."""


@dataclass(frozen=True)
class Expected:
    """What is expected of a configuration.

    Args:
        figure: the goal's figure with its 95 % interval, given that it counts; None if it probably does not.
        counts: probability that it runs and keeps the limits.
    """

    figure: Quantity | None
    counts: float


def book_of(facts: RunFacts) -> PriceBook | None:
    """Return the run's price book if it is one of those that ship; None else.

    The run may come from somebody else, and a file that it names on this machine is not opened unasked.
    """
    name = facts.spec.prices or DEFAULT_BOOK
    return load_prices(name) if name in built_in() else None


def why_none(facts: RunFacts) -> str | None:
    """Return why nothing can be predicted for a run; None if it can."""
    if facts.study.searcher not in PREDICT_GAINS:
        return f"the searcher {facts.study.searcher} has no model that predicts configurations"
    if not facts.trials:
        return "no trial has ended yet"
    if PRICE in (*facts.objective.goal.names, *facts.objective.limited) and book_of(facts) is None:
        return "the goal needs prices, and the run's price book is not one of those that ship"
    return None


def expectations(facts: RunFacts, configs: Sequence[Config]) -> list[Expected]:
    """Return what the study's searcher expects of these configurations; earlier studies are left out.

    Args:
        facts: a run for which `why_none` has no reason.
        configs: at most `MOST` configurations, each once.
    """
    known = _measured(facts)
    allowed = {typed(config): config for config in (*configs, *(config for config, _ in known))}
    space = Space([encode(name, facts.spec.values(name)) for name in facts.spec.knobs], list(allowed.values()))
    history = History(tuple(Observation(space.position(config), metrics) for config, metrics in known))
    samples = _samples(facts, space, history)
    minimize = facts.objective.minimize
    return [of_samples(samples[:, space.position(config)], minimize=minimize) for config in configs]


def _measured(facts: RunFacts) -> list[tuple[Config, Mapping[str, float] | None]]:
    """Return each configuration that was tried, with the means of what its trials measured; None if none could run.

    Also of the final comparison, which may have measured what the search had not, such as the default. Of trials alone
    on a GPU of which they pay for a part, and others among neighbours, those count that the ranking takes.
    """
    found = facts.ranking
    believed = set() if found is None else {number for r in (*found.ranked, *found.others) for number in r.trials}
    by_config: dict[int, list[TrialRecord]] = {}
    for t in facts.trials:
        by_config.setdefault(t.position, []).append(t)
    return [
        (trials[0].config, _means([m for t in trials if t.number in believed and (m := t.outcome.metrics) is not None]))
        for trials in by_config.values()
    ]


def _means(measured: Sequence[Mapping[str, float]]) -> Mapping[str, float] | None:
    """Return the mean of each metric that all of them have; None of none."""
    if not measured:
        return None
    return {name: fmean(m[name] for m in measured) for name in measured[0] if all(name in m for m in measured)}


def _samples(facts: RunFacts, space: Space, history: History) -> np.ndarray:
    book = book_of(facts)
    usd = np.array([math.nan if book is None else _price(space[at], book) for at in range(len(space))])
    prior = kept_prior(facts.run)
    build = named(facts.study.searcher, None if prior is None else prior.surfaces)
    searcher = build(problem_of(facts.spec, space, usd))
    assert isinstance(searcher, PredictsValues), "those that predict gains predict values, of a space of this size"
    return searcher.predicted(history)


def _price(config: Config, book: PriceBook) -> float:
    try:
        return price(config, book)
    except NoPrice:
        return math.nan


def of_samples(values: np.ndarray, *, minimize: bool) -> Expected:
    """Return what samples of a configuration's value say.

    Args:
        values: `[S]` samples of the value that the searcher maximises; 0 or NaN where it does not count.
        minimize: whether that is the reciprocal of the goal's figure.
    """
    counting = values[np.isfinite(values) & (values > 0)]
    counts = counting.size / values.size
    if counts < _UNLIKELY:
        return Expected(None, counts)
    figures = 1 / counting if minimize else counting
    low, middle, high = (float(q) for q in np.quantile(figures, [0.025, 0.5, 0.975]))
    return Expected(Quantity(middle, low, high), counts)
