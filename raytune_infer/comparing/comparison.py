"""Result of the final comparison: the first configuration, those indistinguishable from it, the recommended one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from raytune_infer.comparing.blocks import Blocks, Estimate, NoisePrior, fit
from raytune_infer.comparing.means import mean_over_rounds
from raytune_infer.comparing.rounds import Round, in_rounds
from raytune_infer.store.records import TrialRecord
from searchers.objective import Objective
from searchers.quantities import PRICE
from serve_deployments.metrics.answers.agreement import AnswerAgreement, over_rounds
from serve_deployments.metrics.metric_table import metric_of

MISSES = 2
"""A configuration that breaks a limit in this many rounds leaves the comparison. Our choice: the p99 of one level may
break its limit by chance, but hardly that of two."""


USUAL = NoisePrior(sigma=0.05, freedom=1.0)
"""Prior for the noise. Our choice: ten load tests of 7 to 12 s on one warm replica had a standard deviation of 4 to 8 %
(benchmarks/measuring/RESULTS.md, Repeatability). It counts as one degree of freedom (our choice): two rounds of two
configurations can then tell a ratio of 1.3 from 1, and on a machine with three times the usual noise more than nine in
ten intervals still hold, whatever the number of rounds; with four degrees it was as few as three in four."""

PRELIMINARY = replace(USUAL, freedom=2.0)
"""The same until the comparison is over. Our choice: one measurement of two or three configurations each then tells a
ratio of 2 from 1, and with thrice the usual noise its interval still holds in more than eight of ten cases."""

EXACT = NoisePrior(sigma=0.0, freedom=1.0, drifts=False)
"""Prior for what is not measured: prices. One degree of freedom, the least that gives an interval, as there is no noise
to estimate."""

ANSWERED = NoisePrior(drifts=False)
"""Prior for what is counted in answers: no load moves it, and every round asks the same samples anew. So the rounds
alone show how far it varies: not at all for a model that repeats its answers."""


@dataclass(frozen=True, eq=False)
class Contestant:
    """One configuration in the comparison.

    Args:
        position: its number in the space.
        trials: its trials, one per round; at least one.
        falls_short: whether its mean over the rounds is below a lower bound on a rate.

    Raises:
        ValueError: there is no trial.
    """

    position: int
    trials: tuple[TrialRecord, ...]
    falls_short: bool = False

    def __post_init__(self) -> None:
        if not self.trials:
            raise ValueError(f"configuration {self.position} was not measured, so it takes no part")

    @property
    def kept(self) -> int:
        """Number of its rounds in which it ran and kept every limit."""
        return sum(t.value is not None for t in self.trials)

    @property
    def out(self) -> bool:
        """Whether it has left the comparison: it could not run once, or broke a limit twice."""
        return any(t.outcome.metrics is None for t in self.trials) or len(self.trials) - self.kept >= MISSES

    @property
    def counts(self) -> bool:
        """Whether it may be recommended: it is not out, kept the limits in most rounds, and does not fall short."""
        return not self.out and 2 * self.kept > len(self.trials) and not self.falls_short

    @property
    def answers(self) -> AnswerAgreement | None:
        """How its answers agree with the reference's, over all rounds; None where it was not asked."""
        return over_rounds([t.outcome.answers for t in self.trials if t.outcome.answers is not None])

    @property
    def usd_per_hour(self) -> float:
        """Price of the configuration in US dollars per hour; NaN where unknown."""
        return self.trials[0].usd_per_hour


