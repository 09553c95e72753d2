"""The resources that a configuration needs on one node, and its price per hour with the book of its service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cluster.inventory import Demand
from cluster.prices import DEFAULT_BOOK, PriceBook, PriceBookError, load_prices
from raytune_infer.errors import SpecError
from raytune_infer.spec.paths import beside, refuse_special
from raytune_infer.spec.standard_knobs import gpu_name
from searchers.space import Config, Space, Value
from serve_deployments.settings import gpu_part

if TYPE_CHECKING:
    from raytune_infer.spec.service_spec import ServiceSpec

PLACING = ("cpu_cores", "gpu_type", "gpu_share", "gpu_memory")
"""Knobs that decide on which nodes a replica fits and what it costs."""


def demand(config: Mapping[str, Value]) -> Demand:
    """Return the resources that one node must have to hold the configuration."""
    gpu = gpu_name(config.get("gpu_type", "none"))
    part = gpu_part(float(config.get("gpu_share", 0)), float(config.get("gpu_memory", 0)))
    return Demand(cpu_cores=int(config.get("cpu_cores", 1)), gpu_type=gpu, gpu_share=0.0 if gpu is None else part)


def placings(space: Space) -> tuple[list[Config], np.ndarray]:
    """Return the parts of configurations that decide on nodes and prices, each once, and which of them each one has.

    Returns:
        The values of the `PLACING` knobs, in the order in which they first occur by position, and `[len(space)]`
        indices into these.
    """
    code = np.zeros(len(space), dtype=np.int64)
    for at, knob in enumerate(space.knobs):
        if knob.name in PLACING:
            size = len(knob.values)
            code = code * (size + 1) + np.where(space.exists[:, at], space.ranks[:, at], size)
    _, first, which = np.unique(code, return_index=True, return_inverse=True)
    order = np.argsort(first)
    configs = [{name: v for name, v in space[int(at)].items() if name in PLACING} for at in first[order]]
    return configs, np.argsort(order)[which]


def price(config: Mapping[str, Value], book: PriceBook) -> float:
    """Price of one replica of this configuration in US dollars per hour; raises NoPrice if the book lacks its GPU."""
    needed = demand(config)
    return book.usd_per_hour(cpu_cores=needed.cpu_cores, gpu_type=needed.gpu_type, gpu_share=needed.gpu_share)


def price_book(spec: ServiceSpec) -> PriceBook:
    """Return the price book that a service names, or the default one; raises SpecError if there is no such book."""
    try:
        if spec.prices is None:
            return load_prices(DEFAULT_BOOK)
        path = beside(spec.folder, spec.prices)
        refuse_special(path)
        return load_prices(path if path.is_file() else spec.prices)
    except (PriceBookError, ValueError) as error:
        raise SpecError(f"{spec.place('prices')}: {error}") from None
