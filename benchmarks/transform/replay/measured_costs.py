"""Measures what loading costs on this machine: CPU time of one thread, which other work on the machine hardly changes.

Weights are in the page cache, so that loading them waits for nothing; each way is measured in turn.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from benchmarks.transform.replay.costs import Costs, ModelCosts
from benchmarks.transform.replay.families import Structure, structures

_IMPORTS = "import torch, transformers, ray, ray.serve; from transformers import BertModel, GPT2Model, ViTModel"
"""What a new replica imports before it can load a model."""


def measure(folder: Path, rounds: int, siblings: int) -> Costs:
    """Costs of all structures with their siblings, medians of some rounds.

    Args:
        folder: for files of weights, one at a time.
        rounds: how often each is measured.
        siblings: number of models of each structure; the first half share their trunk.
    """
    models: dict[str, ModelCosts] = {}
    torch.set_num_threads(1)  # one of several threads that waits for another one counts its waiting as work
    for name, structure in structures().items():
        costs, trunk, head = _measured(name, structure, folder / "weights.safetensors", rounds)
        for number in range(siblings):
            own = "shared" if number < (siblings + 1) // 2 else str(number)
            tensors = {f"{name} trunk {own}": trunk, f"{name} head {number}": head}
            models[f"{name}-{number}"] = ModelCosts(name, tensors, *costs)
    return Costs(statistics.median(_process_s() for _ in range(rounds)), models)


def _measured(
    name: str, structure: Structure, file: Path, rounds: int
) -> tuple[tuple[float, float, float, float], int, int]:
    """Seconds (naive, scratch, skeleton, serve), and bytes of trunk and head."""
    live = structure.make().eval()
    save_file({key: value.contiguous() for key, value in live.state_dict().items()}, file)
    request = structure.request()
    ways: Mapping[str, Callable[[], object]] = {
        "naive": lambda: structure.make().load_state_dict(load_file(file)),
        "scratch": lambda: from_scratch(structure, file),
        "skeleton": lambda: live.load_state_dict(load_file(file), assign=True),
        "serve": lambda: _answer(live, request),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, run in ways.items():
            began_s = time.process_time()
            run()
            seconds[way].append(time.process_time() - began_s)
    sizes = {key: value.numel() * value.element_size() for key, value in live.state_dict().items()}
    head = sum(size for key, size in sizes.items() if key.startswith(structure.head))
    assert 0 < head < sum(sizes.values()), f"{name} has no head {structure.head!r}"
    medians = [statistics.median(each) for each in seconds.values()]
    return (medians[0], medians[1], medians[2], medians[3]), sum(sizes.values()) - head, head


def from_scratch(structure: Structure, file: Path) -> nn.Module:
    """A model in the best known way: parameters on the meta device, buffers as they are made, weights mapped."""
    with _meta_parameters():
        model = structure.make()
    model.load_state_dict(load_file(file), assign=True)
    return model.eval()


@contextmanager
def _meta_parameters() -> Iterator[None]:
    """Parameters that modules register take no memory and are not initialised.

    Buffers are left alone: those that are not persistent are in no file of weights.
    """
    register = nn.Module.register_parameter

    def registered(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None:
            param = nn.Parameter(param.to("meta"), requires_grad=param.requires_grad)
        register(module, name, param)

    setattr(nn.Module, "register_parameter", registered)  # noqa: B010  # a method, which mypy lets nobody assign
    try:
        yield
    finally:
        setattr(nn.Module, "register_parameter", register)  # noqa: B010


@torch.inference_mode()
def _answer(model: nn.Module, request: Mapping[str, torch.Tensor]) -> object:
    return model(**request)


def _process_s() -> float:
    """CPU time of a process that imports what models need."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", _IMPORTS], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
