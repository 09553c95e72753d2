"""What is known of replicas that serve many models, and what can be done for a request: the types of the choice."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Kind = Literal["hit", "convert", "start"]
"""A replica that holds the model serves it; one becomes the model first; or a new replica is started for it."""


@dataclass(frozen=True)
class ReplicaState:
    """A replica as it is now, with all that it has been given to do.

    Args:
        name: its name.
        node: name of its node.
        held: the models that it will hold once it has done what it was given, the least recently used first.
        free_at_s: when it has done all of that, as far as is known; for an idle replica, when its last request ended.
        busy: whether it still has something to do.
        slots: number of models that it can hold at a time.
        known: models that its process has held, whose structure it may have kept.

    Raises:
        ValueError: it holds more models than it can.
    """

    name: str
    node: str
    held: tuple[str, ...] = ()
    free_at_s: float = 0.0
    busy: bool = False
    slots: int = 1
    known: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if len(self.held) > self.slots or len(set(self.held)) != len(self.held):
            raise ValueError(f"replica {self.name} has room for {self.slots} different models, got {self.held}")

    def idle_s(self, now_s: float) -> float:
        """Seconds since its last request ended; negative while it is busy."""
        return -1.0 if self.busy else now_s - self.free_at_s

    def wait_s(self, now_s: float) -> float:
        """Seconds until it can begin something new."""
        return max(0.0, self.free_at_s - now_s) if self.busy else 0.0

    def after(self, wanted: str, victim: str | None) -> tuple[str, ...]:
        """The models that it holds once it has served a request for `wanted`, having given `victim` up for it."""
        return (*(model for model in self.held if model not in (wanted, victim)), wanted)


@dataclass(frozen=True)
class Price:
    """What it takes to have a model in a replica.

    Args:
        seconds: time.
        bytes_moved: bytes of weights that are read or copied for it.
        way: how, in a few words.

    Raises:
        ValueError: a figure is negative or no number.
    """

    seconds: float
    bytes_moved: int = 0
    way: str = ""

    def __post_init__(self) -> None:
        if not (0 <= self.seconds < math.inf and self.bytes_moved >= 0):
            raise ValueError(f"a price is a number of seconds and of bytes, each 0 or more, got {self}")


FREE = Price(0.0, way="held")
"""The price of a model that the replica holds."""


class Prices(Protocol):
    """What models cost to get. A model that is given up is one of those that the replica holds."""

    def convert(self, replica: ReplicaState, wanted: str, victim: str | None) -> Price:
        """Of the cheapest way for a live replica to hold `wanted`, in place of `victim` or, if None, beside others."""
        ...

    def start(self, wanted: str, node: str, replicas: Sequence[ReplicaState]) -> Price:
        """Of a new replica on a node that holds `wanted`, beside those that are there."""
        ...


@dataclass(frozen=True)
class Choice:
    """What is done for a request.

    Args:
        kind: see `Kind`.
        price: its price, without the time for which the replica is busy with other requests.
        replica: name of the replica; empty for a new one.
        victim: the model that the replica gives up; None if it has room, or held the model already.
        node: node of a new replica; empty otherwise.
        replaces: a replica that ends to make room for the new one; empty if there is room.
    """

    kind: Kind
    price: Price = FREE
    replica: str = ""
    victim: str | None = None
    node: str = ""
    replaces: str = ""


@dataclass(frozen=True)
class Situation:
    """What a choice is made from.

    Args:
        now_s: time in seconds.
        replicas: all replicas.
        room: node → number of replicas that can still be started there.
        chance_wanted: probability that a model is asked for in the next so many seconds: model, seconds → 0 to 1.
    """

    now_s: float
    replicas: tuple[ReplicaState, ...]
    room: Mapping[str, int] = field(default_factory=dict)
    chance_wanted: Callable[[str, float], float] = lambda model, within_s: 1.0

    @property
    def nodes_with_room(self) -> tuple[str, ...]:
        """The nodes on which a replica can be started, those with most room first."""
        return tuple(sorted((node for node, free in self.room.items() if free > 0), key=lambda n: (-self.room[n], n)))

    def holders(self, model: str) -> tuple[ReplicaState, ...]:
        """The replicas that hold a model."""
        return tuple(replica for replica in self.replicas if model in replica.held)


class Policy(Protocol):
    """A rule for what is done for a request. It is a function of the situation."""

    def choose(self, wanted: str, situation: Situation, prices: Prices) -> Choice | None:
        """What is done for a request for `wanted`; None if nothing can be: there is no replica and no room for one."""
        ...
