"""The models of one process, of which it holds one at a time: built, and on the next request for another given up."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from typing import Any, Protocol, cast

from serve_deployments.batches.passing_on import PassingOn
from serve_deployments.models.live.garbage import SetAside
from serve_deployments.models.service_folder import enter
from serve_deployments.replicas.batching.dynamic_batching import DynamicBatching
from serve_deployments.replicas.hosting import HostedModel, is_of_payload
from serve_deployments.replicas.many.entry import ModelEntry
from serve_deployments.replicas.many.errors import ReplicaLost
from serve_deployments.replicas.many.line import Loaded

_DRAIN_S = 10.0
"""Seconds that calls which nobody waits for any more may take to end. Our choice, as in `replica`."""


class Conversions(Protocol):
    """Turns one model of this process into another. All calls are made in models' threads, one after the other."""

    def note(self, key: str, built: Any) -> int | None:
        """Takes note of a model that was just built, and is held; its bytes, or None if it cannot be converted to."""
        ...

    def become(self, key: str, built: Any) -> Loaded:
        """Has a model that was noted in place of what is held; raises if that fails, and then nothing is held."""
        ...

    def release(self) -> None:
        """Gives up the weights that are held."""
        ...


class HeldModels:
    """Holds one model, and becomes another when asked.

    A model that this process has held before, and that `Conversions` knows, is converted to; any other one is built as
    in a new replica, but without a new process. No first batches are run: the request that a model is loaded for is its
    first.

    Args:
        conversions: makes what converts, once there is a model; None: each model is built each time.
    """

    def __init__(self, conversions: Callable[[], Conversions] | None = None) -> None:
        self._make, self._conversions = conversions, cast(Conversions | None, None)
        self._entry: ModelEntry | None = None
        self._model: HostedModel | None = None
        self._batching: DynamicBatching | PassingOn | None = None
        self._parked: dict[str, HostedModel] = {}
        self._one_at_a_time = asyncio.Lock()

    @property
    def name(self) -> str | None:
        """Name of the model that is held."""
        return None if self._entry is None else self._entry.name

    async def hold(self, entry: ModelEntry) -> Loaded:
        """See `ManyReplica.hold`."""
        async with self._one_at_a_time:
            if self._entry == entry:
                return Loaded(0.0, 0, "held")
            began_s = time.perf_counter()
            await self._drain()
            loaded = await self._converted(entry)
            if loaded is None:
                await self._give_up()
                loaded = await self._built(entry)
            self._entry = entry
            return Loaded(time.perf_counter() - began_s, loaded.bytes_moved, loaded.way)

    async def drop(self) -> None:
        """See `ManyReplica.drop`."""
        async with self._one_at_a_time:
            await self._drain()
            await self._give_up()

    async def infer(self, name: str, payload: Any) -> Any:
        """Answers one request; raises ReplicaLost if the model is not held."""
        if self._entry is None or self._entry.name != name or self._batching is None:
            raise ReplicaLost(f"this process holds {self.name or 'no model'}, and not {name}")
        return await self._batching(payload)

    async def _drain(self) -> None:
        """Waits for calls that are still running; nobody waits for their answers."""
        entry, self._entry = self._entry, None  # from here on no request is let in
        if entry is None or not isinstance(self._batching, DynamicBatching):
            return
        until_s = time.monotonic() + _DRAIN_S
        while not self._batching.idle and time.monotonic() < until_s:
            await asyncio.sleep(0.001)

    async def _converted(self, entry: ModelEntry) -> Loaded | None:
        """Becomes a model that was held before; None if that is not possible."""
        known = self._parked.get(_key(entry))
        if self._conversions is None or known is None:
            return None
        before = self._model
        try:
            if before is not None:
                before.limits.release()
            await known.live.in_thread(known.limits.apply, entry.settings)
            loaded = await known.live.in_thread(self._conversions.become, _key(entry), known.live.built)
        except Exception:  # whatever it is, the model can be built
            self._parked.pop(_key(entry), None)
            known.limits.release()
            return None
        self._serve(entry, known)
        return loaded

    async def _built(self, entry: ModelEntry) -> Loaded:
        """Builds a model in this process."""
        enter(entry.source.folder, modules=False)  # its code is found by its loader, its relative paths start here
        model = HostedModel(entry.source, (), SetAside(ours=False))
        try:
            await model.take_on(entry.settings)
        except BaseException:
            model.limits.release()
            raise
        self._serve(entry, model)
        if self._make is None or model.live.concurrent:  # an engine of its own may use its module at any time
            return Loaded(0.0, 0, "built")
        if self._conversions is None:
            self._conversions = await model.live.in_thread(self._make)
        moved = await model.live.in_thread(self._conversions.note, _key(entry), model.live.built)
        if moved is not None:
            self._parked[_key(entry)] = model
        return Loaded(0.0, moved or 0, "built")

    def _serve(self, entry: ModelEntry, model: HostedModel) -> None:
        self._model = model
        settings = entry.settings
        if model.live.concurrent:
            self._batching = PassingOn(model, model.answer_wait_s)
        else:
            self._batching = DynamicBatching(
                model, settings.max_batch_size, settings.batch_wait_ms / 1e3,
                ahead=lambda: model.live.ahead, is_of_payload=is_of_payload,
            )  # fmt: skip

    async def _give_up(self) -> None:
        """Closes the model that is held; one that can be converted back to keeps its code, and no weights."""
        model, self._model, self._batching = self._model, None, None
        if model is None:
            return
        model.limits.release()
        if model in self._parked.values():
            assert self._conversions is not None, "else none is parked"
            await model.live.in_thread(self._conversions.release)
        else:
            await model.close()


def _key(entry: ModelEntry) -> str:
    """A name that is the same for the same source, arguments and settings, whatever the model's own name."""
    said = repr((entry.source, sorted(entry.settings.as_dict().items())))
    return hashlib.sha256(said.encode()).hexdigest()[:32]
