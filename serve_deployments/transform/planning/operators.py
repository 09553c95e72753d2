"""The paper's five meta-operators on graphs, as data (Optimus, EuroSys 2024, section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

from serve_deployments.transform.costs.costs import Costs


@dataclass(frozen=True)
class Replace:
    """An operation stays as it is, and gets other weights.

    Args:
        source: path of the operation in the model that is given up.
        target: path of what it becomes.
        size_bytes: bytes that are copied: those of its tensors which differ.
        count: number of pieces of memory that they are copied into.
    """

    source: str
    target: str
    size_bytes: int
    count: int

    def price_s(self, costs: Costs) -> float:
        """Seconds: grows with the weights' size."""
        return costs.copy.seconds(self.count, self.size_bytes)


@dataclass(frozen=True)
class Reshape:
    """An operation of the same type gets other attributes and tensors of other sizes.

    Args:
        source: path of the operation in the model that is given up.
        target: path of what it becomes.
        size_bytes: bytes of the tensors that it gets.
        count: number of pieces of new memory.
        copied_bytes: bytes of those tensors whose sizes stay, which are copied into memory that is there.
        copied: number of those.
    """

    source: str
    target: str
    size_bytes: int
    count: int
    copied_bytes: int = 0
    copied: int = 0

    def price_s(self, costs: Costs) -> float:
        """Seconds: grows with what changes its shape."""
        return costs.fresh.seconds(self.count, self.size_bytes) + costs.copy.seconds(self.copied, self.copied_bytes)


@dataclass(frozen=True)
class Reduce:
    """An operation is dropped."""

    source: str

    def price_s(self, costs: Costs) -> float:
        """Seconds: the same for all."""
        return costs.reduce.seconds(1)


@dataclass(frozen=True)
class Add:
    """An operation is created.

    Args:
        target: its path in the model that is wanted.
        type: its class.
        size_bytes: bytes of its tensors.
        count: number of its pieces of memory.
    """

    target: str
    type: str
    size_bytes: int
    count: int

    def price_s(self, costs: Costs) -> float:
        """Seconds: depends on the type, and on the attributes by the bytes that they ask for; then its weights."""
        return costs.adding(self.type).seconds(1, self.size_bytes) + costs.copy.seconds(self.count, self.size_bytes)


@dataclass(frozen=True)
class EdgeChange:
    """The data flow changes.

    Args:
        removed: number of edges that go.
        added: number of edges that come.
    """

    removed: int
    added: int

    def price_s(self, costs: Costs) -> float:
        """Seconds: next to nothing."""
        return costs.edge.seconds(self.removed + self.added)


Operator = Replace | Reshape | Reduce | Add | EdgeChange
