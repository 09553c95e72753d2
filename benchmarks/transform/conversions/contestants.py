"""Ways to get the target in a process that holds the source, ours and others', each ready to be timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from safetensors.torch import load_file, save_file
from torch import nn

from benchmarks.transform.conversions.cases import Case, Model
from benchmarks.transform.replay.measured_costs import from_scratch
from serve_deployments.models.context import ModelError
from serve_deployments.transform.costs.costs import Costs
from serve_deployments.transform.live.holder import Holder
from serve_deployments.transform.live.memory import Mapped, Memory, Private
from serve_deployments.transform.live.registering import register
from serve_deployments.transform.planning.plan import Way
from serve_deployments.transform.profiling.profile import costs_here
from serve_deployments.transform.registered.model_store import ModelStore
from serve_deployments.transform.registered.registered_model import Recipe

NAIVE = "naive load"
BASELINE = "cached skeleton, mapped weights"
PLANNED = "planned"


class Contestant(Protocol):
    """A way to get the target."""

    def prepare(self) -> nn.Module | None:
        """Makes the process hold the source; returns it, None if it makes no difference."""
        ...

    def get(self) -> nn.Module:
        """Gets the target: what is timed."""
        ...


@dataclass
class Ours:
    """A way of `Holder`; the cheapest by plan if none is named."""

    holder: Holder
    case: Case
    way: Way | None

    def prepare(self) -> nn.Module:
        for name in self.holder.held:
            self.holder.release(name)
        return self.holder.convert(self.case.source.name).module

    def get(self) -> nn.Module:
        done = self.holder.convert(self.case.target.name, source=self.case.source.name, way=self.way, insist=True)
        assert not done.failed, done.failed
        return done.module


@dataclass
class Naive:
    """The model's class is called, and what it has initialised is overwritten."""

    target: Model
    file: Path

    def prepare(self) -> None:
        return None

    def get(self) -> nn.Module:
        made = self.target.skeleton()
        made.load_state_dict(load_file(self.file))
        return made


@dataclass
class BestScratch:
    """Parameters on the meta device, weights mapped and assigned, as torch and safetensors have it."""

    target: Model
    file: Path

    def prepare(self) -> None:
        return None

    def get(self) -> nn.Module:
        return from_scratch(self.target.structure, self.file)


@dataclass
class CachedSkeleton:
    """A warm process that keeps the target's modules, and maps and assigns weights: the baseline."""

    skeleton: nn.Module
    file: Path

    def prepare(self) -> None:
        return None

    def get(self) -> nn.Module:
        self.skeleton.load_state_dict(load_file(self.file), assign=True)
        return self.skeleton


@dataclass(frozen=True)
class Prepared:
    """The contestants of a case.

    Args:
        contestants: name → contestant.
        plan: the way that is planned.
        prices_s: way → its price.
    """

    contestants: Mapping[str, Contestant]
    plan: Way
    prices_s: Mapping[Way, float]


def prepared(case: Case, folder: Path) -> Prepared:
    """Registers both models, and makes everything ready that a warm process would have."""
    store = ModelStore(folder)
    recipes = [Recipe(model.name, model.build, model.skeleton) for model in (case.source, case.target)]
    for recipe in recipes:
        made = register(store, recipe)
        assert made.why_not is None, made.why_not
    file = folder / f"{case.target.name}.plain"
    save_file({name: tensor.contiguous() for name, tensor in case.target.build().state_dict().items()}, file)
    mapped, private = (
        _warm(store, recipes, costs_here(store, memory), memory, case) for memory in (Mapped(), Private())
    )
    mapped.convert(case.source.name)
    plan = mapped.plan(case.target.name, source=case.source.name)
    contestants: dict[str, Contestant] = {
        NAIVE: Naive(case.target, file),
        "best load from scratch": BestScratch(case.target, file),
        BASELINE: CachedSkeleton(case.target.skeleton(), file),
        PLANNED: Ours(mapped, case, None),
    }
    ways = (Way.DIFFERENCE, Way.REPOINT, Way.IN_PLACE, Way.SCRATCH, Way.OPERATORS)
    contestants |= {f"{way.value}": Ours(mapped, case, way) for way in ways if _open(mapped, case, way)}
    private.convert(case.source.name)
    contestants |= {
        f"{way.value}, own memory": Ours(private, case, way)
        for way in ways
        if way in _COPYING and _open(private, case, way)
    }
    return Prepared(contestants, plan.way, plan.considered)


_COPYING = (Way.IN_PLACE, Way.OPERATORS)
"""Ways that write to the source's memory, and so are measured in memory that is not mapped too."""


def _warm(store: ModelStore, recipes: list[Recipe], costs: Costs, memory: Memory, case: Case) -> Holder:
    """A process that has held both models before, so that it keeps their structures."""
    holder = Holder(store, recipes, costs, memory)
    for model in (case.target, case.source):
        holder.convert(model.name)
        holder.release(model.name)
    return holder


def _open(holder: Holder, case: Case, way: Way) -> bool:
    try:
        holder.plan(case.target.name, case.source.name, way, insist=True)
    except ModelError:
        return False
    return True
