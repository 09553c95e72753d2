"""A live replica, and the cost of changing it into the wanted one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from serve_deployments.settings import IN_PLACE, Settings

NEW_S = 6.6
"""Seconds that a new replica takes: `python -m benchmarks trial_overhead`, 2026-11-22. A larger model takes longer."""

_ARGUMENTS_S = 0.005
"""Seconds of a call of the model's own `change`: the time of a call of the replica, as the model's own is not known."""


@dataclass(frozen=True)
class WarmReplica:
    """A live replica, in use or idle.

    Args:
        app: name of its application.
        settings: the settings that it runs under, or ran under last.
        node: id of the node that it is on.
        pid: id of its process; 0 while it is not known.
        changeable: names of the arguments that its model can change while it is running.
        closes: whether its model has a method `close`, and is not closed.
        group: name of the core reservation that it has; empty if it has none.
        model: identity of its model (`models.model.identity`); the model's arguments are in `settings`.
    """

    app: str
    settings: Settings
    node: str
    pid: int = 0
    changeable: frozenset[str] = frozenset()
    closes: bool = False
    group: str = ""
    model: str = ""


class Transition(Protocol):
    """A way to change a live replica into another one."""

    def price_s(self, live: WarmReplica, model: str, wanted: Settings) -> float | None:
        """Seconds until the live replica runs this model under the wanted settings; None if it cannot in this way."""
        ...


class ChangeInPlace:
    """Changes the settings of the same model by a call of the replica.

    One call makes all changes, and is assumed to take as long as the slowest of them.
    """

    def price_s(self, live: WarmReplica, model: str, wanted: Settings) -> float | None:
        """See `Transition`; None for another model, or if a setting differs that is fixed when a process starts."""
        now = live.settings
        if live.model != model or now.placement(live.changeable) != wanted.placement(live.changeable):
            return None
        prices = [how.seconds for name, how in IN_PLACE.items() if getattr(now, name) != getattr(wanted, name)]
        if now.args != wanted.args:
            prices.append(_ARGUMENTS_S)
        return max(prices, default=0.0)