@dataclass(frozen=True, eq=False)
class Comparison:
    """The final comparison as far as it has come.

    All intervals of comparisons with one configuration hold jointly with 95 % confidence. With that confidence, the
    first and the configurations that cannot be told apart from it contain the true best: selecting the apparent best
    does not spoil that (Hsu, Multiple Comparisons: Theory and Methods, 1996, ch. 4; his one-sided bounds are narrower
    than ours).

    Args:
        by_round: the trials of each round, an unfinished one included. Of a comparison that is not over, the
            measurements of the search come first, as if they were a round (`compared`).
        contestants: all that took part: those that count, the best mean first, then the others.
        default: position of the configuration to beat; None if it does not fit on this cluster.
        blocks: the model fitted to those that count, in their order; None if none does.
        preliminary: whether measurements of the search are among those of the rounds.
    """

    by_round: tuple[Round, ...]
    contestants: tuple[Contestant, ...]
    default: int | None
    blocks: Blocks | None
    preliminary: bool = False

    @property
    def rounds(self) -> int:
        """Number of rounds, an unfinished one included."""
        return len(self.by_round) - self.preliminary

    @cached_property
    def counting(self) -> tuple[Contestant, ...]:
        """The contestants that count, the best mean first."""
        return tuple(c for c in self.contestants if c.counts)

    @property
    def first(self) -> Contestant | None:
        """The contestant with the best mean; None if none counts."""
        return self.counting[0] if self.counting else None

    @cached_property
    def alike(self) -> tuple[Contestant, ...]:
        """The first and those that cannot be told apart from it, the best mean first; empty if none counts.

        A contestant without a finite interval is left out, as nothing can be said about it.
        """
        if self.first is None:
            return ()
        over = [(c, self.ratio(self.first, c)) for c in self.counting]
        return tuple(c for c, ratio in over if ratio.bounded and ratio.contains(1))

    @property
    def recommended(self) -> Contestant | None:
        """The one to run; None if none counts.

        The default, unless the first is certainly better: there is no reason to change what cannot be told from the
        best. Otherwise the cheapest of `alike` that are certainly better than the default; of equally cheap ones that
        with the best mean.
        """
        default = self.default_that_counts
        if default is not None and not self.better(self.counting[0], default):
            return default
        better = [c for c in self.alike if default is None or self.better(c, default)]
        # An unknown price ranks last.
        return min(better, key=lambda c: math.inf if math.isnan(c.usd_per_hour) else c.usd_per_hour, default=None)

    @property
    def default_that_counts(self) -> Contestant | None:
        """The default, if it takes part and counts."""
        default = self.of(self.default)
        return default if default is not None and default.counts else None

    def better(self, contestant: Contestant, default: Contestant) -> bool:
        """Return whether a contestant is certainly better than the default; not where nothing bounds their ratio."""
        ahead = self.counting.index(contestant) < self.counting.index(default)
        return ahead and not self.ratio(contestant, default).contains(1)

    def mean_of(self, metric: str, contestant: Contestant) -> Estimate | None:
        """Geometric mean of a metric over the rounds, by the same model as that of the goal.

        Args:
            metric: a rate or a time; the usual noise is that of rates, so intervals of others are too narrow.
            contestant: one that counts.

        Returns:
            The mean; None if one of the contestants that count has no positive value.
        """
        values = [[_positive(r.get(c.position), metric) for r in self.by_round] for c in self.counting]
        if not all(any(value > 0 for value in row) for row in values):
            return None
        return fit(np.array(values), USUAL).mean(self.counting.index(contestant))

    def mean(self, contestant: Contestant) -> Estimate:
        """Geometric mean of the goal's figure, for a contestant that counts."""
        assert self.blocks is not None, "somebody counts"
        return self.blocks.mean(self.counting.index(contestant))

    def ratio(self, numerator: Contestant, denominator: Contestant) -> Estimate:
        """Ratio of the goal's figures, for two contestants that count."""
        assert self.blocks is not None, "somebody counts"
        if numerator is denominator:
            return Estimate(1.0, 1.0, 1.0)
        places = [self.counting.index(c) for c in (numerator, denominator)]
        return self.blocks.ratio(*places, comparisons=len(self.counting) - 1)

    @property
    def over_default(self) -> Estimate | None:
        """Ratio of the recommended one's figure to the default's; None if the default, or no contestant, counts."""
        default = self.default_that_counts
        if self.recommended is None or default is None:
            return None
        return self.ratio(self.recommended, default)

    def of(self, position: int | None) -> Contestant | None:
        """Return the contestant at a position; None if that configuration took no part."""
        return next((c for c in self.contestants if c.position == position), None)

    def clear(self, within: float) -> bool:
        """Whether more rounds would show nothing that matters.

        By its interval, each of the others is worse than the first, or equal to it within a factor of `1 + within`.
        """
        ratios = [self.ratio(self.counting[0], c) for c in self.counting[1:]]
        return all(not ratio.contains(1) or ratio.within(within) for ratio in ratios)


