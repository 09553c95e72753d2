"""A model without a server, to compare a served one with."""

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
    """A model that runs alone in a process, one full batch after another.

    Args:
        source: source of the model, which must not be asynchronous.
        batch: size of a batch.
        args: arguments of the model's builder.
        payloads: payloads, used in turn.
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
        """Requests per second over so many seconds, and at least one batch, on these cores."""
        if cores and can_pin():
            pin(cores)
        done, began = 0, time.perf_counter()
        while True:
            self._model(next(self._batches))
            done += self._batch
            took = time.perf_counter() - began
            if took >= seconds:
                return done / took
