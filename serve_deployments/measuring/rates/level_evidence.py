"""What the levels of a search show of the highest rate, where each of them counts once.

A level says something in two ways: by the number of its slow requests, and by how its requests compare with a simulated
queue under the same arrivals (`predicting.calibration`). Both rest on the same requests. Given the second, the first
says no more than how lucky the arrivals were, which is known: it is what the queue shows under them. So where the prior
of a limit comes from a queue that was compared with a level, the level's slow requests are not counted beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from serve_deployments.measuring.predicting.calibration import Arrived
from serve_deployments.measuring.statistics.limit_verdict import LimitEvidence
from serve_deployments.measuring.statistics.rate_posterior import RatePosterior, RatePrior, informative


@dataclass(frozen=True)
class LevelEvidence:
    """What one level shows of the highest rate.

    Args:
        rate_rps: rate of the level.
        seen: its evidence on each limit, in the order of the limits; None: there is none.
        cannot_rps: rates that the server was seen not to exceed.
        arrived: its requests, to compare a simulated queue with; None if it cannot be compared.
    """

    rate_rps: float
    seen: tuple[LimitEvidence | None, ...]
    cannot_rps: tuple[float, ...] = ()
    arrived: Arrived | None = None

    def added_to(self, posterior: RatePosterior, told: Sequence[bool] = ()) -> RatePosterior:
        """The posterior after this level.

        Args:
            posterior: the posterior before it.
            told: for each limit, whether the prior has what the level's requests show of it; by default of none.
        """
        told = told or (False,) * len(self.seen)
        seen = [
            None if known and one is not None and not one.certain else one
            for one, known in zip(self.seen, told, strict=True)
        ]
        posterior = posterior.after(self.rate_rps, seen)
        for rate_rps in self.cannot_rps:
            posterior = posterior.cannot(rate_rps)
        return posterior


def posterior_of(
    first: RatePosterior, levels: Sequence[LevelEvidence], priors: Sequence[RatePrior | None]
) -> RatePosterior:
    """The posterior of the highest rate after these levels.

    Args:
        first: the posterior before any of them.
        levels: what they show.
        priors: for each limit, the prior of a queue that was compared with those levels that can be; None: none.
    """
    posterior = first.with_priors(priors)
    told = [prior is not None for prior in informative(priors)]
    for level in levels:
        posterior = level.added_to(posterior, told if level.arrived is not None else ())
    return posterior