def compared(
    trials: Sequence[TrialRecord],
    objective: Objective,
    default: int | None,
    searched: Sequence[TrialRecord] = (),
) -> Comparison:
    """Evaluate the final comparison as far as it has come.

    One that is not over knows little by itself: its first round gives no interval that tells a ratio of two from one.
    So what the search has measured of the same configurations counts as a round before the first, until it is over.
    From then on it does not, as the best of many noisy values of a search is too high.

    A round in which a configuration broke a limit gives it no figure: a rate at which a limit is broken is not ranked.
    A lower bound on a rate is for the mean of the rounds: without the rounds below it, the mean would be too high.

    Args:
        trials: trials of a study; those of its search are ignored.
        objective: the objective whose figures are compared.
        default: position of the configuration to beat.
        searched: trials of the search, one of a configuration, that count as a round; none for one that is over.
    """
    bounds = {name: bound for name, bound in objective.at_least.items() if _moves_with_load(name)}
    in_a_round = replace(objective, at_least={n: b for n, b in objective.at_least.items() if n not in bounds})
    rounds = in_rounds([judged(t, in_a_round) for t in trials] if bounds else trials)
    if searched:
        rounds = ({t.position: judged(t, in_a_round) if bounds else t for t in searched}, *rounds)
    everyone = [
        _contestant(position, tuple(r[position] for r in rounds if position in r), bounds)
        for position in dict.fromkeys(p for r in rounds for p in r)
    ]
    counting = [c for c in everyone if c.counts]
    known = PRELIMINARY if searched and _prior(objective) is USUAL else _prior(objective)
    if not counting:
        return Comparison(rounds, tuple(everyone), default, None, bool(searched))
    figures = np.array([[_figure(r.get(c.position), objective) for r in rounds] for c in counting])
    order = np.argsort(fit(figures, known).mu * (1 if objective.minimize else -1), kind="stable")
    best_first = tuple(counting[i] for i in order)
    others = tuple(c for c in everyone if not c.counts)
    return Comparison(rounds, best_first + others, default, fit(figures[order], known), bool(searched))


def judged(trial: TrialRecord, objective: Objective) -> TrialRecord:
    """Return a trial with its value under an objective, at the price that the trial has."""
    return replace(trial, value=objective.value(trial.outcome.metrics, trial.usd_per_hour))


def _contestant(position: int, trials: tuple[TrialRecord, ...], bounds: Mapping[str, float]) -> Contestant:
    """Return a contestant, and whether its mean falls short of one of these lower bounds on rates."""
    kept = [t for t in trials if t.value is not None]
    means = {name: mean_over_rounds(name, [t.metrics.get(name, math.nan) for t in kept]) for name in bounds}
    return Contestant(position, trials, any(not mean >= bounds[name] for name, mean in means.items()))


def _moves_with_load(name: str) -> bool:
    metric = metric_of(name)
    return metric is not None and not metric.of_answers


def _prior(objective: Objective) -> NoisePrior:
    """Return what is known of the goal's figures beforehand, by what they are made of."""
    measured = [metric for name in objective.goal.names - {PRICE} if (metric := metric_of(name)) is not None]
    if not all(metric.of_answers for metric in measured):
        return USUAL
    return ANSWERED if measured else EXACT


def _figure(trial: TrialRecord | None, objective: Objective) -> float:
    if trial is None or trial.value is None:
        return math.nan
    return objective.figure(trial.metrics, trial.usd_per_hour)


def _positive(trial: TrialRecord | None, metric: str) -> float:
    """Return a metric of a round that kept the limits; NaN where there is no positive one."""
    value = math.nan if trial is None or trial.value is None else trial.metrics.get(metric, math.nan)
    return value if value > 0 else math.nan
