"""The resources that a configuration needs on one node, and its price per hour."""

from __future__ import annotations

from collections.abc import Mapping

from cluster.inventory import Demand
from cluster.prices import PriceBook
from raytune_infer.spec.standard_knobs import gpu_name
from searchers.space import Value
from serve_deployments.settings import gpu_part

PLACING = ("cpu_cores", "gpu_type", "gpu_share", "gpu_memory")
"""Knobs that decide on which nodes a replica fits and what it costs."""


def demand(config: Mapping[str, Value]) -> Demand:
    """Return the resources that one node must have to hold the configuration."""
    gpu = gpu_name(config.get("gpu_type", "none"))
    part = gpu_part(float(config.get("gpu_share", 0)), float(config.get("gpu_memory", 0)))
    return Demand(cpu_cores=int(config.get("cpu_cores", 1)), gpu_type=gpu, gpu_share=0.0 if gpu is None else part)


def price(config: Mapping[str, Value], book: PriceBook) -> float:
    """Price of one replica of this configuration in US dollars per hour; raises NoPrice if the book lacks its GPU."""
    needed = demand(config)
    return book.usd_per_hour(cpu_cores=needed.cpu_cores, gpu_type=needed.gpu_type, gpu_share=needed.gpu_share)
