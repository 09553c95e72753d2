"""The profile of a service's model on its own samples, on the device at hand."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cluster.operators.onnx_trace import trace_of_events
from cluster.operators.profile import Profile, profile_of
from cluster.operators.roofline import Roofline, gpu_roofline, measured_roofline
from cluster.operators.scaling import NotAligned, OperatorClass, classes_of, inputs_among
from cluster.operators.torch_trace import traced
from cluster.operators.trace import Trace, median_of
from raytune_infer.errors import UserError
from raytune_infer.operators.built_model import BuiltModel, Place, built_model, onnx_file, payloads, place_of
from raytune_infer.spec.service import Service
from raytune_infer.store.made_on import processor
from searchers.space import Config
from serve_deployments.endpoint import first_line

_FEWEST, _MOST, _TRACES = 3, 30, 9
"""Fewest and most runs of a batch without the profiler, and most with it. Our choice."""
_TIMING_S, _TRACING_S = 0.5, 1.0
"""Seconds after which no more runs begin, without and with the profiler. Our choice: a profile takes a few seconds."""
_MOST_CALLS = 20_000
"""Calls of operators in a batch above which it is traced once, as the profiler keeps each of them."""


@dataclass(frozen=True)
class ClassUse:
    """How a model uses one class of operator.

    Args:
        calls: calls in a batch.
        time_s: seconds of all of them, in the largest batch that was traced.
    """

    calls: int
    time_s: float


@dataclass(frozen=True)
class ServiceProfile:
    """What is known of a service's model by its operators.

    Args:
        name: name of the service.
        config: the configuration that it was profiled in.
        batch: number of payloads of a batch.
        place: what it ran on.
        profile: where the time and the memory of a batch go.
        roofline: peak and bandwidth of the device; None if they could not be found.
        batch_s: batch size → median seconds of a batch without the profiler.
        classes: class of operator → how it is used; empty if shapes do not follow the batch.
        notes: what is to be said of it.
    """

    name: str
    config: Config
    batch: int
    place: Place
    profile: Profile
    roofline: Roofline | None
    batch_s: Mapping[int, float]
    classes: Mapping[OperatorClass, ClassUse]
    notes: tuple[str, ...] = ()

    @property
    def precision(self) -> str:
        """Precision of the model's weights and arithmetic."""
        return self.place.context.precision


def profile_service(
    service: Service,
    *,
    batch: int | None = None,
    config: Config | None = None,
    clock: Callable[[], float] | None = None,
) -> ServiceProfile:
    """Builds a service's model here, and profiles a batch of its own samples.

    Args:
        service: the service.
        batch: number of payloads; that of the configuration by default.
        config: the configuration; the service's default by default.
        clock: clock in seconds.

    Raises:
        UserError: the model cannot be built, or fails on its own samples.
    """
    now = clock or time.perf_counter
    spec = service.spec
    chosen = spec.default_config if config is None else config
    size = batch or int(chosen.get("max_batch_size", 1))
    place = place_of(chosen)
    _refuse_emulated(service)
    with built_model(service, chosen, place) as model:
        found = _Profiled(model, service.samples, size, place, now)
        file = onnx_file(service)
        trace = found.trace() if file is None else _onnx_trace(service, file, place, found)
        classes = found.classes() if trace.calls and file is None else {}
        batch_s = found.batch_s
        roofline = _roofline(place)
    if file is not None:
        found.notes.append(
            "ONNX Runtime tells the memory of weights alone, and its operators are not measured by themselves: they "
            "have no resource curves."
        )
    profile = profile_of(trace, batch_s[size], inputs=found.inputs)
    return ServiceProfile(
        spec.name, chosen, size, place, profile, roofline, batch_s, classes, (*place.notes, *found.notes)
    )


def _refuse_emulated(service: Service) -> None:
    from serve_deployments.models.model import is_emulated

    if is_emulated(service.source):
        raise UserError(
            f"{service.spec.name!r} has an emulated model, which has a time but no operators; name a service.yaml with "
            "a real model"
        )


