"""Prices of every way that is open in a situation, and the choice among them.

With the costs of `costs.Costs` (each one `a · number + b · bytes`), for a target with M modules, T tensors and B bytes
in F files, of which D pieces with D_b bytes in D_F files are not in the source, whose bytes are S_b:

    resident    check(M)
    difference  check(M) + map(D_F) + bind(T) + touch(D_b) + drop(S_b - (B - D_b))
    repoint     check(M) + map(F)   + bind(T) + touch(B)   + drop(S_b)
    in place    check(M) + map(D_F) + copy(D, D_b)
    scratch     structure + map(F)  + bind(T) + touch(B)   + drop(S_b)
    new replica replica + structure + map(F)  + bind(T)    + touch(B)

Where weights are not mapped but have memory of their own, `fresh` stands for `touch`. `structure` is what it took when
the model was registered. What has to be done anew where the live structure or its addresses are given up, such as
compiling or recording graphs, is added to the ways that give it up.

**Safeguard** (section 4.3 of the paper, tightened): scratch is always among the ways, and the cheapest is taken, so
that by the costs no plan is slower than loading from scratch. A way that is asked for by name and is more than 5 %
slower is refused unless the caller insists.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from serve_deployments.models.context import ModelError
from serve_deployments.transform.costs.costs import Costs
from serve_deployments.transform.planning.matching import match_exactly, match_in_order, operators
from serve_deployments.transform.planning.operators import Add, EdgeChange, Operator, Reduce, Replace
from serve_deployments.transform.planning.pair import Pair
from serve_deployments.transform.planning.plan import Plan, Step, Way
from serve_deployments.transform.registered.registered_model import RegisteredModel

SAFEGUARD = 1.05
"""Largest price of a plan as a multiple of that from scratch."""


@dataclass(frozen=True)
class Anew:
    """What has to be done again after a conversion, in seconds.

    Args:
        structure_s: if the live structure is given up, as compiled code belongs to it.
        addresses_s: if the tensors' addresses change, as recorded CUDA graphs hold them.

    Raises:
        ValueError: one of them is below 0.
    """

    structure_s: float = 0.0
    addresses_s: float = 0.0

    def __post_init__(self) -> None:
        if not (self.structure_s >= 0 and self.addresses_s >= 0):
            raise ValueError(f"seconds are 0 or more, got {self}")


@dataclass(frozen=True)
class Situation:
    """A process that is to hold the target.

    Args:
        target: the model that is wanted.
        pair: what it has in common with the model that is given up; None if none is.
        resident: whether the process holds it.
        kept: whether it holds the target's structure, without weights.
        mapped: whether weights are mapped; False: they have memory of their own.
        anew: what has to be done again.
    """

    target: RegisteredModel
    pair: Pair | None = None
    resident: bool = False
    kept: bool = False
    mapped: bool = True
    anew: Anew = Anew()

    @property
    def source(self) -> str | None:
        """Name of the model that is given up."""
        return None if self.pair is None else self.pair.source.name

    @property
    def takes_structure(self) -> bool:
        """Whether the structure of the model that is given up is the target's too."""
        return self.pair is not None and self.pair.same_structure


def plans(situation: Situation, costs: Costs) -> dict[Way, Plan]:
    """A plan for each way that is open, without those that are only taken when they are asked for."""
    priced = _Priced(situation, costs)
    found = [priced.resident()] if situation.resident else []
    if situation.target.why_not is not None:
        return {plan.way: plan for plan in (*found, priced.naive())}
    found += [priced.scratch(), priced.replica()]
    if situation.takes_structure or situation.kept:
        found.append(priced.repoint())
        if situation.pair is not None and situation.pair.shared_bytes:
            found.append(priced.difference())
    if situation.takes_structure:
        found.append(priced.in_place())
    return {plan.way: plan for plan in found}


def chosen(situation: Situation, costs: Costs, way: Way | None = None, *, insist: bool = False) -> Plan:
    """The cheapest plan, or that of a way.

    Args:
        situation: where the target is wanted.
        costs: what to price with.
        way: the way to take; None: the cheapest.
        insist: whether it is taken even if it is slower than the safeguard allows.

    Raises:
        ModelError: the way is not open here, or too slow.
    """
    found = plans(situation, costs)
    prices = {each: plan.price_s for each, plan in found.items()}
    if way is None:
        best = min(found.values(), key=lambda plan: (plan.price_s, list(Way).index(plan.way)))
        return _with(best, prices)
    if way is Way.OPERATORS and situation.pair is not None and situation.target.why_not is None:
        found[way] = by_operators(situation, costs)
    elif way is Way.NAIVE:
        found[way] = _Priced(situation, costs).naive()
    if way not in found:
        raise ModelError(
            f"{situation.target.name} cannot be got by the way {way.value!r} here; it can by {_listed(found)}"
        )
    scratch_s = prices.get(Way.SCRATCH, found[way].price_s)
    if found[way].price_s > SAFEGUARD * scratch_s and not insist:
        raise ModelError(
            f"the way {way.value!r} would take {found[way].price_s:.3g} s, and from scratch {scratch_s:.3g} s; "
            "leave the choice to the planner, or insist"
        )
    return _with(found[way], prices)


def _listed(ways: Collection[Way]) -> str:
    return ", ".join(way.value for way in Way if way in ways)


def _with(plan: Plan, prices: dict[Way, float]) -> Plan:
    considered = {**prices, plan.way: plan.price_s}
    return Plan(plan.source, plan.target, plan.way, plan.steps, considered, plan.needs_source)


