"""Plans for all pairs of registered models, made when a model is registered and kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from serve_deployments.transform.costs.costs import Costs
from serve_deployments.transform.planning.pair import Pair
from serve_deployments.transform.planning.plan import Plan
from serve_deployments.transform.planning.ways import Anew, Situation, by_operators, chosen
from serve_deployments.transform.registered.registered_model import RegisteredModel


class PlanCache:
    """The registered models with what each pair has in common, and the plans that were asked for.

    Args:
        costs: what plans are priced with.
        mapped: whether weights are mapped where the plans are carried out.
        anew: what has to be done again there after a conversion.
    """

    def __init__(self, costs: Costs, *, mapped: bool = True, anew: Anew | None = None) -> None:
        self.costs = costs
        self._mapped, self._anew = mapped, anew or Anew()
        self._models: dict[str, RegisteredModel] = {}
        self._pairs: dict[tuple[str, str], Pair] = {}
        self._plans: dict[tuple[str | None, str, bool, bool], Plan] = {}
        self._distances: dict[tuple[str, str], float] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._models

    def __getitem__(self, name: str) -> RegisteredModel:
        return self._models[name]

    def names(self) -> list[str]:
        """Names of the registered models, in the order of their registration."""
        return list(self._models)

    def register(self, model: RegisteredModel) -> None:
        """Adds a model, or replaces the one of this name, and plans between it and all others, both ways."""
        if self._models.get(model.name) == model:
            return
        self.forget(model.name)
        others = list(self._models.values())
        self._models[model.name] = model
        for other in (*others, model):
            self._pairs[model.name, other.name] = Pair.of(model, other)
            self._pairs[other.name, model.name] = Pair.of(other, model)
        for other in others:
            for kept in (False, True):
                self.plan(other.name, source=model.name, kept=kept)
                self.plan(model.name, source=other.name, kept=kept)

    def forget(self, name: str) -> None:
        """Removes a model and its plans; nothing happens if it is not there."""
        self._models.pop(name, None)
        self._pairs = {key: pair for key, pair in self._pairs.items() if name not in key}
        self._plans = {key: plan for key, plan in self._plans.items() if name not in key[:2]}
        self._distances = {key: each for key, each in self._distances.items() if name not in key}

    def pair(self, source: str, target: str) -> Pair:
        """What two models have in common; raises KeyError for a model that is not registered."""
        return self._pairs[source, target]

    def situation(
        self, target: str, *, source: str | None = None, resident: bool = False, kept: bool = False
    ) -> Situation:
        """The situation of a process of these properties (see `Situation`)."""
        pair = None if source is None else self._pairs[source, target]
        return Situation(self._models[target], pair, resident, kept, self._mapped, self._anew)

    def plan(self, target: str, *, source: str | None = None, resident: bool = False, kept: bool = False) -> Plan:
        """The cheapest plan; see `situation`."""
        key = (source, target, resident, kept)
        if key not in self._plans:
            self._plans[key] = chosen(self.situation(target, source=source, resident=resident, kept=kept), self.costs)
        return self._plans[key]

    def distance_s(self, one: str, other: str) -> float:
        """Edit distance of two models: seconds of the paper's operators that make the second of the first.

        Structures count as built, so that two of the same content are 0 apart but for what is done to each of them.
        Between models of which one has no graph it is the time to build the second.
        """
        key = (one, other)
        if key not in self._distances:
            situation = replace(self.situation(other, source=one), kept=True)
            if self._models[one].why_not is None and self._models[other].why_not is None:
                steps = by_operators(situation, self.costs).steps
                self._distances[key] = sum(step.price_s for step in steps if step.action != "check")
            else:
                self._distances[key] = self._models[other].build_s
        return self._distances[key]

    def prices_s(self, targets: Iterable[str], source: str | None) -> dict[str, float]:
        """Target → price of its cheapest plan, by a process that holds the source."""
        return {name: self.plan(name, source=source, resident=name == source).price_s for name in targets}
