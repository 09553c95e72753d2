"""Micro-benchmarks as tasks of Ray, on the kinds of nodes that are asked for, under the limits of a trial's replica."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cluster.operators.curves.benchmark import measure
from cluster.operators.curves.point import Job, NotMeasured, Point
from raytune_infer.store.made_on import processor
from serve_deployments.device.process_tree import ProcessTree
from serve_deployments.device.replica_limits import ReplicaLimits
from serve_deployments.endpoint import first_line
from serve_deployments.settings import Settings

Result = Point | NotMeasured
_START_S = 120.0
"""Seconds for a task to begin: a worker starts, and torch is imported. Our choice."""


@dataclass(frozen=True)
class Placed:
    """The points of one kind of node.

    Args:
        settings: the settings of a replica there, with the most cores that any point has.
        jobs: the points.
        seconds: the bound on their time, from when the process is up.
    """

    settings: Settings
    jobs: tuple[Job, ...]
    seconds: float


def versions_here() -> str:
    """Returns the versions of what computes operators in this process."""
    import torch

    return f"torch {torch.__version__}"


def points_here(placed: Placed, clock: Callable[[], float] = time.perf_counter) -> Iterator[Result | str]:
    """Measures the points in this process, held to each one's cores and threads as a replica is.

    Args:
        placed: the points.
        clock: clock in seconds.

    Yields:
        Points, those that could not be measured, and sentences on limits that do not hold.
    """
    limits = ReplicaLimits(ProcessTree())
    told: list[str] = []

    def limit(cores: int, threads: int) -> None:
        limits.release()  # a lease is of one number of cores
        limits.apply(replace(placed.settings, cpu_cores=cores, threads=threads))
        told.extend(
            f"{each.limit} {each.asked} is not enforced: {each.how}"
            for each in limits.enforcements
            if not each.enforced
        )

    gpu_type = placed.settings.gpu_type
    device, versions = gpu_type or processor(), versions_here()
    where = "cpu" if gpu_type is None else "cuda"
    try:
        found = measure(placed.jobs, limit, seconds=placed.seconds, clock=clock, device=where)
        for result in found:
            if isinstance(result, NotMeasured):
                yield result
            else:
                yield Point(result[0].operator, result[0].resources, result[1], device, versions)
    finally:
        limits.release()
    yield from dict.fromkeys(told)


def points_on_ray(placed: Sequence[Placed]) -> Iterator[Result | str]:
    """Measures points on the nodes of the cluster that this process is connected to, one kind of node after another.

    One after another, as two processes on one machine would disturb each other. A node that does not answer in time, or
    ends, leaves its points unmeasured, and the others are measured all the same.
    """
    for each in placed:
        yield from _of_one(each)


def _of_one(placed: Placed) -> Iterator[Result | str]:
    import ray

    task = ray.remote(num_returns="streaming", max_retries=0)(points_here)
    results: Any = task.options(**task_options(placed.settings)).remote(placed)
    left = dict.fromkeys(placed.jobs)
    until_s = time.monotonic() + _START_S + placed.seconds
    why = "the node gave no answer in time"
    try:
        while (wait_s := until_s - time.monotonic()) > 0:
            ready, _ = ray.wait([results], timeout=wait_s)
            if not ready:
                break
            result: Result | str = ray.get(next(results))
            if not isinstance(result, str):
                left.pop(_job(result), None)
            yield result
    except StopIteration:
        why = "the node ended"
    except ray.exceptions.RayError as error:
        why = f"the node failed: {first_line(error)}"
    ray.cancel(results, force=False)
    yield from (NotMeasured(job, why) for job in left)


def _job(result: Result) -> Job:
    return result.job if isinstance(result, NotMeasured) else Job(result.operator, result.resources)


def task_options(settings: Settings) -> Mapping[str, Any]:
    """Returns Ray's options of a task with a replica's resources."""
    return settings.ray_actor_options