def by_operators(situation: Situation, costs: Costs, *, exact: bool = False) -> Plan:
    """The paper's plan: a meta-operator for each operation.

    Args:
        situation: where the target is wanted, in place of a source.
        costs: what to price with.
        exact: whether operations are matched by the exact assignment, and not in order.
    """
    assert situation.pair is not None, "there is a model to be transformed"
    one, other = situation.pair.source.graph, situation.pair.target.graph
    pairs = match_exactly(one, other, costs) if exact else match_in_order(one, other)
    steps = [_step(operator, costs) for operator in operators(one, other, pairs)]
    priced = _Priced(situation, costs)
    return Plan(
        situation.source, situation.target.name, Way.OPERATORS, (*priced.structure(), *steps), needs_source=True
    )


def _step(operator: Operator, costs: Costs) -> Step:
    price_s = operator.price_s(costs)
    if isinstance(operator, EdgeChange):
        what = f"{operator.removed} go, {operator.added} come"
        return Step("Edge", what, price_s, operator.removed + operator.added)
    if isinstance(operator, Reduce):
        return Step("Reduce", operator.source or "the model", price_s)
    if isinstance(operator, Add):
        return Step("Add", operator.target or "the model", price_s, 1, operator.size_bytes)
    size = operator.size_bytes if isinstance(operator, Replace) else operator.size_bytes + operator.copied_bytes
    what = operator.target or "the model"
    if operator.source != operator.target:
        what = f"{operator.source or 'the model'} → {what}"
    return Step(type(operator).__name__, what, price_s, 1, size)


class _Priced:
    """Plans of one situation."""

    def __init__(self, situation: Situation, costs: Costs) -> None:
        self._situation, self._costs = situation, costs
        self._target, self._pair = situation.target, situation.pair

    def resident(self) -> Plan:
        return self._plan(Way.RESIDENT, [self._check()])

    def repoint(self) -> Plan:
        everything = range(len(self._target.graph.blobs))
        return self._plan(Way.REPOINT, [self._check(), *self._pointed(everything), *self._drop(None)])

    def difference(self) -> Plan:
        assert self._pair is not None, "there is a source"
        steps = [self._check(), *self._pointed(self._pair.differing), *self._drop(self._pair.shared_bytes)]
        return self._plan(Way.DIFFERENCE, steps, needs_source=True)

    def in_place(self) -> Plan:
        assert self._pair is not None, "there is a source"
        costs, count, size = self._costs, len(self._pair.differing), self._pair.differing_bytes
        steps = [self._check(), *self._mapped(self._pair.differing)]
        steps.append(
            Step("copy", "what differs, into the live model's memory", costs.copy.seconds(count, size), count, size)
        )
        return self._plan(Way.IN_PLACE, steps, needs_source=True)

    def scratch(self) -> Plan:
        everything = range(len(self._target.graph.blobs))
        steps = [self._new_structure(), *self._pointed(everything), *self._drop(None)]
        return self._plan(Way.SCRATCH, steps)

    def replica(self) -> Plan:
        start = Step("start", "a process", self._costs.replica_s)
        everything = range(len(self._target.graph.blobs))
        return self._plan(Way.REPLICA, [start, self._new_structure(), *self._pointed(everything)])

    def naive(self) -> Plan:
        why = "its own builder" if self._target.why_not is None else f"its own builder: {self._target.why_not}"
        return self._plan(Way.NAIVE, [Step("build", why, self._target.build_s, 1, self._target.graph.size_bytes)])

    def structure(self) -> list[Step]:
        """What it takes to have the target's structure."""
        return [self._check()] if self._situation.kept else [self._new_structure()]

    def _plan(self, way: Way, steps: list[Step], *, needs_source: bool = False) -> Plan:
        anew = self._situation.anew
        keeps_addresses = way in (Way.RESIDENT, Way.IN_PLACE)
        keeps_structure = keeps_addresses or (way in (Way.REPOINT, Way.DIFFERENCE) and self._situation.takes_structure)
        if anew.structure_s and not keeps_structure:
            steps.append(Step("do again", "what belongs to the live structure", anew.structure_s))
        if anew.addresses_s and not keeps_addresses:
            steps.append(Step("do again", "what holds the tensors' addresses", anew.addresses_s))
        return Plan(self._situation.source, self._target.name, way, tuple(steps), needs_source=needs_source)

    def _check(self) -> Step:
        count = self._target.graph.module_count
        return Step("check", "modules for what has changed", self._costs.check.seconds(count), count)

    def _new_structure(self) -> Step:
        count = self._target.graph.module_count
        seconds = self._target.structure_s or self._costs.structure.seconds(count)
        return Step("build", "modules without memory", seconds, count)

    def _mapped(self, blobs: Collection[int]) -> list[Step]:
        files = {self._target.stored[i].file for i in blobs if self._target.stored[i].size_bytes}
        return [Step("map", "files of weights", self._costs.map.seconds(len(files)), len(files))] if files else []

    def _pointed(self, blobs: Collection[int]) -> list[Step]:
        """Maps or reads pieces of memory, and points all tensors at theirs."""
        costs, tensors = self._costs, len(self._target.graph.tensors)
        size = sum(self._target.graph.blobs[i].size_bytes for i in blobs)
        if self._situation.mapped:
            using = Step(
                "use", "mapped weights for the first time", costs.touch.seconds(len(blobs), size), len(blobs), size
            )
        else:
            using = Step("read", "weights into new memory", costs.fresh.seconds(len(blobs), size), len(blobs), size)
        return [*self._mapped(blobs), Step("point", "tensors at weights", costs.bind.seconds(tensors), tensors), using]

    def _drop(self, kept_bytes: int | None) -> list[Step]:
        if self._pair is None:
            return []
        size = self._pair.source.graph.size_bytes - (kept_bytes or 0)
        return [Step("drop", "memory of the model that is given up", self._costs.drop.seconds(0, size))]
