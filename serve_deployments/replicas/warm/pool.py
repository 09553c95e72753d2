"""The pool of live replicas: which are idle, which are in use and which must be taken down. Bookkeeping, without Ray.

Trials share one pool through an actor (`shared_pool`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from serve_deployments.replicas.warm.transition import NEW_S, ChangeInPlace, Transition, WarmReplica
from serve_deployments.settings import Settings

MOST_IDLE = 8
"""Largest number of idle replicas that are kept. Our choice: few search spaces have more placements; memory has its own
bound."""

LEAST_FREE = 0.15
"""Share of free memory of a node below which idle replicas are taken down. Our choice, well before Ray's own memory
monitor kills processes, at 5 % (RAY_memory_usage_threshold)."""


class Pool:
    """The replicas of one study. Each is idle or held by one trial; one that is being taken down stays held until then.

    Args:
        most_idle: largest number of idle replicas that are kept.
        least_free: share of free memory of a node below which its idle replicas are taken down.
        transition: how a live replica is changed; `ChangeInPlace` by default.
        new_s: seconds that a new replica takes: a live one that would take longer to change is not used.
        shown_to: told, after each change, how many replicas are idle and how many are held; None: nobody is.
    """

    gone = False
    """Whether the pool has been lost; always False for a pool in the same process."""

    def __init__(
        self,
        most_idle: int = MOST_IDLE,
        least_free: float = LEAST_FREE,
        transition: Transition | None = None,
        new_s: float = NEW_S,
        shown_to: Callable[[int, int], None] | None = None,
    ) -> None:
        self._most_idle, self._least_free = most_idle, least_free
        self._transition, self._new_s = transition or ChangeInPlace(), new_s
        self._idle: dict[str, WarmReplica] = {}  # the longest idle first
        self._held: dict[str, tuple[str, WarmReplica]] = {}  # app → trial, replica
        self._free_memory: dict[str, float] = {}  # node → share as last reported
        self._shown_to = shown_to

    def take(self, trial: str, settings: Settings, node: str | None = None, model: str = "") -> WarmReplica | None:
        """Takes the idle replica that can be changed to the wanted settings in the least time; the trial then holds it.

        Args:
            trial: name of the trial.
            settings: settings that the replica is to run under.
            node: node that it must be on; None for any.
            model: identity of the model that it is to run.

        Returns:
            The replica; None if none can be changed so, or not in less time than a new one takes.
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
        """Adds a replica that the trial is about to start; returns those to take down first if memory is short."""
        self._held[kept.app] = (trial, kept)
        self._show()
        if self._free_memory.get(kept.node, 1.0) >= self._least_free:
            return ()
        return tuple(self._hold(trial, k) for k in list(self._idle.values()) if k.node == kept.node)

    def park(self, trial: str, kept: WarmReplica, free_memory: float | None = None) -> tuple[WarmReplica, ...]:
        """Makes a healthy replica idle that the trial no longer needs; returns those to take down, longest idle first.

        Args:
            trial: the trial that held it.
            kept: the replica in its current state.
            free_memory: share of its node's memory that is available; None if it is not known.
        """
        if self._held.get(kept.app, ("",))[0] != trial:
            return ()  # dropped meanwhile: whoever did that takes it down
        del self._held[kept.app]
        self._idle[kept.app] = kept
        self._show()
        gone = [k for k in self._idle.values()][: max(0, len(self._idle) - self._most_idle)]
        if free_memory is not None:
            self._free_memory[kept.node] = free_memory
            neighbours = [k for k in self._idle.values() if k.node == kept.node and k not in gone]
            if free_memory < self._least_free and len(neighbours) > 1:
                gone.append(neighbours[0])
        return tuple(self._hold(trial, k) for k in gone)

    def evict(self, trial: str, gpu_type: str, node: str | None = None) -> WarmReplica | None:
        """The longest idle replica with a GPU of this type, which the trial is to take down; None if there is none."""
        for kept in self._idle.values():
            if kept.settings.gpu_type == gpu_type and node in (None, kept.node):
                return self._hold(trial, kept)
        return None

    def open(self, trial: str, node: str) -> tuple[WarmReplica, ...]:
        """Takes the idle replicas on a node whose models have a `close`; the trial is to close them and park them."""
        found = [kept for kept in self._idle.values() if kept.closes and kept.node == node]
        return tuple(self._hold(trial, kept) for kept in found)

    def forget(self, app: str) -> None:
        """Removes a held replica that has been taken down."""
        self._held.pop(app, None)
        self._show()

    def drop(self, trial: str) -> tuple[WarmReplica, ...]:
        """Removes and returns the replicas of a trial that has died; they are to be taken down and never used again."""
        held = tuple(kept for holder, kept in self._held.values() if holder == trial)
        for kept in held:
            del self._held[kept.app]
        self._show()
        return held

    def spare(self) -> tuple[str, ...]:
        """Removes the core reservations of all idle replicas; returns their names, so that the cores can be freed."""
        groups = tuple(kept.group for kept in self._idle.values() if kept.group)
        self._idle = {app: replace(kept, group="") for app, kept in self._idle.items()}
        return groups

    def groups(self) -> frozenset[str]:
        """Names of all core reservations that belong to a replica."""
        return frozenset(k.group for k in (*self._idle.values(), *(kept for _, kept in self._held.values())))

    def idle(self) -> tuple[WarmReplica, ...]:
        """The idle replicas, the longest idle first."""
        return tuple(self._idle.values())

    def held(self) -> dict[str, str]:
        """Name of an application → the trial that holds its replica."""
        return {app: trial for app, (trial, _) in self._held.items()}

    def _hold(self, trial: str, kept: WarmReplica) -> WarmReplica:
        del self._idle[kept.app]
        self._held[kept.app] = (trial, kept)
        self._show()
        return kept

    def _show(self) -> None:
        if self._shown_to is not None:
            self._shown_to(len(self._idle), len(self._held))
