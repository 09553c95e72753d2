"""Costs of conversions on this device and storage: small models are built, mapped, used and copied, and times fitted.

It takes two to eight seconds and up to 250 MB beside the store, once for each machine, device, storage and version of
torch.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from serve_deployments.transform.costs.costs import Costs, Measured, load_costs, save_costs
from serve_deployments.transform.costs.line import Line, Timed, fitted
from serve_deployments.transform.graph.reading import graph_of, type_of
from serve_deployments.transform.live.memory import Mapped, Memory, Private
from serve_deployments.transform.live.structure import Structure, structure_of, without_memory
from serve_deployments.transform.registered.model_store import ModelStore
from serve_deployments.transform.registered.registered_model import Recipe, RegisteredModel

ROUNDS = 5
"""Times that each part is measured; the median counts. Our choice: a stall of the machine hits one or two of them."""
SIZES = ((1, 16), (60, 16), (60, 256), (6, 1024), (8, 2048))
"""Layers and width of the models that are measured: 2 to 120 tensors, 1 kB to 134 MB."""
COSTS = "costs.json"
"""Name of the table of costs in a store's folder."""
_PAGE_BYTES = 4096


def costs_here(store: ModelStore, memory: Memory | None = None, storage: str = "cache") -> Costs:
    """The costs of a store on this machine: those that were stored, or measured now and stored.

    Args:
        store: where weights are.
        memory: where they shall lie; by default they are mapped.
        storage: "cache" if their files are in the page cache, "disk" if they have to be read.
    """
    memory = memory or Mapped()
    wanted = measured_here(memory, storage)
    path = store.folder / COSTS
    found = load_costs(path, wanted)
    if found is None:
        found = profiled(store.folder, memory, storage)
        save_costs(path, found)
    return found


def measured_here(memory: Memory, storage: str) -> Measured:
    """What costs would be measured on now."""
    if storage not in ("cache", "disk"):
        raise ValueError(f'storage is "cache" or "disk", got {storage!r}')
    kind = f"{memory.device}, {type(memory).__name__.lower()}"
    name = torch.cuda.get_device_name() if memory.device.startswith("cuda") and torch.cuda.is_available() else _cpu()
    return Measured(kind, storage, name, torch.__version__, dt.date.today().isoformat())


def profiled(folder: Path, memory: Memory, storage: str = "cache") -> Costs:
    """Measures all costs with files in a folder, which is left as it was."""
    measured = measured_here(memory, storage)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".profile-") as inside, _one_thread():
        store = ModelStore(Path(inside))
        stacks = [_Stack(store, layers, width) for layers, width in SIZES]
        return Costs(
            check=fitted([each.checked() for each in stacks]),
            bind=fitted([each.bound() for each in stacks]),
            map=fitted([_opened(store, stacks)]),
            touch=fitted([each.touched(storage) for each in stacks]),
            drop=fitted([each.dropped() for each in stacks]),
            copy=fitted([each.filled(memory, storage) for each in stacks]),
            fresh=fitted([each.taken(Private() if isinstance(memory, Mapped) else memory, storage) for each in stacks]),
            structure=fitted([each.built() for each in stacks]),
            reduce=fitted([_attribute_set()]),
            edge=fitted([_attribute_set()]),
            add=(layers := _layers())[0],
            add_other=layers[1],
            measured=measured,
        )


