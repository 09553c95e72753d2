"""Batches on a CPU, where no data has to be moved: the three functions of a model are called one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serve_deployments.batches.batch_parts import Parts
from serve_deployments.endpoint import Payload
from serve_deployments.resources.enforcement import Enforcement


class PlainBatches:
    """Runs the three functions of a model one after the other, without moving data.

    Args:
        parts: the model.
        told: records of whether and how options took effect.
        every_size: see `fast_batches`.
    """

    def __init__(self, parts: Parts, told: Sequence[Enforcement] = (), *, every_size: bool = False) -> None:
        self.parts = parts
        self._told = tuple(told)
        self._every_size = every_size

    def __call__(self, payloads: list[Payload]) -> list[Any]:
        """Runs one batch, from payloads to results."""
        import torch

        with torch.inference_mode():
            return self.parts.split(self.parts.forward(self.parts.collate(payloads)))

    def first_sizes(self, max_batch_size: int) -> Sequence[int]:
        """Batch sizes to run before any load, the largest first."""
        from serve_deployments.batches.packing import first_sizes  # imports torch

        return first_sizes(max_batch_size, every_size=self._every_size)

    def told(self) -> tuple[Enforcement, ...]:
        """Records of whether and how the model's options took effect."""
        return self._told
