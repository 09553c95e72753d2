"""Emulated hardware: nodes with emulated GPUs, and a model whose service time comes from a roofline.

`cluster.emulated:model` is the builder to name in service.yaml.
"""

from cluster.emulated.devices import model

__all__ = ["model"]
