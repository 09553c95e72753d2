"""The rate from which on a configuration breaks limits, by all of its levels together: the posterior of a trial.

No single level decides, so one that kept a limit by luck moves the rate by no more than its requests are worth beside
those of the others; and the rate is a function of the limit without jumps that never falls as the limit is loosened.

A trial knew more than its levels keep: the order of its requests, how its batches queue, what the final comparison
found. So the rate that the run found under its own limits stands, and the levels say by what factor another limit
changes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from raytune_infer.ranking.level_evidence import level_evidence
from serve_deployments.measuring.rates.probe import SLOWEST
from serve_deployments.measuring.statistics.rate_posterior import RatePosterior
from serve_deployments.metrics.level_result import LevelResult, check_around

_EFFECTS = tuple(2.0**i for i in range(9))
"""Numbers of requests that may count as one independent request: up to 256, a large batch."""

_DOUBTED = 0.1
"""Part of the steepness under other limits that may be any, as it differs from that under the run's own. Our choice."""


@dataclass(frozen=True)
class FoundRate:
    """The rate that the run found for a configuration under its own limits.

    Args:
        rate_rps: the rate in requests/s.
        interval_rps: its 95 % interval; None where none is known.
    """

    rate_rps: float
    interval_rps: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_around(self.rate_rps, self.interval_rps)


@dataclass(frozen=True)
class BreakingRate:
    """Where one configuration breaks limits.

    Args:
        levels: its open levels, from all trials; at least one.
        held_under: the run's own limits: metric → largest value allowed; at least one.
        found: the rate that the run found under them; None if it found none.
        ceiling_rps: what the replica can do at most, whatever the limits; infinity if it is not known.
    """

    levels: Sequence[LevelResult]
    held_under: Mapping[str, float]
    found: FoundRate | None = None
    ceiling_rps: float = math.inf

    def under(
        self, at_most: Mapping[str, float], silent: Sequence[LevelResult] = ()
    ) -> tuple[float, tuple[float, float] | None]:
        """Return the rate in requests/s from which on one of these limits is broken, and its 95 % interval.

        Args:
            at_most: metric → largest value allowed; at least one.
            silent: overloaded levels that say nothing of these limits.
        """
        here = self._posterior(at_most, self._effect, silent).with_steepness(self._steepness(at_most))
        middle, own = here.quantile(0.5), self._own
        if self.found is None:
            return middle, None
        rate_rps = self.found.rate_rps * middle / own.quantile(0.5)
        if self.found.interval_rps is None:
            return rate_rps, None
        # As wide as under the run's own limits, or wider where the levels say less of these.
        ends = [
            end / self.found.rate_rps * wider(1.0, here.quantile(q) / middle / (own.quantile(q) / own.quantile(0.5)))
            for end, q, wider in zip(self.found.interval_rps, (0.025, 0.975), (min, max), strict=True)
        ]
        return rate_rps, (rate_rps * ends[0], rate_rps * ends[1])

    @cached_property
    def _own(self) -> RatePosterior:
        """What the levels say of the run's own limits."""
        posterior = self._posterior(self.held_under, self._effect)
        return posterior.with_steepness(self._steepness(self.held_under))

    @cached_property
    def _effect(self) -> float:
        """Number of requests that count as one: the least with which the levels are no surer than the run was."""
        if self.found is None or self.found.interval_rps is None:
            return _EFFECTS[0]
        low, high = self.found.interval_rps
        for effect in _EFFECTS:
            own = self._posterior(self.held_under, effect)
            if own.quantile(0.975) * low >= own.quantile(0.025) * high:
                return effect
        return _EFFECTS[-1]

    def _steepness(self, at_most: Mapping[str, float]) -> np.ndarray:
        """`[limits, a]` how steeply each limit is probably broken: as under the run's own, which were measured best."""
        own = dict(zip(self.held_under, self._own_steepness, strict=True))
        known = np.array([own.get(name, self._own_steepness.mean(axis=0)) for name in at_most])
        return np.asarray((1 - _DOUBTED) * known + _DOUBTED / known.shape[1])

    @cached_property
    def _own_steepness(self) -> np.ndarray:
        return self._posterior(self.held_under, self._effect).steepness

    def _posterior(
        self, at_most: Mapping[str, float], effect: float, silent: Sequence[LevelResult] = ()
    ) -> RatePosterior:
        asked = [level.asked for level in self.levels]
        # A first estimate that is the same for all limits: between the lowest and the highest load.
        posterior = RatePosterior.about(
            float(np.sqrt(min(asked) * max(asked))), len(at_most), floor_rps=SLOWEST * min(asked),
            ceiling_rps=self.ceiling_rps,
        )  # fmt: skip
        for level in self.levels:
            if not level.overloaded:
                seen = [level_evidence(level, name, limit, effect) for name, limit in at_most.items()]
                posterior = posterior.after(level.asked, seen)
            elif not any(level is one for one in silent):
                posterior = posterior.cannot(level.achieved_rps)
        return posterior
