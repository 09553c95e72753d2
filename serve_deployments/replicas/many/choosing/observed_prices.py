"""Prices learnt from the loads that have happened, for a policy that has no plans."""

from __future__ import annotations

from collections.abc import Sequence

from serve_deployments.replicas.many.choosing.state import Price, ReplicaState

UNKNOWN_S = 1.0
"""Seconds that a load is taken to last before there was any. Our choice; it matters until a model was loaded."""

_NEWEST = 0.3  # weight of the newest in a mean; our choice: three loads make up two thirds of it


class ObservedPrices:
    """What loads took, by the model that was given up and the one that was loaded (see `Prices`).

    A pair that has not been seen has the mean of all loads of the wanted model, and a model that has not been loaded
    the mean of all loads.
    """

    def __init__(self) -> None:
        self._pairs: dict[tuple[str | None, str], float] = {}
        self._models: dict[str, float] = {}
        self._all = UNKNOWN_S
        self._bytes: dict[tuple[str | None, str], int] = {}

    def took(self, victim: str | None, wanted: str, seconds: float, bytes_moved: int) -> None:
        """Notes a load."""
        pair = victim, wanted
        self._pairs[pair] = _mean(self._pairs.get(pair), seconds)
        self._all = _mean(self._all if self._models else None, seconds)
        self._models[wanted] = _mean(self._models.get(wanted), seconds)
        self._bytes[pair] = bytes_moved

    def forget(self, model: str) -> None:
        """Forgets a model that is no longer served; another one may take its name."""
        self._models.pop(model, None)
        for pair in [pair for pair in self._pairs if model in pair]:
            del self._pairs[pair], self._bytes[pair]

    def convert(self, replica: ReplicaState, wanted: str, victim: str | None) -> Price:
        """See `Prices.convert`."""
        pair = victim, wanted
        seconds = self._pairs.get(pair, self._models.get(wanted, self._all))
        return Price(seconds, self._bytes.get(pair, 0), "as observed")

    def start(self, wanted: str, node: str, replicas: Sequence[ReplicaState]) -> Price:
        """See `Prices.start`; replicas are started by Serve, not by a request."""
        raise NotImplementedError("replicas are started when the application is deployed")


def _mean(before: float | None, newest: float) -> float:
    return newest if before is None else (1 - _NEWEST) * before + _NEWEST * newest
