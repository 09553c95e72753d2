"""What loading and serving cost, and the prices that each system pays by what it can share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from serve_deployments.replicas.many.choosing.state import Price, ReplicaState


@dataclass(frozen=True)
class ModelCosts:
    """One model's costs in a process that has imported all it needs.

    Args:
        structure: what models of one class and configuration have in common, whatever their weights.
        tensors: digest of a group of tensors → its bytes; models share groups of the same digest.
        naive_s: seconds to build it with its default initialisation and then copy weights into it.
        scratch_s: the same in the best known way: empty parameters, weights mapped and assigned.
        skeleton_s: seconds to assign mapped weights to a structure that is there already.
        serve_s: seconds that it takes for one request.

    Raises:
        ValueError: a time is negative or no number, or it has no tensors.
    """

    structure: str
    tensors: Mapping[str, int]
    naive_s: float
    scratch_s: float
    skeleton_s: float
    serve_s: float

    def __post_init__(self) -> None:
        times = (self.naive_s, self.scratch_s, self.skeleton_s, self.serve_s)
        if not all(0 <= each < math.inf for each in times) or not self.tensors:
            raise ValueError(f"costs are seconds, 0 or more, of a model with tensors, got {self}")

    @property
    def size_bytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(self.tensors.values())

    def lacking_bytes(self, there: Mapping[str, int]) -> int:
        """Bytes of the tensors that are not among others."""
        return sum(size for digest, size in self.tensors.items() if digest not in there)


@dataclass(frozen=True)
class Costs:
    """Costs of all models.

    Args:
        process_s: seconds that a new process takes until it has imported what models need.
        models: model → its costs.
    """

    process_s: float
    models: Mapping[str, ModelCosts]

    @property
    def serve_s(self) -> Mapping[str, float]:
        """Model → seconds for one request."""
        return {name: each.serve_s for name, each in self.models.items()}


Sharing = Literal["nothing", "tensors", "skeletons", "conversion"]
"""What a system has at hand when it loads a model: nothing; the tensors that other replicas of the node hold; the
structures that the process has held; or these and the live model that is given up."""


@dataclass(frozen=True)
class SharedPrices:
    """Prices of a system (see `Prices`).

    nothing: from scratch. tensors: the structure is made, and of the mapping that part is paid whose bytes no replica
    on the node holds. skeletons: mapped weights for a structure that the process has held. conversion: that, and where
    the live model has the same structure only the part of the mapping that is of differing tensors. No system pays more
    than from scratch.

    Args:
        costs: what was measured.
        sharing: see `Sharing`.
        naive: whether what is loaded from scratch is loaded the naive way.
    """

    costs: Costs
    sharing: Sharing
    naive: bool = False

    def convert(self, replica: ReplicaState, wanted: str, victim: str | None) -> Price:
        """See `Prices.convert`."""
        model, options = self.costs.models[wanted], [self._scratch(wanted)]
        if self.sharing in ("skeletons", "conversion"):
            structures = {self.costs.models[known].structure for known in replica.known}
            if model.structure in structures:
                options.append(Price(model.skeleton_s, model.size_bytes, "skeleton"))
        if self.sharing == "conversion" and victim is not None:
            live = self.costs.models[victim]
            if live.structure == model.structure:
                moved = model.lacking_bytes(live.tensors)
                options.append(Price(model.skeleton_s * moved / model.size_bytes, moved, "differing tensors"))
        return min(options, key=lambda price: price.seconds)

    def start(self, wanted: str, node: str, replicas: Sequence[ReplicaState]) -> Price:
        """See `Prices.start`."""
        loading = self._scratch(wanted)
        if self.sharing == "tensors" and not self.naive:
            held = (self.costs.models[m] for r in replicas if r.node == node for m in r.held)
            there = {digest: size for model in held for digest, size in model.tensors.items()}
            model = self.costs.models[wanted]
            moved = model.lacking_bytes(there)
            mapped_s = model.skeleton_s * moved / model.size_bytes
            loading = Price(max(0.0, model.scratch_s - model.skeleton_s) + mapped_s, moved, "shared tensors")
        return Price(self.costs.process_s + loading.seconds, loading.bytes_moved, f"new process, {loading.way}")

    def _scratch(self, wanted: str) -> Price:
        model = self.costs.models[wanted]
        if self.naive:
            return Price(model.naive_s, model.size_bytes, "naively")
        return Price(model.scratch_s, model.size_bytes, "from scratch")
