"""The posterior of the rate from which on a limit is broken, updated by every level, however far from that rate.

Deciding each level on its own wastes the evidence of the others: near the limit no level of a few seconds can
distinguish 1 % of slow requests from 2 %. So all levels contribute to one estimate, as in the adaptive measurement of a
threshold (QUEST: Watson and Pelli, Perception & Psychophysics 33, 1983): a joint posterior of the rate R at which the
share of requests above the limit is the share allowed, and of how steeply that share rises, with the likelihood of each
level; the next level is held where R probably is.

In an M/M/1 queue of capacity C a latency is above t with probability exp(-(C - r) t) at a rate r. If that is the share
s at R, its logarithm rises there by log(1 / s) a for a rate that is e times as high, and the logarithm of the mean
latency by a, where the steepness a is R / (C - R): 1 at half load, 4 at four fifths. Other queues are steeper or
flatter, so a is unknown, with a prior over a few values.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from scipy.special import expit, logsumexp, softmax

from serve_deployments.measuring.statistics.limit_verdict import LimitEvidence

_STEEPNESS = 2.0 ** np.arange(-1, 6)
"""Possible values of the steepness a: from a third of the capacity to 97 % of it."""

_WIDTH = math.log(1.5)
"""Width, in logarithm, of the prior around the first estimate: a factor of 1.5 either way. Our choice; the tails are
those of a Cauchy distribution, so that an estimate that is far off is soon overruled."""

_TAILS = 4  # degrees of freedom; our choice: one prior in ten is off by more than two standard deviations
_EDGE = 0.1  # relative standard deviation of a ceiling (our choice)
_SURPRISE = 1e3  # how many times less likely a rate far above the ceiling is, so that levels can still show it
_STEP = 0.01  # relative distance between the rates of the grid: a fifth of the usual precision
_REACH = 64.0  # highest rate of the grid relative to the first estimate
_DOUBT = 0.02  # probability that a level which certainly failed says nothing: an accidental overload (our choice)


@dataclass(frozen=True)
class RatePrior:
    """The prior of one limit before any level near it.

    Args:
        rate_rps: most probable rate from which on the limit is broken.
        spread: standard deviation of the logarithm of that rate.
        steepness: the most probable steepness a.
    """

    rate_rps: float
    spread: float
    steepness: float


@dataclass(frozen=True)
class RatePosterior:
    """The posterior of the rate from which on at least one limit is broken.

    Requests come in bursts, so that n of them count as n / D independent ones. D is that of all levels together: with
    its own D, a level in which a burst happened, and so many requests above the limit, would count less than a luckier
    one, and the estimated rate would be too high.

    Args:
        rates: `[m]` possible rates, ascending.
        log_prior: `[limits, m, a]` log prior of each rate and steepness, for each limit; up to a constant per limit,
            like the next two.
        log_shown: `[limits, m, a]` log-likelihood of evidence that is no count of requests: means, and rates that the
            server cannot reach.
        log_counted: `[limits, m, a]` log-likelihood of the counted requests, as if they were independent.
        counted: `[limits]` number of these requests.
        independent: `[limits]` the same number, with each level's divided by its own D.
        ceiling_rps: rate that the server probably cannot reach; infinity if none is known.
    """

    rates: np.ndarray
    log_prior: np.ndarray
    log_shown: np.ndarray
    log_counted: np.ndarray
    counted: np.ndarray
    independent: np.ndarray
    ceiling_rps: float = math.inf

    @classmethod
    def about(cls, first_rps: float, limits: int, *, floor_rps: float, ceiling_rps: float = math.inf) -> Self:
        """The prior before any level.

        Args:
            first_rps: first estimate of the rate.
            limits: number of limits.
            floor_rps: lowest rate of interest.
            ceiling_rps: rate that the server probably cannot reach.
        """
        low, high = math.log(min(floor_rps, first_rps)), math.log(first_rps * _REACH)
        rates = np.exp(np.arange(low, high, _STEP))
        log_rough = -np.log1p((np.log(rates / first_rps) / _WIDTH) ** 2)
        beyond = np.log(np.maximum(rates / ceiling_rps, 1.0)) / _EDGE
        log_ceiling = -np.minimum(beyond**2 / 2, math.log(_SURPRISE))
        log_prior, log_shown = (
            np.tile(column[:, None], (limits, 1, _STEEPNESS.size)) for column in (log_rough, log_ceiling)
        )
        return cls(
            rates, log_prior, log_shown, np.zeros_like(log_shown), np.zeros(limits), np.zeros(limits), ceiling_rps
        )

    def after(self, rate_rps: float, seen: Sequence[LimitEvidence | None]) -> Self:
        """The posterior after a level.

        Args:
            rate_rps: rate of the level.
            seen: its evidence on each limit, in the order of the limits; None: there is none.
        """
        out = replace(
            self, log_shown=self.log_shown.copy(), log_counted=self.log_counted.copy(), counted=self.counted.copy(),
            independent=self.independent.copy(),
        )  # fmt: skip
        for limit, one in zip(range(len(self.counted)), seen, strict=True):
            if one is None:
                continue
            if one.certain or one.share is None:
                out.log_shown[limit] += self._of(rate_rps, one)
            else:
                out.log_counted[limit] += self._of(rate_rps, one)
                out.counted[limit] += one.count
                out.independent[limit] += one.count / one.effect
        return out

    def cannot(self, rate_rps: float) -> Self:
        """The posterior after observing that the server cannot answer more than this rate."""
        return replace(self, log_shown=self.log_shown + math.log(_DOUBT) * (self.rates > rate_rps)[:, None])

    def with_priors(self, priors: Sequence[RatePrior | None]) -> Self:
        """The posterior with other priors, one for each limit; unchanged if none is narrower than the first prior.

        The tails are those of Student's t with `_TAILS` degrees of freedom: a prior may be far off, but seldom is. A
        limit without a prior of its own (on errors) is assumed to be broken anywhere from the lowest prior's rate on,
        as a server that fails requests is mostly overloaded.
        """
        sure = informative(priors)
        lowest = min((prior for prior in sure if prior is not None), key=lambda prior: prior.rate_rps, default=None)
        if lowest is None:
            return self
        log_prior = np.empty_like(self.log_prior)
        for limit, prior in enumerate(sure):
            off = np.log(self.rates / (prior or lowest).rate_rps) / (prior or lowest).spread
            log_prior[limit] = _log_t(off if prior else np.minimum(off, 0.0))[:, None]
            if prior is not None:
                log_prior[limit] -= np.log2(_STEEPNESS / prior.steepness) ** 2 / 2
        return replace(self, log_prior=log_prior)

    def quantile(self, probability: float) -> float:
        """The rate below which the true rate is with this probability."""
        return float(np.interp(probability, self._cumulated, self.rates))

    @property
    def spread(self) -> float:
        """Standard deviation of the rate's logarithm: half the distance from its 16 % to its 84 % quantile."""
        return math.log(self.quantile(0.8413) / self.quantile(0.1587)) / 2

    def below(self, rate_rps: float) -> float:
        """Probability that the true rate is below this one."""
        return float(np.interp(rate_rps, self.rates, self._cumulated))

    @property
    def floor_rps(self) -> float:
        """Lowest rate of interest."""
        return float(self.rates[0])

    def at_floor(self, precision: float) -> bool:
        """Whether even the lowest rate of interest probably breaks a limit."""
        return self.below(self.floor_rps * (1 + precision)) > 0.5

    @property
    def steepness(self) -> np.ndarray:
        """`[limits, a]` posterior probability of each steepness, whatever the rate."""
        return np.asarray(softmax(logsumexp(self._log_posterior, axis=1), axis=1))

    def with_steepness(self, weights: np.ndarray) -> Self:
        """The posterior where the steepness has these probabilities, whatever these levels say of it.

        Of a given steepness, fewer requests above a limit never make a lower rate more likely. So with the same
        weights, a looser limit has no lower rate; without them, its levels may say another steepness, and it may.

        Args:
            weights: `[limits, a]` positive probabilities, of sum 1 for each limit.
        """
        known = np.log(weights) - logsumexp(self._log_posterior, axis=1)
        return replace(self, log_prior=self.log_prior + known[:, None, :])

    @cached_property
    def _log_posterior(self) -> np.ndarray:
        """`[limits, m, a]` log posterior of each rate and steepness, for each limit; up to a constant per limit."""
        weight = np.where(self.counted > 0, self.independent / np.maximum(self.counted, 1.0), 1.0)  # 1 / D
        return np.asarray(self.log_prior + self.log_shown + self.log_counted * weight[:, None, None])

    @cached_property
    def _cumulated(self) -> np.ndarray:
        """`[m]` posterior probability that some limit is broken at each rate: 1 minus that of all limits being kept."""
        by_rate = logsumexp(self._log_posterior, axis=2)
        mass = np.exp(by_rate - by_rate.max(axis=1, keepdims=True))
        up_to = np.cumsum(mass, axis=1) / mass.sum(axis=1, keepdims=True)
        return np.asarray(1 - np.prod(1 - up_to, axis=0))

    def _of(self, rate_rps: float, seen: LimitEvidence) -> np.ndarray:
        """`[m, a]` log-likelihood of a level's evidence on a limit that is broken from each of the rates on."""
        rise = np.log(rate_rps / self.rates)[:, None] * _STEEPNESS
        if seen.certain:
            return math.log(_DOUBT) * (rise < 0)
        if seen.share is None:
            return np.asarray(-0.5 * ((seen.log_ratio - rise) / seen.error) ** 2)
        odds = math.log(seen.share / (1 - seen.share)) - math.log(seen.share) * rise
        above = np.clip(expit(odds), 1e-6, 1 - 1e-6)
        return np.asarray(seen.above * np.log(above) + (seen.count - seen.above) * np.log1p(-above))


def informative(priors: Sequence[RatePrior | None]) -> list[RatePrior | None]:
    """The priors that are used, None for the others: those that are narrower than the first prior."""
    return [prior if prior is not None and prior.spread < _WIDTH else None for prior in priors]


def _log_t(x: np.ndarray) -> np.ndarray:
    """Log density of Student's t distribution, up to a constant."""
    return np.asarray(-(_TAILS + 1) / 2 * np.log1p(x**2 / _TAILS))
