"""A live replica, and what it takes to make of it the one that is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from serve_deployments.settings import IN_PLACE, Settings

NEW_S = 6.6
"""Seconds that a new replica takes: `python -m benchmarks trial_overhead`, 2026-11-22. A larger model takes longer."""

_ARGUMENTS_S = 0.005
"""Seconds of a call of the model's own `change`: those of a call of the replica, as nothing is known of the model."""


@dataclass(frozen=True)
class WarmReplica:
    """One replica that lives.

    Args:
        app: name of its application.
        settings: what it runs under, or ran under last.
        node: id of the node it is on.
        pid: its process; 0 while it is not known.
        changeable: arguments that its model can change while it lives.
        group: name of the cores that are reserved for it; empty if none are.
        model: whose it is (`models.model.identity`); the model's arguments are in `settings`.
    """

    app: str
    settings: Settings
    node: str
    pid: int = 0
    changeable: frozenset[str] = frozenset()
    group: str = ""
    model: str = ""


class Transition(Protocol):
    """A way to make of a live replica another one."""

    def price_s(self, live: WarmReplica, model: str, wanted: Settings) -> float | None:
        """Seconds until the live replica runs this model under the settings wanted; None: it cannot in this way."""
        ...


class ChangeInPlace:
    """Another setting of the same model, by a call of the replica.

    One call makes all changes, so it takes as long as the dearest of them.
    """

    def price_s(self, live: WarmReplica, model: str, wanted: Settings) -> float | None:
        """See `Transition`; None for another model, and for what is fixed when a process starts."""
        now = live.settings
        if live.model != model or now.placement(live.changeable) != wanted.placement(live.changeable):
            return None
        prices = [how.seconds for name, how in IN_PLACE.items() if getattr(now, name) != getattr(wanted, name)]
        if now.args != wanted.args:
            prices.append(_ARGUMENTS_S)
        return max(prices, default=0.0)
