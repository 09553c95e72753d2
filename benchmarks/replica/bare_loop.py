"""A model without a server around it, to compare one with."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from serve_deployments.device.limits import can_pin, pin
from serve_deployments.endpoint import Payload
from serve_deployments.models.context import ModelContext
from serve_deployments.models.model import ModelSource, load


class BareLoop:
    """The model alone in a process, batch after full batch.

    Args:
        source: of the model; one that is not asynchronous.
        batch: its size.
        args: of its builder.
        payloads: in turn.
    """

    def __init__(self, source: ModelSource, batch: int, args: Mapping[str, Any], payloads: Sequence[Payload]) -> None:
        import torch

        torch.set_num_threads(1)
        self._model = cast(Callable[[list[Payload]], list[Any]], load(source, args, ModelContext()))
        turns = itertools.cycle(payloads)
        self._batches = itertools.cycle([[next(turns) for _ in range(batch)] for _ in range(len(payloads))])
        self._batch = batch
        self._model(next(self._batches))

    def rate_rps(self, seconds: float, cores: Sequence[int]) -> float:
        """Requests per second of so many seconds on these cores, a batch at least."""
        if cores and can_pin():
            pin(cores)
        done, began = 0, time.perf_counter()
        while True:
            self._model(next(self._batches))
            done += self._batch
            took = time.perf_counter() - began
            if took >= seconds:
                return done / took
