"""Which replicas live, which of them are idle, and which has to go: bookkeeping alone, without Ray.

Trials share one through an actor (`shared_pool`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from serve_deployments.settings import Settings

MOST_IDLE = 8
"""Idle replicas that are kept at most. Our choice: few spaces have more placements; memory has its own bound."""

LEAST_FREE = 0.15
"""Share of a node's memory below which idle replicas go. Our choice, well before Ray's own killer of processes, which
comes at 5 % (RAY_memory_usage_threshold)."""


@dataclass(frozen=True)
class WarmReplica:
    """One replica.

    Args:
        app: name of its application.
        settings: what it runs under, or ran under last.
        node: id of the node it is on.
        pid: its process; 0 while it is not known.
        changeable: arguments that its model can change while it lives.
        group: name of the cores that are reserved for it; empty if none are.
    """

    app: str
    settings: Settings
    node: str
    pid: int = 0
    changeable: frozenset[str] = frozenset()
    group: str = ""

    def can_become(self, settings: Settings) -> bool:
        """Whether these settings need no other replica."""
        return self.settings.placement(self.changeable) == settings.placement(self.changeable)

    def likeness(self, settings: Settings) -> int:
        """How many settings need not change."""
        return sum(getattr(self.settings, f.name) == getattr(settings, f.name) for f in fields(Settings))


class Pool:
    """The replicas of one study. A replica is idle or held by one trial; what is taken down is held till it is gone.

    Args:
        most_idle: how many idle ones are kept at most.
        least_free: share of a node's memory below which its idle ones go.
    """

    gone = False
    """Whether nobody keeps the books any more; never so in the same process."""

    def __init__(self, most_idle: int = MOST_IDLE, least_free: float = LEAST_FREE) -> None:
        self._most_idle, self._least_free = most_idle, least_free
        self._idle: dict[str, WarmReplica] = {}  # the longest idle first
        self._held: dict[str, tuple[str, WarmReplica]] = {}  # app → trial, replica
        self._free_memory: dict[str, float] = {}  # node → as last told

    def take(self, trial: str, settings: Settings, node: str | None = None) -> WarmReplica | None:
        """An idle replica that can run under these settings, from now on this trial's; the most alike of several.

        Args:
            trial: who wants it.
            settings: what for.
            node: only on this node; None for any.
        """
        fitting = [k for k in self._idle.values() if node in (None, k.node) and k.can_become(settings)]
        if not fitting:
            return None
        return self._hold(trial, max(fitting, key=lambda kept: kept.likeness(settings)))

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
