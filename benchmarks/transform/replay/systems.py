"""The systems that are compared: a policy, and what it shares when it loads."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.transform.replay.baselines import ColdReplica, ContainerSharing, LeastRecentlyUsed, ServeMultiplexing
from benchmarks.transform.replay.costs import Costs, SharedPrices, Sharing
from serve_deployments.replicas.many.choosing.cheapest_conversion import CheapestConversion
from serve_deployments.replicas.many.choosing.state import Policy


@dataclass(frozen=True)
class System:
    """One way to serve many models.

    Args:
        name: what it is called in the table.
        policy: what it does for a request.
        sharing: what it has at hand when it loads a model.
    """

    name: str
    policy: Policy
    sharing: Sharing

    def prices(self, costs: Costs, naive: bool = False) -> SharedPrices:
        """Its prices, with the best load or the naive one."""
        return SharedPrices(costs, self.sharing, naive)


OURS = "conversion"
MULTIPLEX = "Serve multiplexing, LRU"


def systems(idle_s: float) -> tuple[System, ...]:
    """All of them; with conversions after `idle_s` seconds, and at any time."""
    return (
        System("cold replica (OpenWhisk)", ColdReplica(), "nothing"),
        System("container sharing (Pagurus)", ContainerSharing(idle_s), "nothing"),
        System("tensor sharing (Tetris)", ColdReplica(), "tensors"),
        System(MULTIPLEX, ServeMultiplexing(), "nothing"),
        System("warm process, LRU, from scratch", LeastRecentlyUsed(), "nothing"),
        System("warm process, LRU, cached skeleton", LeastRecentlyUsed(), "skeletons"),
        System(OURS, CheapestConversion(idle_s), "conversion"),
        System("conversion, LRU", LeastRecentlyUsed(), "conversion"),
    )
