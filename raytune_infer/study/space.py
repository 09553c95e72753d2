"""The space to search: the user's configurations that fit on the cluster, with their prices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from types import MappingProxyType
from typing import Any

import numpy as np

from cluster.gpu_names import gpu_names
from cluster.inventory import Inventory
from cluster.prices import NoPrice, PriceBook
from raytune_infer.counted import counted
from raytune_infer.errors import NothingFits, SpecError
from raytune_infer.spec.demand import demand, placings, price
from raytune_infer.spec.knobs.knob_space import space_of
from raytune_infer.spec.service_spec import ServiceSpec
from raytune_infer.spec.standard_knobs import NO_GPU, STANDARD_KNOBS, gpu_name
from searchers.base import Problem
from searchers.quantities import PRICE
from searchers.space import Config, Space, Value
from serve_deployments.metrics.metric_table import metric_of
from serve_deployments.settings import Settings

TRIAL_NOISE = 0.1
"""Relative noise of a trial. Our choice, on the safe side: ten load tests of 7 to 12 s on one warm replica had a
standard deviation of 4 to 8 % (benchmarks/measuring/RESULTS.md, Repeatability)."""


@dataclass(frozen=True)
class Dropped:
    """Configurations that fit on no node of this cluster, for one reason.

    Args:
        reason: the reason and the remedy.
        count: number of configurations.
    """

    reason: str
    count: int


def settings_from(
    spec: ServiceSpec,
    config: Mapping[str, Value],
    *,
    node_labels: Mapping[str, str] = MappingProxyType({}),
    gpu_memory_gib: float | None = None,
    emulated: bool = False,
) -> Settings:
    """Return the replica's settings for a configuration, with what the cluster decides; raises ValueError if unfit.

    Args:
        spec: the service.
        config: the configuration.
        node_labels: selector of the nodes with its GPU type; without a GPU it has no effect.
        gpu_memory_gib: its limit of GPU memory in GiB; without a GPU or such a limit it has no effect.
        emulated: whether the model's own timing stands in for the devices.
    """
    standard: dict[str, Any] = {k: v for k, v in config.items() if k in STANDARD_KNOBS}
    if (gpu := gpu_name(standard.pop("gpu_type", NO_GPU))) is None:
        standard.pop("gpu_share", None)
        standard.pop("gpu_memory", None)
    else:
        standard |= {"gpu_type": gpu_names.canonical(gpu), "node_labels": node_labels}
        if "gpu_memory" in standard:
            standard["gpu_memory_gib"] = gpu_memory_gib
    return Settings(**standard, env=spec.variables(config), args=spec.arguments(config), emulated=emulated)


class Resolver:
    """Converts configurations to replica settings for one cluster.

    Args:
        spec: the service.
        inventory: the nodes of the cluster.
        emulated: whether the model's own timing stands in for the devices.
    """

    def __init__(self, spec: ServiceSpec, inventory: Inventory, *, emulated: bool) -> None:
        self._spec = spec
        self._inventory = inventory
        self.emulated = emulated

    def settings(self, config: Mapping[str, Value]) -> Settings:
        """Return the replica's settings for a configuration; raises ValueError if no node has the GPU type."""
        if (gpu := gpu_name(config.get("gpu_type", NO_GPU))) is None:
            return settings_from(self._spec, config, emulated=self.emulated)
        return settings_from(
            self._spec, config, node_labels=self._inventory.label_selector(gpu), emulated=self.emulated,
            gpu_memory_gib=float(config["gpu_memory"]) * self._memory_gib(gpu) if "gpu_memory" in config else None,
        )  # fmt: skip

    def _memory_gib(self, gpu: str) -> float:
        """Return the smallest memory in GiB that nodes report for this GPU type; the datasheet's if none does."""
        told = [node.gpu_memory_gib for node in self._inventory.with_gpu(gpu) if node.gpu_memory_gib > 0]
        return min(told) if told else gpu_names.find(gpu).memory_gib


