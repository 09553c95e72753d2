"""Policies of other systems, each as a function of the situation."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serve_deployments.replicas.many.choosing.cheapest_conversion import IDLE_S
from serve_deployments.replicas.many.choosing.state import Choice, Prices, ReplicaState, Situation


@dataclass(frozen=True)
class ColdReplica:
    """A new replica for each model that no idle one holds, as OpenWhisk does with containers.

    Where there is no room the replica that has been idle for longest ends, and where none is idle the request waits for
    one that holds the model, or else for the first that is free to end. With prices that share tensors it is Tetris,
    whose new instances map what is on the node.
    """

    def choose(self, wanted: str, situation: Situation, prices: Prices) -> Choice | None:
        """See `Policy.choose`."""
        if (hit := _idle_holder(wanted, situation)) is not None:
            return hit
        if nodes := situation.nodes_with_room:
            return Choice("start", prices.start(wanted, nodes[0], situation.replicas), node=nodes[0])
        idle = [replica for replica in situation.replicas if not replica.busy]
        if not idle and (holders := situation.holders(wanted)):
            return Choice("hit", replica=_earliest(holders, situation).name)
        if not situation.replicas:
            return None
        ends = _longest_idle(idle) if idle else _earliest(situation.replicas, situation)
        rest = [replica for replica in situation.replicas if replica.name != ends.name]
        return Choice("start", prices.start(wanted, ends.node, rest), node=ends.node, replaces=ends.name)


@dataclass(frozen=True)
class ContainerSharing:
    """A replica that has been idle for a while is taken by another model, whose process it then is (Pagurus).

    The process is kept, and the model loaded from scratch. Otherwise as `ColdReplica`.

    Args:
        idle_s: seconds without a request after which a replica may be taken.
    """

    idle_s: float = IDLE_S

    def choose(self, wanted: str, situation: Situation, prices: Prices) -> Choice | None:
        """See `Policy.choose`."""
        if (hit := _idle_holder(wanted, situation)) is not None:
            return hit
        lenders = [r for r in situation.replicas if wanted not in r.held and r.idle_s(situation.now_s) >= self.idle_s]
        if lenders:
            return _loaded(wanted, _longest_idle(lenders), prices)
        return ColdReplica().choose(wanted, situation, prices)


@dataclass(frozen=True)
class ServeMultiplexing:
    """Ray Serve's own multiplexing: warm processes, models by `@serve.multiplexed`, the least recently used given up.

    As its router does (2.60, `pow_2_router.py`): of the replicas that hold the model the one with the shorter queue;
    else, of those with the fewest models, the one with the shorter queue of two that are drawn at random. All replicas
    are started before one has to give a model up.
    """

    def choose(self, wanted: str, situation: Situation, prices: Prices) -> Choice | None:
        """See `Policy.choose`; the draw follows from the time and the model."""
        if holders := situation.holders(wanted):
            return Choice("hit", replica=_earliest(holders, situation).name)
        if nodes := situation.nodes_with_room:
            return Choice("start", prices.start(wanted, nodes[0], situation.replicas), node=nodes[0])
        if not situation.replicas:
            return None
        fewest = min(len(replica.held) for replica in situation.replicas)
        among = [replica for replica in situation.replicas if len(replica.held) == fewest]
        rng = np.random.default_rng([*wanted.encode(), *struct.pack("<d", situation.now_s)])
        drawn = rng.permutation(len(among))[:2]
        return _loaded(wanted, _earliest([among[i] for i in drawn], situation), prices)


@dataclass(frozen=True)
class LeastRecentlyUsed:
    """Warm processes, of which the one that has been idle for longest takes the model, and gives its oldest up.

    With prices that share skeletons it is the warm process with cached structures and mapped weights: what a careful
    user builds without a planner.
    """

    def choose(self, wanted: str, situation: Situation, prices: Prices) -> Choice | None:
        """See `Policy.choose`."""
        if (hit := _idle_holder(wanted, situation)) is not None:
            return hit
        if nodes := situation.nodes_with_room:
            return Choice("start", prices.start(wanted, nodes[0], situation.replicas), node=nodes[0])
        others = [replica for replica in situation.replicas if wanted not in replica.held]
        if idle := [replica for replica in others if not replica.busy]:
            return _loaded(wanted, _longest_idle(idle), prices)
        if holders := situation.holders(wanted):
            return Choice("hit", replica=_earliest(holders, situation).name)
        return _loaded(wanted, _earliest(others, situation), prices) if others else None


def _idle_holder(wanted: str, situation: Situation) -> Choice | None:
    idle = [replica for replica in situation.holders(wanted) if not replica.busy]
    return Choice("hit", replica=max(idle, key=lambda r: (r.free_at_s, r.name)).name) if idle else None


def _longest_idle(replicas: Sequence[ReplicaState]) -> ReplicaState:
    return min(replicas, key=lambda replica: (replica.free_at_s, replica.name))


def _earliest(replicas: Sequence[ReplicaState], situation: Situation) -> ReplicaState:
    return min(replicas, key=lambda replica: (replica.wait_s(situation.now_s), replica.name))


def _loaded(wanted: str, replica: ReplicaState, prices: Prices) -> Choice:
    victim = replica.held[0] if len(replica.held) >= replica.slots else None
    return Choice("convert", prices.convert(replica, wanted, victim), replica=replica.name, victim=victim)
