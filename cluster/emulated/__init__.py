"""Emulated hardware: nodes with pretended GPUs, and a model that takes as long as a roofline says.

`cluster.emulated:model` is the builder that service.yaml names.
"""

from cluster.emulated.devices import model

__all__ = ["model"]
