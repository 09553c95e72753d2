"""Which points of a model's operators are measured: those that its knobs reach and that nobody has measured yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from cluster.operators.curves.point import Job, Point, Resources
from cluster.operators.scaling import OperatorClass
from raytune_infer.operators.profiling import ServiceProfile
from raytune_infer.spec.service_spec import ServiceSpec
from raytune_infer.spec.standard_knobs import NO_GPU, gpu_name
from searchers.space import Value

COVERED = 0.98
"""Part of the time in operators whose curves are measured, most time first: rather more than that of key operators, as
the curves are added up to whole batches. Our choice."""
_MOST_OPERATORS = 40
LEAST_S = 0.04
"""Seconds that a point needs at the least, with what it takes to make its tensors; our choice, after some hundred
points on two cores."""
LOOSE = 0.25
"""Error of a point's time, as a part of it, above which it is worth measuring again. Our choice."""


@dataclass(frozen=True)
class CurvePlan:
    """What is measured, and what need not be.

    Args:
        jobs: the points to measure, those first that tell most.
        known: number of points that were measured before.
        left_out: number of points for which there is no time.
        operators: the operators, most time first.
    """

    jobs: tuple[Job, ...]
    known: int
    left_out: int
    operators: tuple[OperatorClass, ...]


def operators_of(profile: ServiceProfile) -> tuple[OperatorClass, ...]:
    """Returns the operators that account for `COVERED` of the time in operators, most time first."""
    used = sorted(profile.classes.items(), key=lambda pair: -pair[1].time_s)
    total, taken = sum(use.time_s for _, use in used), 0.0
    found: list[OperatorClass] = []
    for operator, use in used[:_MOST_OPERATORS]:
        if taken >= COVERED * total:
            break
        taken += use.time_s
        # A view takes as long whatever it shows, and has no curve.
        if operator.work(1, profile.precision).moved_bytes > 0:
            found.append(operator)
    return tuple(found)


def resources_among(spec: ServiceSpec, profile: ServiceProfile) -> list[Resources]:
    """Returns all combinations of resources that the service's knobs reach, and those that it was profiled with.

    Batches come from coarse to fine: the smallest and the largest, then what lies between.
    """
    context = profile.place.context
    batches = sorted({int(v) for v in _values(spec, "max_batch_size", profile.batch)} | {1, *profile.batch_s})
    precisions = [str(v) for v in _values(spec, "precision", context.precision)]
    cores = sorted({int(v) for v in _values(spec, "cpu_cores", context.cpu_cores)})
    threads = [int(v) for v in spec.values("threads")] if "threads" in spec.knobs else [None]
    gpus = [gpu_name(v) for v in _values(spec, "gpu_type", context.gpu_type or NO_GPU)]
    shares = [float(v) for v in _values(spec, "gpu_share", 0.0)]
    memories = [float(v) for v in _values(spec, "gpu_memory", 0.0)]
    found: dict[Resources, None] = {}
    for batch in coarse_to_fine(batches):
        for of_cores, precision, gpu, thread in product(cores, precisions, gpus, threads):
            for share, memory in product(shares, memories) if gpu is not None else [(0.0, 0.0)]:
                found[Resources(batch, precision, of_cores, thread or of_cores, gpu, share, memory)] = None
    return list(found)


def coarse_to_fine(values: Sequence[int]) -> list[int]:
    """Returns ascending values in the order of halving: first, last, middle, then the middles of what is left."""
    if len(values) <= 2:
        return list(values)
    order, spans = [0, len(values) - 1], [(0, len(values) - 1)]
    while spans:
        low, high = spans.pop(0)
        if high - low < 2:
            continue
        middle = (low + high) // 2
        order.append(middle)
        spans += [(low, middle), (middle, high)]
    return [values[at] for at in order]


def plan_of(
    operators: Sequence[OperatorClass], resources: Sequence[Resources], known: Sequence[Point], *, seconds: float
) -> CurvePlan:
    """Returns the points to measure within a bound on the seconds.

    Args:
        operators: the operators, most time first.
        resources: the resources, those first that tell most.
        known: what was measured before, on these devices with these versions.
        seconds: the bound.
    """
    had = {(point.operator, point.resources) for point in known}
    wanted = [Job(operator, each) for each in resources for operator in operators]
    missing = [job for job in wanted if (job.operator, job.resources) not in had]
    most = max(0, int(seconds / LEAST_S))
    return CurvePlan(tuple(missing[:most]), len(wanted) - len(missing), max(0, len(missing) - most), tuple(operators))


def _values(spec: ServiceSpec, knob: str, otherwise: Value) -> Sequence[Value]:
    return list(spec.values(knob)) if knob in spec.knobs else [otherwise]
