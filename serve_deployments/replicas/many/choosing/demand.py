"""How likely a model is asked for soon, from its requests so far."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

MEMORY_S = 3600.0
"""Seconds after which a request counts for 1/e in the rate. Our choice: long beside the gaps of models that are worth a
replica, short beside the hours in which demand rises and falls within a day."""


@dataclass(frozen=True, slots=True)
class Demand:
    """The demand for one model, in which older requests count less.

    The rate is estimated with a Gamma prior of one request in `memory_s`. At time t, with requests at times t_i,

        S = sum_i exp(-(t - t_i) / memory_s),     W = memory_s (1 - exp(-(t - began_s) / memory_s)),
        rate ~ Gamma(1 + S, memory_s + W)          (shape, rate in seconds)

    which is the conjugate posterior where each request and each second of exposure is weighted by its age. Requests are
    Poisson given the rate, so that the number in the next h seconds is negative binomial, and

        P(at least one in h seconds) = 1 - ((memory_s + W) / (memory_s + W + h)) ** (1 + S).

    Args:
        began_s: since when the model is observed.
        weight: S at the time `as_of_s`.
        as_of_s: time up to which `weight` has faded.
        memory_s: seconds after which a request counts for 1/e.

    Raises:
        ValueError: the memory is not a positive number.
    """

    began_s: float
    weight: float = 0.0
    as_of_s: float = -math.inf
    memory_s: float = MEMORY_S

    def __post_init__(self) -> None:
        if not 0 < self.memory_s < math.inf:
            raise ValueError(f"the memory must be a positive number of seconds, got {self.memory_s}")

    def after(self, at_s: float) -> Self:
        """The demand after one more request at a time that is not earlier than the last."""
        return replace(self, weight=self._faded(at_s) + 1.0, as_of_s=at_s)

    def chance(self, now_s: float, within_s: float) -> float:
        """Probability of a request in the next `within_s` seconds."""
        exposure_s = self.memory_s * (1.0 - math.exp(-max(0.0, now_s - self.began_s) / self.memory_s))
        known_s = self.memory_s + exposure_s
        return 1.0 - (known_s / (known_s + within_s)) ** (1.0 + self._faded(now_s))

    def _faded(self, now_s: float) -> float:
        return self.weight * math.exp(-max(0.0, now_s - self.as_of_s) / self.memory_s) if self.weight else 0.0


class Demands:
    """The demand for each of many models; what has not been asked for yet has the prior.

    Args:
        began_s: since when they are observed.
        memory_s: see `Demand`.
    """

    def __init__(self, began_s: float, memory_s: float = MEMORY_S) -> None:
        self._none_yet = Demand(began_s, memory_s=memory_s)
        self._of: dict[str, Demand] = {}

    def asked(self, model: str, at_s: float) -> None:
        """Notes a request."""
        self._of[model] = self._of.get(model, self._none_yet).after(at_s)

    def chance(self, model: str, now_s: float, within_s: float) -> float:
        """See `Demand.chance`."""
        return self._of.get(model, self._none_yet).chance(now_s, within_s)

    def forget(self, model: str) -> None:
        """Forgets a model that is no longer served."""
        self._of.pop(model, None)
