"""Prices in a table, for tests of policies."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from serve_deployments.replicas.many.choosing.state import Price, ReplicaState


@dataclass(frozen=True)
class Priced:
    """Conversion from a model to another by a table, else `other_s`; an empty slot and a start have one price each."""

    table: dict[tuple[str, str], float] = field(default_factory=dict)
    other_s: float = 1.0
    empty_s: float = 0.5
    start_s: float = 10.0

    def convert(self, replica: ReplicaState, wanted: str, victim: str | None) -> Price:
        assert wanted not in replica.held and (victim is None or victim in replica.held)
        return Price(self.empty_s if victim is None else self.table.get((victim, wanted), self.other_s))

    def start(self, wanted: str, node: str, replicas: Sequence[ReplicaState]) -> Price:
        return Price(self.start_s)
