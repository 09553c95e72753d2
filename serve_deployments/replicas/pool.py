"""Which replicas live, which of them are idle, and which has to go: bookkeeping alone, without Ray.

Trials share one through an actor (`shared_pool`).
"""

from __future__ import annotations

from dataclasses import replace

from serve_deployments.replicas.transition import NEW_S, ChangeInPlace, Transition, WarmReplica
from serve_deployments.settings import Settings

MOST_IDLE = 8
"""Idle replicas that are kept at most. Our choice: few spaces have more placements; memory has its own bound."""

LEAST_FREE = 0.15
"""Share of a node's memory below which idle replicas go. Our choice, well before Ray's own killer of processes, which
comes at 5 % (RAY_memory_usage_threshold)."""


class Pool:
    """The replicas of one study. A replica is idle or held by one trial; what is taken down is held till it is gone.

    Args:
        most_idle: how many idle ones are kept at most.
        least_free: share of a node's memory below which its idle ones go.
        transition: how a live one becomes another.
        new_s: seconds that a new one takes: one that would take longer to become what is wanted is left alone.
    """

    gone = False
    """Whether nobody keeps the books any more; never so in the same process."""

    def __init__(
        self,
        most_idle: int = MOST_IDLE,
        least_free: float = LEAST_FREE,
        transition: Transition | None = None,
        new_s: float = NEW_S,
    ) -> None:
        self._most_idle, self._least_free = most_idle, least_free
        self._transition, self._new_s = transition or ChangeInPlace(), new_s
        self._idle: dict[str, WarmReplica] = {}  # the longest idle first
        self._held: dict[str, tuple[str, WarmReplica]] = {}  # app → trial, replica
        self._free_memory: dict[str, float] = {}  # node → as last told

    def take(self, trial: str, settings: Settings, node: str | None = None, model: str = "") -> WarmReplica | None:
        """The idle replica that becomes what is wanted at the least price, from now on this trial's.

        Args:
            trial: who wants it.
            settings: what for.
            node: only on this node; None for any.
            model: which model it is to run.

        Returns:
            None if none can become it, or none in less time than a new one takes.
        """
        prices_s = {
            kept.app: price_s
            for kept in self._idle.values()
            if node in (None, kept.node)
            and (price_s := self._transition.price_s(kept, model, settings)) is not None
            and price_s <= self._new_s
        }
        if not prices_s:
            return None
        return self._hold(trial, self._idle[min(prices_s, key=prices_s.__getitem__)])

    def add(self, trial: str, kept: WarmReplica) -> tuple[WarmReplica, ...]:
        """A replica that the trial is about to start; returns those to take down first, as memory is short there."""
        self._held[kept.app] = (trial, kept)
        if self._free_memory.get(kept.node, 1.0) >= self._least_free:
            return ()
        return tuple(self._hold(trial, k) for k in list(self._idle.values()) if k.node == kept.node)

    def park(self, trial: str, kept: WarmReplica, free_memory: float | None = None) -> tuple[WarmReplica, ...]:
        """The trial needs the replica no more, which is well; returns those to take down, the longest idle first.

        Args:
            trial: whose it was.
            kept: the replica as it is now.
            free_memory: share of the memory of its node that is available, if that is known.
        """
        if self._held.get(kept.app, ("",))[0] != trial:
            return ()  # dropped meanwhile: whoever did that takes it down
        del self._held[kept.app]
        self._idle[kept.app] = kept
        gone = [k for k in self._idle.values()][: max(0, len(self._idle) - self._most_idle)]
        if free_memory is not None:
            self._free_memory[kept.node] = free_memory
            neighbours = [k for k in self._idle.values() if k.node == kept.node and k not in gone]
            if free_memory < self._least_free and len(neighbours) > 1:
                gone.append(neighbours[0])
        return tuple(self._hold(trial, k) for k in gone)

    def evict(self, trial: str, gpu_type: str, node: str | None = None) -> WarmReplica | None:
        """The longest idle replica that keeps a GPU of this type, to be taken down by the trial; None if none does."""
        for kept in self._idle.values():
            if kept.settings.gpu_type == gpu_type and node in (None, kept.node):
                return self._hold(trial, kept)
        return None

    def forget(self, app: str) -> None:
        """A replica that was held is gone."""
        self._held.pop(app, None)

    def drop(self, trial: str) -> tuple[WarmReplica, ...]:
        """The trial has died: what it held, to be taken down and never used again."""
        held = tuple(kept for holder, kept in self._held.values() if holder == trial)
        for kept in held:
            del self._held[kept.app]
        return held

    def spare(self) -> tuple[str, ...]:
        """Somebody wants cores: the groups of idle replicas, which have none from now on."""
        groups = tuple(kept.group for kept in self._idle.values() if kept.group)
        self._idle = {app: replace(kept, group="") for app, kept in self._idle.items()}
        return groups

    def groups(self) -> frozenset[str]:
        """All reserved cores that go with a replica."""
        return frozenset(k.group for k in (*self._idle.values(), *(kept for _, kept in self._held.values())))

    def idle(self) -> tuple[WarmReplica, ...]:
        """The idle replicas, the longest idle first."""
        return tuple(self._idle.values())

    def held(self) -> dict[str, str]:
        """App → the trial that holds it."""
        return {app: trial for app, (trial, _) in self._held.items()}

    def _hold(self, trial: str, kept: WarmReplica) -> WarmReplica:
        del self._idle[kept.app]
        self._held[kept.app] = (trial, kept)
        return kept