class _Stack:
    """A model of equal layers, registered in a store."""

    def __init__(self, store: ModelStore, layers: int, width: int) -> None:
        parts = [nn.Linear(width, width, device="meta") for _ in range(layers)]
        model = nn.Sequential(*parts).to_empty(device="cpu")
        with torch.no_grad():
            for i, parameter in enumerate(model.parameters()):
                parameter.fill_(i)
        self._folder = store.folder
        self._recipe = Recipe(
            f"stack-{layers}-{width}", lambda: nn.Sequential(*(nn.Linear(width, width) for _ in range(layers)))
        )
        graph = graph_of(model, trace=False)
        self.model: RegisteredModel = store.save(self._recipe.name, model, graph, build_s=0.0, structure_s=0.0)
        self._structure: Structure = structure_of(self._recipe, graph)[0]

    def _timed(self, seconds: float, count: int | None = None) -> Timed:
        return Timed(len(self.model.stored) if count is None else count, self.model.graph.size_bytes, seconds)

    def checked(self) -> Timed:
        modules = self.model.graph.module_count
        return Timed(modules, 0, _median(self._structure.restore))

    def built(self) -> Timed:
        return Timed(self.model.graph.module_count, 0, _median(lambda: without_memory(self._recipe)))

    def bound(self) -> Timed:
        """Mapping the file, pointing at it and noting that: but for the file, a cost of each tensor."""

        def bind() -> None:
            for i, storage in enumerate(Mapped().take(self._folder, self.model.stored)):
                self._structure.point(i, storage)
            self._structure.seal()

        seconds = _median(bind)
        self._structure.park()
        return Timed(len(self.model.stored), 0, seconds)

    def touched(self, storage: str) -> Timed:
        """One byte of each page, as many times as there are pages; read anew where they are not in memory."""
        found = []
        for _ in range(ROUNDS):
            self._evict(storage)
            pages = [_view(each)[::_PAGE_BYTES] for each in Mapped().take(self._folder, self.model.stored)]
            found.append(_seconds(partial(list, map(torch.sum, pages))))
        return self._timed(statistics.median(found))

    def dropped(self) -> Timed:
        found = []
        for _ in range(ROUNDS):
            held = Mapped().take(self._folder, self.model.stored)
            for each in held:
                _view(each)[::_PAGE_BYTES].sum()
            found.append(_seconds(held.clear))
        return self._timed(statistics.median(found))

    def filled(self, memory: Memory, storage: str) -> Timed:
        found = []
        for _ in range(ROUNDS):
            into = memory.take(self._folder, self.model.stored)
            self._evict(storage)
            found.append(_seconds(partial(memory.fill, self._folder, self.model.stored, into)))
        return self._timed(statistics.median(found))

    def taken(self, memory: Memory, storage: str) -> Timed:
        found = []
        for _ in range(ROUNDS):
            self._evict(storage)
            found.append(_seconds(lambda: memory.take(self._folder, self.model.stored)))
        return self._timed(statistics.median(found))

    def _evict(self, storage: str) -> None:
        if storage == "disk":
            for file in self.model.files:
                with (self._folder / file).open("rb") as opened:
                    os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _opened(store: ModelStore, stacks: Sequence[_Stack]) -> Timed:
    """Mapping a piece of each of several files."""
    first = [stack.model.stored[0] for stack in stacks]
    return Timed(len(first), 0, _median(lambda: Mapped().take(store.folder, first)))


def _layers() -> tuple[dict[str, Line], Line]:
    """Costs of building layers as their classes do, with initial values: by class, and of any."""
    makes: list[list[Callable[[], nn.Module]]] = [
        [partial(nn.Linear, n, n) for n in (16, 256, 1024)],
        [partial(nn.Conv2d, n, n, 3) for n in (8, 64, 256)],
        [partial(nn.Embedding, n, 256) for n in (64, 1024, 8192)],
        [partial(nn.LayerNorm, n) for n in (16, 1024, 65536)],
        [partial(nn.BatchNorm2d, n) for n in (16, 1024, 65536)],
        [nn.GELU, nn.ReLU],
    ]
    lines, everything = {}, []
    for each in makes:
        times = [_layer(make) for make in each]
        everything += times
        lines[type_of(each[0]())] = fitted(times)
    return lines, fitted(everything)


def _layer(make: Callable[[], nn.Module]) -> Timed:
    with torch.random.fork_rng(devices=()):
        seconds = _median(make)
    return Timed(1, sum(p.numel() * p.element_size() for p in make().parameters()), seconds)


def _attribute_set() -> Timed:
    """Changing one entry of a module's table: all that is left of an edge, or of dropping an operation."""
    model, part = nn.Sequential(nn.ReLU()), nn.ReLU()

    def change() -> None:
        for _ in range(100):
            model._modules["0"] = part

    return Timed(100, 0, _median(change))


def _median(run: Callable[[], Any]) -> float:
    run()
    return statistics.median(_seconds(run) for _ in range(ROUNDS))


def _seconds(run: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def _view(storage: torch.UntypedStorage) -> torch.Tensor:
    return torch.empty(0, dtype=torch.uint8).set_(storage)


@contextmanager
def _one_thread() -> Iterator[None]:
    """As conversions run beside a load that has the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cpu(lines: Iterable[str] | None = None) -> str:
    """The processor's name; where the system does not tell it, its architecture."""
    try:
        found = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if lines is None else lines
        return next(line.partition(":")[2].strip() for line in found if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
