"""A discrete-event simulation of replicas that serve many models, each one request at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from benchmarks.transform.traces.invocations import Arrival
from serve_deployments.replicas.many.choosing.demand import MEMORY_S, Demands
from serve_deployments.replicas.many.choosing.state import Choice, Kind, Policy, Prices, ReplicaState, Situation


@dataclass(frozen=True)
class Cluster:
    """Where replicas can be.

    Args:
        room: node → largest number of replicas on it.
        slots: number of models that a replica can hold at a time.

    Raises:
        ValueError: there is room for no replica, or for no model.
    """

    room: Mapping[str, int]
    slots: int = 1

    def __post_init__(self) -> None:
        if not self.room or min(self.room.values()) < 1 or self.slots < 1:
            raise ValueError(f"nodes have room for one replica or more, and replicas for a model, got {self}")


@dataclass(frozen=True, slots=True)
class Served:
    """A request that was answered.

    Args:
        model: the model that it was for.
        arrived_s: when it came.
        begun_s: when the model began with it.
        done_s: when it was answered.
        kind: what was done for it.
        bytes_moved: bytes of weights that were read or copied for it.
        replica: name of the replica that answered.
    """

    model: str
    arrived_s: float
    begun_s: float
    done_s: float
    kind: Kind
    bytes_moved: int
    replica: str

    @property
    def service_s(self) -> float:
        """Seconds from its arrival to its answer."""
        return self.done_s - self.arrived_s


def simulate(
    arrivals: Iterable[Arrival],
    policy: Policy,
    prices: Prices,
    serve_s: Mapping[str, float],
    cluster: Cluster,
    memory_s: float = MEMORY_S,
) -> Iterator[Served]:
    """Serves the requests in order of their arrival; yields each with its times.

    What is done for a request is decided when it arrives, from the state at that time, and not changed afterwards. A
    replica does what it was given one after the other. It starts with no replica; none ends but to make room.

    Args:
        arrivals: the requests.
        policy: what is done for each.
        prices: what loading costs.
        serve_s: model → seconds that it takes for a request that does not say.
        cluster: where replicas can be.
        memory_s: see `Demand`.

    Raises:
        ValueError: the arrivals are not in order.
        RuntimeError: the policy chose what cannot be done.
    """
    replicas: dict[str, ReplicaState] = {}
    demands, last_s, started = Demands(0.0, memory_s), -math.inf, 0
    for arrival in arrivals:
        if arrival.at_s < last_s:
            raise ValueError(f"arrivals must be in order, and {arrival} comes after one at {last_s} s")
        last_s = now_s = arrival.at_s
        situation = _situation(now_s, replicas, cluster, demands)
        choice = policy.choose(arrival.model, situation, prices)
        if choice is None:
            raise RuntimeError(f"nothing was chosen for {arrival}")
        before = _replica_for(choice, arrival, situation, f"r{started}", cluster.slots)
        started += choice.kind == "start"
        replicas.pop(choice.replaces, None)
        begun_s = before.wait_s(now_s) + now_s + choice.price.seconds
        done_s = begun_s + (serve_s[arrival.model] if math.isnan(arrival.serve_s) else arrival.serve_s)
        replicas[before.name] = replace(
            before,
            held=before.after(arrival.model, choice.victim),
            free_at_s=done_s,
            known=before.known | {arrival.model},
        )
        demands.asked(arrival.model, now_s)
        yield Served(arrival.model, now_s, begun_s, done_s, choice.kind, choice.price.bytes_moved, before.name)


def _situation(now_s: float, replicas: Mapping[str, ReplicaState], cluster: Cluster, demands: Demands) -> Situation:
    now = tuple(replace(replica, busy=replica.free_at_s > now_s) for replica in replicas.values())
    room = {node: most - sum(replica.node == node for replica in now) for node, most in cluster.room.items()}
    return Situation(now_s, now, room, lambda model, within_s: demands.chance(model, now_s, within_s))


def _replica_for(choice: Choice, arrival: Arrival, situation: Situation, name: str, slots: int) -> ReplicaState:
    """The replica that is to serve, as it is before; raises RuntimeError where the choice cannot be done."""
    there = {replica.name: replica for replica in situation.replicas}
    if choice.kind == "start":
        old = there.get(choice.replaces)
        if old is not None and old.node == choice.node:
            return ReplicaState(name, choice.node, (), old.free_at_s, old.busy, slots)
        if choice.replaces or situation.room.get(choice.node, 0) < 1:
            raise RuntimeError(f"there is no room for {choice}")
        return ReplicaState(name, choice.node, slots=slots)
    replica = there.get(choice.replica)
    if replica is None or (choice.kind == "hit") != (arrival.model in replica.held):
        raise RuntimeError(f"{choice} for {arrival.model} does not fit {replica}")
    if choice.kind == "convert" and choice.victim is None and len(replica.held) >= replica.slots:
        raise RuntimeError(f"{replica} has no empty slot for {choice}")
    if choice.victim is not None and choice.victim not in replica.held:
        raise RuntimeError(f"{replica} does not hold what {choice} gives up")
    return replica