@dataclass(frozen=True)
class ServiceSpace:
    """The search problem of a service, and the conversion of its configurations to replica settings.

    Args:
        problem: space, objective and prices.
        dropped: configurations that do not fit on this cluster, by reason.
        resolver: converts configurations to settings.
    """

    problem: Problem
    dropped: tuple[Dropped, ...]
    resolver: Resolver

    def position(self, config: Config) -> int | None:
        """Return the position of a configuration in the space; None if it does not fit on this cluster."""
        same = dict(config)
        if gpu_name(config.get("gpu_type", NO_GPU)) is None:
            # Without a GPU, GPU share and memory have no effect, and the space has only the first value of each.
            parts = [k for k in self.problem.space.knobs if k.name in ("gpu_share", "gpu_memory") and k.name in config]
            same |= {k.name: k.values[0] for k in parts}
        try:
            return self.problem.space.position(same)
        except KeyError:
            return None


def service_space(spec: ServiceSpec, inventory: Inventory, book: PriceBook, *, emulated: bool) -> ServiceSpace:
    """Return the configurations of `spec` that fit on a node of `inventory`, with their prices.

    Raises:
        NothingFits: no configuration fits.
        SpecError: the objective needs a price that the book does not have.
    """
    resolver = Resolver(spec, inventory, emulated=emulated)
    everything = space_of(spec.knobs, spec.where)
    kept, dropped = _sift(everything, inventory)
    if len(kept) == 0:
        reasons = "; ".join(f"{counted(d.count, 'configuration')}: {d.reason}" for d in dropped)
        raise NothingFits(f"no configuration of {spec.name!r} fits on this cluster: {reasons}")
    space = everything.subset(kept)
    configs, which = placings(space)
    usd = np.array([_price(book, config, spec) for config in configs])[which]
    return ServiceSpace(problem_of(spec, space, usd), dropped, resolver)


def problem_of(spec: ServiceSpec, space: Space, usd_per_hour: np.ndarray) -> Problem:
    """Return the problem that a study's searcher is given.

    Args:
        spec: the service.
        space: the configurations.
        usd_per_hour: `[len(space)]` their prices; NaN where unknown.
    """
    limited = {name: metric for name in spec.goal.limited if (metric := metric_of(name))}
    # A trial that breaks a limit on answers ends as one that does not run, like one with too many errors.
    shares = frozenset(name for name, metric in limited.items() if metric.is_share or metric.of_answers)
    return Problem(space, spec.goal, usd_per_hour, spec.facts, kept=spec.kept_limits, noise=TRIAL_NOISE, shares=shares)


def _sift(space: Space, inventory: Inventory) -> tuple[np.ndarray, tuple[Dropped, ...]]:
    """Return positions of the configurations that fit on a node, and those left out: also what repeats others."""
    configs, which = placings(space)
    first = {knob.name: knob.values[0] for knob in space.knobs}
    refused = [_why_not(config, first, inventory) for config in configs]
    reasons: Counter[str] = Counter()
    for reason, count in zip(refused, np.bincount(which).tolist(), strict=True):
        if reason is not None:
            reasons[reason] += count
    kept = np.flatnonzero(np.array([reason is None for reason in refused])[which])
    return kept, tuple(Dropped(reason, count) for reason, count in reasons.most_common())


def _why_not(config: Config, first: Config, inventory: Inventory) -> str | None:
    """Return why configurations with these values of the `PLACING` knobs are left out; None if they are not."""
    if (reason := inventory.why_not(demand(config))) is not None:
        return reason
    if gpu_name(config.get("gpu_type", NO_GPU)) is None and any(
        config[k] != first[k] for k in ("gpu_share", "gpu_memory") if k in config
    ):
        return "without a GPU, its share and memory make no difference"
    return None


def _price(book: PriceBook, config: Config, spec: ServiceSpec) -> float:
    try:
        return price(config, book)
    except NoPrice as error:
        if PRICE not in (*spec.goal.goal.names, *spec.goal.limited):
            return nan
        raise SpecError(f"the objective needs prices: {error}") from None
