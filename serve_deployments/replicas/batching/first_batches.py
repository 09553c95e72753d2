"""The batches that a replica runs before any load: they take one-time costs, and show whether the largest one fits."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from serve_deployments.endpoint import is_out_of_memory
from serve_deployments.models.sendable import as_sent, check_sendable
from serve_deployments.replicas.batching.batch_answers import Failed, answer_each
from serve_deployments.replicas.http.results import check_forms
from serve_deployments.resources.enforcement import Enforcement

READY_S = 10.0
"""Seconds after which no further batch is run that the model does not ask for. Our choice: a twelfth of the usual
`budget.deploy_s`."""

SHAPES_S = 30.0
"""Seconds after which no further batch is run for its shape alone. Our choice: a quarter of the usual
`budget.deploy_s`, as a model whose shapes have one-time costs of seconds would be compiled otherwise."""

_TWICE = 2.0  # how many times as long as the same batch again a first one takes that had a one-time cost (our choice)
_CONFIRMED = 2  # how many repeats must be faster: a stall of the machine seldom meets the first of all (our choice)
_NOTICED_S = 0.02  # shortest one-time cost of interest, far above what a busy machine adds to a call (our choice)


def usual_sizes(max_batch_size: int) -> tuple[int, ...]:
    """The largest batch size and the powers of two below it, the largest first: twice the work of a full batch."""
    powers = [1 << power for power in range((max_batch_size - 1).bit_length())]
    return (max_batch_size, *(size for size in reversed(powers) if size < max_batch_size))


@dataclass
class FirstBatches:
    """Runs the first batches of a model.

    Args:
        run: runs one batch; raises what the model raises.
        samples: payloads; those that the model refuses are left out once that is known.
        is_of_payload: see `answer_each`.
        clock: time in seconds.
        tried: sizes that have been run already.
        told: what could not be made ready in time; None if there is nothing to say.
        shapes_up_to: largest batch size up to which `run_shapes` has been called; 0: it has not.
    """

    run: Callable[[list[Any]], Awaitable[list[Any]]]
    samples: Sequence[Any]
    is_of_payload: Callable[[Exception], bool] = lambda error: True
    clock: Callable[[], float] = time.monotonic
    tried: set[int] = field(default_factory=set)
    told: Enforcement | None = None
    shapes_up_to: int = 0
    _costly: bool | None = None  # whether a new shape has a one-time cost; None: not known yet

    async def make_ready(self, needed: Sequence[int], max_batch_size: int) -> None:
        """Run a batch of each size that has not been run yet; raises if the model runs none of the samples.

        Args:
            needed: sizes to run, however long that takes.
            max_batch_size: largest size that the load will meet; the usual sizes up to it are run within `READY_S`.
        """
        until_s, tried = self.clock() + READY_S, len(self.tried)
        for size in needed:
            await self._first(size)
        missing = []
        for size in usual_sizes(max_batch_size):
            if self.clock() < until_s:
                await self._first(size)
            elif size not in self.tried:
                missing.append(size)
        if missing:
            sizes = ", ".join(map(str, missing))
            self._tell(f"batches of {sizes} would have taken more than {READY_S:g} s; their first ones may be slower")
        elif len(self.tried) > tried and self._has_more_shapes(max_batch_size):
            if await self._costs_by_shape(max_batch_size):
                await self._go_on(max_batch_size, until_s)

    async def run_shapes(self, batches: Sequence[tuple[int, ...]], until_s: float) -> None:
        """Run batches whose shapes have a one-time cost, as long as there is time; raises if memory runs out.

        Args:
            batches: numbers of the samples of each.
            until_s: time of the clock at which `SHAPES_S` have passed.
        """
        for done, numbers in enumerate(batches):
            if self.clock() >= until_s:
                self._tell(
                    f"{len(batches) - done} of the {len(batches)} shapes that batches of the samples can have were not "
                    f"recorded within {SHAPES_S:g} s: such batches run without a CUDA graph"
                )
                return
            try:
                await self.run([as_sent(self.samples[number]) for number in numbers])
            except Exception as error:
                if is_out_of_memory(error):
                    raise  # a sample that is refused is counted by the load test

    async def _first(self, size: int) -> None:
        """Run a batch of this size unless one has been run; it is run again without the samples that are refused."""
        while size not in self.tried:
            try:
                results = await self.run(self._batch(size))
                check_sendable(results)
                check_forms(results)
            except Exception as error:
                if not self.is_of_payload(error) or not await self._leave_out(size):
                    raise
                if not self.samples:
                    raise
            else:
                self.tried.add(size)

    async def _leave_out(self, size: int) -> bool:
        """Leave out the samples of a batch of this size that fail by themselves; returns whether there are any."""
        distinct = list(self.samples[:size])
        answers = await answer_each(self.run, self._batch(len(distinct)), is_of_payload=self.is_of_payload)
        good = [sample for sample, answer in zip(distinct, answers, strict=True) if not isinstance(answer, Failed)]
        self.samples = [*good, *self.samples[size:]]
        return len(good) < len(distinct)

    def _has_more_shapes(self, max_batch_size: int) -> bool:
        """Whether the load can bring batches that differ from those run so far: by their size, or their samples."""
        return max_batch_size > len(self.tried) or len(self.samples) > 1

    async def _costs_by_shape(self, max_batch_size: int) -> bool:
        """Whether a new size, or other samples, cost more the first time than again."""
        if self._costly is None:
            batches = (1, 1), (min(3, max_batch_size), 0)
            self._costly = any([await self._one_time_s(*batch) > 0 for batch in batches])
        return self._costly

    async def _go_on(self, max_batch_size: int, until_s: float) -> None:
        """Run batches as the load will, until a round of all sizes had no one-time cost or the time is up."""
        cost_s = 0.0
        for shift in range(len(self.samples)):
            costs_s: list[float] = []
            for size in range(max_batch_size, 0, -1):
                if self.clock() >= until_s:
                    self._tell(
                        f"a batch of a new size or of other samples took up to {max(cost_s, *costs_s, 0.0):.2g} s more "
                        f"the first time; after {READY_S:g} s not all had been run"
                    )
                    return
                costs_s.append(await self._one_time_s(size, shift))
                self.tried.add(size)
            cost_s = max(cost_s, *costs_s)
            if not any(costs_s):
                return

    async def _one_time_s(self, size: int, shift: int) -> float:
        """Seconds by which a batch takes longer than the same one again, if that is noticeable; else 0."""
        try:
            first_s, again_s = [await self._seconds(size, shift) for _ in range(2)]
            for _ in range(_CONFIRMED):
                if first_s <= _TWICE * again_s or first_s - again_s <= _NOTICED_S:
                    return 0.0
                again_s = max(again_s, await self._seconds(size, shift))
        except Exception:  # a sample that is refused: the load test counts it
            return 0.0
        return first_s - again_s

    async def _seconds(self, size: int, shift: int) -> float:
        batch = self._batch(size, shift)  # copied anew each time, as the model may write to it
        began_s = self.clock()
        await self.run(batch)
        return self.clock() - began_s

    def _batch(self, size: int, shift: int = 0) -> list[Any]:
        return [as_sent(self.samples[(shift + i) % len(self.samples)]) for i in range(size)]

    def _tell(self, how: str) -> None:
        before = "" if self.told is None else f"{self.told.how}; "
        self.told = Enforcement("first batches before the load", "yes", False, before + how)
