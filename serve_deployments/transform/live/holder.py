"""The models that a process holds, and the conversion of one of them into another."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import nn

from serve_deployments.endpoint import first_line
from serve_deployments.models.context import ModelError
from serve_deployments.transform.costs.costs import Costs
from serve_deployments.transform.live.conversion import (
    DoesNotFit,
    by_operators,
    copy_in_place,
    pointed,
    still_there,
)
from serve_deployments.transform.live.memory import Mapped, Memory
from serve_deployments.transform.live.structure import Structure, structure_of
from serve_deployments.transform.planning.pair import Pair
from serve_deployments.transform.planning.plan import Plan, Way
from serve_deployments.transform.planning.plan_cache import PlanCache
from serve_deployments.transform.planning.ways import Anew, Situation, chosen
from serve_deployments.transform.registered.model_store import ModelStore
from serve_deployments.transform.registered.registered_model import Recipe, RegisteredModel

MOST_KEPT = 64
"""Structures without weights that a process keeps; our choice: one of a large model takes 1 to 3 MB of objects."""


class ConversionFailed(ModelError):
    """A model could be got in no way; the message says what was tried. What is held then is said by `Holder.held`."""


@dataclass(frozen=True)
class Conversion:
    """What became of a plan.

    Args:
        module: the model, which is held until it is given up.
        plan: the plan that was made.
        way: the way that led to it, another than the plan's if that failed.
        seconds: time that it took; pages of mapped weights come later, when they are used.
        moved_bytes: bytes that were mapped, read or copied.
        failed: ways that failed before, each with the error's first line.
    """

    module: nn.Module
    plan: Plan
    way: Way
    seconds: float
    moved_bytes: int
    failed: tuple[str, ...] = ()


@dataclass
class _Held:
    model: RegisteredModel
    module: nn.Module
    structure: Structure | None  # None: its builder made it, or it has no graph


@dataclass
class Holder:
    """The models of one process. It is used by one thread at a time; others wait.

    A module that it has given out belongs to the caller until the model is converted or released. After that its
    tensors have no content, or another model's, and it must not be called.

    Args:
        store: where models are registered.
        recipes: code that makes them, for each model that this process may be asked for.
        costs: what plans are priced with.
        memory: where weights lie.
        anew: what has to be done again after a conversion.
        most_kept: number of structures without weights that are kept.
    """

    store: ModelStore
    recipes: Iterable[Recipe]
    costs: Costs
    memory: Memory = field(default_factory=Mapped)
    anew: Anew = Anew()
    most_kept: int = MOST_KEPT

    def __post_init__(self) -> None:
        self._recipes = {recipe.name: recipe for recipe in self.recipes}
        self.plans = PlanCache(self.costs, mapped=isinstance(self.memory, Mapped), anew=self.anew)
        self._held: dict[str, _Held] = {}
        self._kept: OrderedDict[str, Structure] = OrderedDict()
        self._lock = threading.RLock()

    @property
    def held(self) -> tuple[str, ...]:
        """Names of the models that are held."""
        return tuple(self._held)

    def module(self, name: str) -> nn.Module:
        """A model that is held; raises KeyError for any other."""
        return self._held[name].module

    def add(self, recipe: Recipe) -> None:
        """Adds a recipe, or replaces that of the same name, and plans for its model if it is registered."""
        self._recipes[recipe.name] = recipe
        self.registered(recipe.name)

    def registered(self, name: str) -> RegisteredModel:
        """What is known of a model, as it is registered now; raises ModelError if it is not."""
        with self._lock:
            if name not in self.plans:
                self.plans.register(self.store.load(name))
            return self.plans[name]

    def forget(self, name: str) -> None:
        """Drops all that is known of a model which was registered anew or removed; one that is held stays."""
        with self._lock:
            self.plans.forget(name)
            self._kept.pop(name, None)

    def plan(self, target: str, source: str | None = None, way: Way | None = None, *, insist: bool = False) -> Plan:
        """How the target would be got now, in place of a source that is held.

        Args:
            target: name of the model that is wanted.
            source: name of a model that is held and is given up; None: the target comes beside what is held.
            way: the way to take; None: the cheapest.
            insist: whether a way is taken that is slower than the safeguard allows.

        Raises:
            ModelError: a model is not registered or not held, or the way is not open.
        """
        with self._lock:
            situation = self._situation(target, source)
            if way is None and situation.source == source:
                return self.plans.plan(target, source=source, resident=situation.resident, kept=situation.kept)
            return chosen(situation, self.costs, way, insist=insist)

    def convert(
        self, target: str, source: str | None = None, way: Way | None = None, *, insist: bool = False
    ) -> Conversion:
        """Gets the target, in place of a source; a way that fails half-way is followed by a load from scratch.

        A target that is held already is brought back to a fresh load's state, and the source stays.

        Args:
            target: see `plan`.
            source: likewise.
            way: likewise.
            insist: likewise.

        Raises:
            ModelError: as `plan` does, before anything is changed.
            ConversionFailed: it could be got in no way.
        """
        with self._lock:
            plan = self.plan(target, source, way, insist=insist)
            if plan.way is Way.REPLICA:
                raise ModelError("a process cannot start another replica in its own place; ask whoever starts replicas")
            begun = time.perf_counter()
            failed: list[str] = []
            for each in dict.fromkeys((plan.way, Way.SCRATCH, Way.NAIVE)):
                if each is Way.SCRATCH and self.registered(target).why_not is not None:
                    continue
                try:
                    moved = self._get(each, target, source)
                except Exception as error:  # a user's code, a file, memory: whatever it is, there are other ways
                    failed.append(f"{each.value}: {first_line(error)}")
                    continue
                seconds = time.perf_counter() - begun
                return Conversion(self._held[target].module, plan, each, seconds, moved, tuple(failed))
            raise ConversionFailed(f"{target} could not be got; {'; '.join(failed)}")

    def release(self, name: str) -> None:
        """Gives a model up; its structure is kept. Nothing happens if it is not held."""
        with self._lock:
            gone = self._held.pop(name, None)
            if gone is not None and gone.structure is not None:
                self._keep(name, gone.structure)

    def _situation(self, target: str, source: str | None) -> Situation:
        self.registered(target)
        if source is not None and source not in self._held:
            raise ModelError(f"{source!r} is not held here; held are {', '.join(self._held) or 'none'}")
        if target in self._held:
            return self.plans.situation(target, resident=True, kept=target in self._kept)
        # A source that its own builder made has nothing that could be taken over.
        live = source if source is not None and self._held[source].structure is not None else None
        if live is not None and live not in self.plans:
            live = None
        return self.plans.situation(target, source=live, kept=self._kept_for(target) is not None)

    def _kept_for(self, target: str) -> str | None:
        """Name under which a structure is kept that the target can use."""
        if target in self._kept:
            return target
        graph = self.plans[target].graph
        return next((name for name, each in self._kept.items() if each.graph.same_structure(graph)), None)

    def _get(self, way: Way, target: str, source: str | None) -> int:
        """Gets the target in one way and gives the source up; returns the bytes moved."""
        model, folder = self.plans[target], self.store.folder
        giving_up = None if source is None else self._held.get(source)  # None if a way that failed has used it up
        live = None if giving_up is None else giving_up.structure
        if way is Way.NAIVE:
            module = self._recipe(target).build()
            self._swap(source, _Held(model, module, None))
            return model.graph.size_bytes
        if way is Way.RESIDENT:
            return self._as_new(target)
        pair = None if source is None or source not in self.plans else self.plans.pair(source, target)
        if way in (Way.IN_PLACE, Way.OPERATORS):
            assert live is not None and pair is not None and source is not None, "planned with a source"
            return self._used_up(way, source, live, pair)
        takes = live is not None and pair is not None and pair.same_structure and way is not Way.SCRATCH
        structure = live if takes and live is not None else self._structure(way, target)
        there = still_there(live, pair) if way is Way.DIFFERENCE and live is not None and pair is not None else {}
        ready = pointed(structure, model, self.memory, folder, there)
        if source is not None and takes:
            gone = self._held.pop(source)  # from here on it is neither of the two
            ready.carry_out()
            self._held[source] = gone
        else:
            ready.carry_out()
        self._swap(source, _Held(model, structure.module, structure))
        return ready.moved_bytes

    def _used_up(self, way: Way, source: str, live: Structure, pair: Pair) -> int:
        """A way that writes to the source's memory: if it fails, the source is gone."""
        folder = self.store.folder
        structure = live if way is Way.IN_PLACE else self._structure(way, pair.target.name)
        for file in pair.target.files - {""}:
            (folder / file).stat()  # before anything is written
        try:
            if way is Way.IN_PLACE:
                moved = copy_in_place(live, pair, self.memory, folder)
            else:
                moved = by_operators(live, structure, pair, self.memory, folder)
        except DoesNotFit:
            raise
        except Exception:
            self._held.pop(source)  # neither of the two
            raise
        self._swap(source, _Held(pair.target, structure.module, structure))
        return moved

    def _as_new(self, target: str) -> int:
        """A held model as a fresh load would be: what was written to is mapped anew.

        One that its own builder has made is left as it is: nobody knows what it was.
        """
        held = self._held[target]
        if held.structure is None:
            return 0
        kept = {i: held.structure.storage(i) for i in range(len(held.model.stored)) if held.structure.intact(i)}
        ready = pointed(held.structure, held.model, self.memory, self.store.folder, kept)
        ready.carry_out()
        return ready.moved_bytes

    def _structure(self, way: Way, target: str) -> Structure:
        """A kept structure, or from scratch a new one."""
        name = None if way is Way.SCRATCH else self._kept_for(target)
        if name is not None:
            return self._kept.pop(name)
        model = self.plans[target]
        structure, _ = structure_of(self._recipe(target), model.graph, self.memory.device, model.marks)
        return structure

    def _swap(self, source: str | None, held: _Held) -> None:
        """Notes what is held now; the structure of what is given up is kept, if it was not taken over."""
        gone = None if source is None else self._held.pop(source, None)
        before = self._held.pop(held.model.name, None)
        for each in (gone, before):
            if each is not None and each.structure is not None and each.structure is not held.structure:
                self._keep(each.model.name, each.structure)
        self._held[held.model.name] = held

    def _keep(self, name: str, structure: Structure) -> None:
        structure.park()
        self._kept[name] = structure
        self._kept.move_to_end(name)
        while len(self._kept) > self.most_kept:
            self._kept.popitem(last=False)

    def _recipe(self, name: str) -> Recipe:
        if name not in self._recipes:
            there = ", ".join(self._recipes) or "none"
            raise ModelError(f"this process has no recipe for {name!r}; it has {there}")
        return self._recipes[name]
