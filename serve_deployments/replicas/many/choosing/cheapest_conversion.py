"""The policy: an idle replica becomes the wanted model, the one whose conversion costs least now and later."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from serve_deployments.replicas.many.choosing.state import Choice, Prices, ReplicaState, Situation

IDLE_S = 60.0
"""Seconds without a request after which a replica may become another model (Optimus, EuroSys 2024)."""

HORIZON_S = 600.0
"""Seconds ahead for which it counts that a model may be asked for again. Our choice: for about as long does the next
request for a rare model stay away (10^-2.5 per second in the paper: five minutes)."""


@dataclass(frozen=True)
class CheapestConversion:
    """What is done for a request, by time until the model is there and what its absence elsewhere will cost.

    A replica that holds the model and is idle serves it; of several, the one that was used last, so that the timers of
    the others go on. Otherwise that is done for which

        wait_s + price_s + P(victim wanted within horizon_s) * price_back_s                                         (1)

    is least: waiting for a busy replica that holds the model; a conversion of a replica that has been idle for
    `idle_s`, or has an empty slot; or a new replica, where there is room. The last term is what it will cost to bring
    the model that is given up back into the same replica, and is 0 if another replica holds it too. Where none of these
    can be done, a replica that is idle for less time is converted, for the alternative is to end it; and where none is
    idle, a busy one, after its requests.

    Args:
        idle_s: seconds without a request after which a replica may be converted although there is room for another.
        horizon_s: seconds ahead in equation (1).
        home: model → node whose replicas it is to be served by, as `placed` gives; others serve it only where that node
            has neither a replica nor room. A model that is not in it has no home.

    Raises:
        ValueError: a time is negative or no number.
    """

    idle_s: float = IDLE_S
    horizon_s: float = HORIZON_S
    home: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (0 <= self.idle_s < math.inf and 0 <= self.horizon_s < math.inf):
            raise ValueError(f"idle_s and horizon_s are seconds, 0 or more, got {self.idle_s} and {self.horizon_s}")

    def choose(self, wanted: str, situation: Situation, prices: Prices) -> Choice | None:
        """See `Policy.choose`."""
        situation = self._at_home(wanted, situation)
        holders = situation.holders(wanted)
        if idle := [replica for replica in holders if not replica.busy]:
            return Choice("hit", replica=max(idle, key=lambda r: (r.free_at_s, r.name)).name)
        options = [(r.wait_s(situation.now_s), Choice("hit", replica=r.name)) for r in holders]
        options += self._starts(wanted, situation, prices)
        others = [replica for replica in situation.replicas if wanted not in replica.held]
        ready = [r for r in others if not r.busy and (self._may(r, situation.now_s) or len(r.held) < r.slots)]
        if not ready and not options:
            ready = [replica for replica in others if not replica.busy] or others
        for replica in ready:
            options += self._conversions(wanted, replica, situation, prices)
        if not options:
            return None
        return min(options, key=lambda option: (option[0], option[1].replica))[1]

    def _at_home(self, wanted: str, situation: Situation) -> Situation:
        """The situation without what is on other nodes, if the model has a home that can serve it."""
        home = self.home.get(wanted)
        there = tuple(replica for replica in situation.replicas if replica.node == home)
        room = {node: free for node, free in situation.room.items() if node == home and free > 0}
        # Whether another replica holds a model that is given up is asked of the node alone, where that model is served.
        return replace(situation, replicas=there, room=room) if there or room else situation

    def _may(self, replica: ReplicaState, now_s: float) -> bool:
        return replica.idle_s(now_s) >= self.idle_s

    def _starts(self, wanted: str, situation: Situation, prices: Prices) -> Iterator[tuple[float, Choice]]:
        for node in situation.nodes_with_room:
            price = prices.start(wanted, node, situation.replicas)
            yield price.seconds, Choice("start", price, node=node)

    def _conversions(
        self, wanted: str, replica: ReplicaState, situation: Situation, prices: Prices
    ) -> Iterator[tuple[float, Choice]]:
        victims: tuple[str | None, ...] = (None,) if len(replica.held) < replica.slots else replica.held
        for victim in victims:
            price = prices.convert(replica, wanted, victim)
            total_s = replica.wait_s(situation.now_s) + price.seconds
            if victim is not None and len(situation.holders(victim)) < 2:
                changed = replace(replica, held=replica.after(wanted, victim), known=replica.known | {wanted, victim})
                back_s = prices.convert(changed, victim, wanted).seconds
                total_s += situation.chance_wanted(victim, self.horizon_s) * back_s
            yield total_s, Choice("convert", price, replica=replica.name, victim=victim)
