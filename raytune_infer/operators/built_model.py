"""A service's model built in this process, and batches of its own samples to run through it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from cluster.gpu_names import gpu_names
from cluster.gpus import Gpu
from raytune_infer.errors import UserError
from raytune_infer.spec.service import Service
from raytune_infer.spec.standard_knobs import NO_GPU, gpu_name
from searchers.space import Value
from serve_deployments.device.limits import machine_cores
from serve_deployments.device.threads import set_threads
from serve_deployments.endpoint import first_line
from serve_deployments.environment.temporary import environment
from serve_deployments.models.context import ModelContext
from serve_deployments.models.live.hooks import hook
from serve_deployments.models.model import Builder, ModelFiles, as_batch, construct, locate
from serve_deployments.models.service_folder import inside


@dataclass(frozen=True)
class Place:
    """What a model is profiled on.

    Args:
        context: what the model is built with.
        gpu: the GPU, if it runs on one.
        notes: how it differs from what the configuration asks for.
    """

    context: ModelContext
    gpu: Gpu | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuiltModel:
    """A model that is built and can be called.

    Args:
        run: runs one batch of payloads, and returns when its results are there.
        built: what the loader or the builder has returned.
    """

    run: Callable[[list[Any]], object]
    built: Any


def place_of(config: Mapping[str, Value]) -> Place:
    """Returns what this machine has of the cores and the GPU that a configuration asks for."""
    asked, there = int(config.get("cpu_cores", 1)), len(machine_cores())
    cores, notes = min(asked, there), []
    if cores < asked:
        notes.append(f"The default has {asked} cores and this machine {there}: profiled with {cores}.")
    wanted = gpu_name(config.get("gpu_type", NO_GPU))
    gpu = _gpu_here() if wanted is not None else None
    if wanted is not None and gpu is None:
        notes.append(f"The default has the GPU type {wanted} and this machine no GPU: profiled on its CPU.")
    elif gpu is not None and wanted is not None and gpu.name != gpu_names.canonical(wanted):
        notes.append(f"The default has the GPU type {wanted} and this machine {gpu.name}: profiled on that.")
    context = ModelContext(
        precision=str(config.get("precision", "float32")), device="cpu" if gpu is None else "cuda", cpu_cores=cores,
        threads=min(int(config.get("threads", cores)), there), gpu_type=None if gpu is None else gpu.name,
        gpu_share=0.0 if gpu is None else 1.0,
    )  # fmt: skip
    return Place(context, gpu, tuple(notes))


def _gpu_here() -> Gpu | None:
    """Returns this process's first GPU, if the catalogue knows it."""
    import torch

    return gpu_names.known(torch.cuda.get_device_name()) if torch.cuda.is_available() else None


@contextmanager
def built_model(service: Service, config: Mapping[str, Value], place: Place) -> Iterator[BuiltModel]:
    """Builds a service's model with the arguments of a configuration, and closes it at the end.

    It runs in this thread, with the folder of the service and its environment variables, as in a replica.

    Raises:
        UserError: the model cannot be built.
    """
    source, context = service.source, place.context
    folder = source.folder if isinstance(source, Builder) and not source.ours else ""
    with ExitStack() as last:
        last.enter_context(environment(service.spec.variables(config)))
        last.enter_context(_threads(context.threads))
        last.enter_context(inside(folder))
        runner = last.enter_context(asyncio.Runner()) if isinstance(source, Builder) else None
        try:
            built = construct(source, service.spec.arguments(config), context)
            if inspect.isawaitable(built):
                assert runner is not None, "only builders are asynchronous"
                built = runner.run(_awaited(built))
            batch = as_batch(source, built)
        except Exception as error:  # a builder may raise anything
            raise UserError(
                f"the model cannot be built here: {first_line(error)}; try it with `raytune-infer tune`"
            ) from error
        closing = hook(batch, "close")
        try:
            yield BuiltModel(_caller(batch, runner, context.device, source), built)
        finally:
            if closing is not None:
                result = closing()
                if inspect.isawaitable(result) and runner is not None:
                    runner.run(_awaited(result))


def onnx_file(service: Service) -> Any | None:
    """Returns the path of the service's ONNX file; None for another model."""
    if not isinstance(service.source, ModelFiles):
        return None
    path, loader = locate(service.source)
    return path if loader.name == "onnx" else None


def payloads(samples: Sequence[Any], base: int, batch: int) -> list[Any]:
    """Returns a batch of `base` samples, spread over all of them, in turn.

    Batches of one base have the same longest sample, so that only their number differs.
    """
    count = min(base, len(samples))
    chosen = [samples[(2 * i + 1) * len(samples) // (2 * count)] for i in range(count)]
    return [chosen[i % count] for i in range(batch)]


def _caller(batch: Any, runner: asyncio.Runner | None, device: str, source: Any) -> Callable[[list[Any]], object]:
    if isinstance(source, Builder) and source.concurrent:
        # Such a model is called for each request by itself.
        if inspect.iscoroutinefunction(batch):
            assert runner is not None, "a builder has one"
            return lambda payloads: runner.run(_together(batch, payloads))
        return lambda payloads: [batch([payload]) for payload in payloads]
    if inspect.iscoroutinefunction(batch):
        assert runner is not None, "only builders are asynchronous"
        return lambda payloads: runner.run(batch(payloads))
    if not device.startswith("cuda"):
        return lambda payloads: batch(payloads)

    def run(payloads: list[Any]) -> object:
        import torch

        results = batch(payloads)
        torch.cuda.synchronize()
        return results

    return run


async def _together(batch: Any, payloads: list[Any]) -> list[Any]:
    return await asyncio.gather(*(batch([payload]) for payload in payloads))


async def _awaited(result: Any) -> Any:
    return await result


@contextmanager
def _threads(count: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    set_threads(count)
    try:
        yield
    finally:
        set_threads(before)