class _Profiled:
    """A model under measurement: batches of its samples, timed and traced.

    Args:
        model: the model.
        samples: the service's samples.
        size: number of payloads of the batch to profile.
        place: what it runs on.
        now: clock in seconds.
    """

    def __init__(
        self, model: BuiltModel, samples: Sequence[Any], size: int, place: Place, now: Callable[[], float]
    ) -> None:
        self.notes: list[str] = []
        self.inputs: frozenset[int] = frozenset()
        self.batch_s: dict[int, float] = {}
        self.size = size
        self._model, self._samples, self._place, self._now = model, samples, place, now
        # Of the two batches from which it is seen what follows the batch, none is 1, which is a case of its own.
        self.pair = (size // 2, size) if size >= 4 else (2, 4)
        self._traces: dict[int, Trace] = {}

    def payloads(self, batch: int) -> list[Any]:
        """Returns a batch of the samples; of all sizes the same ones."""
        return payloads(self._samples, min(self.pair[0], self.size), batch)

    def time(self, batch: int) -> float:
        """Returns the median seconds of a batch without the profiler; raises UserError if the model fails on it."""
        if batch in self.batch_s:
            return self.batch_s[batch]
        given = self.payloads(batch)
        times: list[float] = []
        try:
            self._model.run(given)
            until_s = self._now() + _TIMING_S
            while len(times) < _FEWEST or (self._now() < until_s and len(times) < _MOST):
                began_s = self._now()
                self._model.run(given)
                times.append(self._now() - began_s)
        except Exception as error:  # a model may raise anything
            raise UserError(
                f"the model fails on {batch} of its own samples: {first_line(error)}; check them, or --batch"
            ) from error
        self.batch_s[batch] = statistics.median(times)
        return self.batch_s[batch]

    def trace(self, batch: int | None = None) -> Trace:
        """Returns a traced batch; one without operators, and a note, if the model fails under the profiler."""
        size = batch or self.size
        if size in self._traces:
            return self._traces[size]
        alone_s = self.time(size)
        given = self.payloads(size)
        traces: list[Trace] = []
        until_s = self._now() + _TRACING_S
        try:
            while not traces or (
                self._now() < until_s and len(traces) < _TRACES and len(traces[0].calls) < _MOST_CALLS
            ):
                traces.append(traced(lambda: self._model.run(given), size, device=self._place.context.device))
        except Exception as error:  # the profiler or the model under it
            if not traces:
                self.notes.append(f"The model fails under torch's profiler: {first_line(error)}; it is one line here.")
                traces = [Trace(size, (), alone_s, alone_s)]
        self._traces[size] = median_of(traces)
        return self._traces[size]

    def classes(self) -> dict[OperatorClass, ClassUse]:
        """Returns how each class of operator is used in a batch; none, and a note, if that cannot be told."""
        small, large = (self.trace(size) for size in self.pair)
        self.inputs = inputs_among(*((large, small) if self.size == large.batch else (small, large)))
        used: dict[OperatorClass, ClassUse] = {}
        try:
            for each, call in zip(classes_of(small, large), large.calls, strict=True):
                if each is not None:
                    before = used.get(each, ClassUse(0, 0.0))
                    used[each] = ClassUse(before.calls + 1, before.time_s + call.time_s)
        except NotAligned as error:
            self.notes.append(f"Its operators do not follow the batch ({error}), so no curves can be added up for it.")
            return {}
        for size in (1, *self.pair):
            self.time(size)
        return used


def _onnx_trace(service: Service, file: Path, place: Place, found: _Profiled) -> Trace:
    """Returns a batch of an ONNX file by ONNX Runtime's own profiler."""
    from serve_deployments.models.loaders.onnx import profiled

    found.time(found.size)
    with TemporaryDirectory() as folder:
        batches = profiled(file, place.context, str(Path(folder) / "profile"))
        for _ in range(_FEWEST):
            batches(found.payloads(found.size))
        written = Path(batches.session.end_profiling())
        return trace_of_events(json.loads(written.read_text()), found.size)


def _roofline(place: Place) -> Roofline | None:
    """Returns the roofline of the device: a GPU's by its datasheet, a CPU's as measured with the model's threads."""
    if place.gpu is not None:
        return gpu_roofline(place.gpu)
    precisions = tuple(dict.fromkeys(("float32", place.context.precision)))
    return measured_roofline(processor(), precisions)
