"""The resource curves of a service's operators: what is known is taken, what is missing is measured and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.operators.curves.lookup import Curves
from cluster.operators.curves.point import Job, NotMeasured, Point, Resources
from cluster.operators.scaling import OperatorClass
from raytune_infer.counted import counted
from raytune_infer.operators.curve_plan import LOOSE, CurvePlan, operators_of, plan_of, resources_among
from raytune_infer.operators.on_ray import Placed, Result
from raytune_infer.operators.profiling import ServiceProfile
from raytune_infer.spec.service_spec import ServiceSpec
from raytune_infer.store.curves import CurveStore
from raytune_infer.store.database import Database
from raytune_infer.store.database_url import url_of, url_of_file
from serve_deployments.settings import Settings

STORED = Path("runs") / "operators.db"
"""Where points are kept by default: beside the folders of runs."""

Placement = tuple[str | None, float, float]
SettingsOf = Callable[[Resources], Settings | str]
"""Resources → the settings of a replica with them on this cluster; a sentence if no node has them."""
Measure = Callable[[Sequence[Placed]], Iterator[Result | str]]
Said = Callable[[str], None]

_KEPT_AT_ONCE = 50
"""Points after which those measured are written to the database; our choice: a crash loses a few seconds of work."""


@dataclass(frozen=True)
class StudiedCurves:
    """The curves of a service's operators.

    Args:
        curves: all points, those of other models among them.
        operators: the operators whose curves were wanted, most time first.
        resources: the resources that were wanted.
        measured: number of points that were measured now.
        known: number of points that were there already.
        notes: what could not be measured or enforced, and why.
    """

    curves: Curves
    operators: tuple[OperatorClass, ...]
    resources: tuple[Resources, ...]
    measured: int
    known: int
    notes: tuple[str, ...] = ()


@contextmanager
def curve_store(url: str | None) -> Iterator[CurveStore]:
    """Open the database of points: at a URL, or the file `STORED` in this folder, which is made if there is none."""
    if url is None:
        STORED.parent.mkdir(parents=True, exist_ok=True)
    with closing(Database(url_of_file(STORED) if url is None else url_of(url))) as database:
        yield CurveStore(database)


@dataclass(frozen=True)
class Wanted:
    """Points that are wanted of a service's operators, and what is known of them.

    Args:
        plan: what is measured.
        resources: the resources that the service's knobs reach on this cluster.
        points: what was measured before on these devices, of any model.
        placed: the points to measure by the kind of node.
        notes: resources that no node has.
    """

    plan: CurvePlan
    resources: tuple[Resources, ...]
    points: tuple[Point, ...]
    placed: tuple[Placed, ...]
    notes: tuple[str, ...]


def wanted(
    spec: ServiceSpec, profile: ServiceProfile, store: CurveStore, settings_of: SettingsOf, *,
    devices: Sequence[str], versions: str, seconds: float, refine: bool = False,
) -> Wanted:  # fmt: skip
    """Return what is to be measured of a service's operators within a bound on the seconds.

    Args:
        spec: the service.
        profile: its profile.
        store: the points that are known.
        settings_of: resources → settings on this cluster.
        devices: names of the devices of this cluster.
        versions: versions of what computes operators.
        seconds: the bound, on all kinds of nodes together.
        refine: whether points whose time is known to `LOOSE` at best are measured again.
    """
    fitting: dict[Resources, Settings] = {}
    why: dict[str, int] = {}
    for each in resources_among(spec, profile):
        found = settings_of(each)
        if isinstance(found, str):
            why[found] = why.get(found, 0) + 1
        else:
            fitting[each] = found
    points = store.points(devices=devices, versions=versions)
    kept = [point for point in points if not refine or point.time.error <= LOOSE]
    plan = plan_of(operators_of(profile), list(fitting), kept, seconds=seconds)
    notes = tuple(f"{counted(count, 'setting')} of resources left out: {reason}" for reason, count in why.items())
    return Wanted(plan, tuple(fitting), points, _placed(plan, fitting, seconds), notes)


def _placed(plan: CurvePlan, settings: dict[Resources, Settings], seconds: float) -> tuple[Placed, ...]:
    """Return the points by the kind of node, each of which has its part of the seconds."""
    groups: dict[Placement, list[Job]] = {}
    for job in plan.jobs:
        groups.setdefault(job.resources.placement, []).append(job)
    return tuple(
        Placed(
            max((settings[job.resources] for job in jobs), key=lambda one: one.cpu_cores),
            tuple(jobs),
            seconds * len(jobs) / len(plan.jobs),
        )
        for jobs in groups.values()
    )


def studied(found: Wanted, store: CurveStore, measure: Measure, said: Said) -> StudiedCurves:
    """Measure what is missing, keep it, and return all curves; what is kept stays if this is interrupted.

    Args:
        found: what is wanted.
        store: where points are kept.
        measure: measures points.
        said: is told of the progress, in sentences.
    """
    fresh: list[Point] = []
    kept = 0
    failed: dict[str, list[Job]] = {}
    told: list[str] = []
    total = len(found.plan.jobs)
    try:
        for result in measure(found.placed) if found.placed else ():
            if isinstance(result, str):
                told.append(result)
                continue
            if isinstance(result, NotMeasured):
                failed.setdefault(result.why, []).append(result.job)
            else:
                fresh.append(result)
            if len(fresh) - kept >= _KEPT_AT_ONCE:
                kept += store.add(fresh[kept:])
                said(f"{len(fresh)} of {total} points")
    finally:
        store.add(fresh[kept:])
    notes = [*found.notes, *told, *(_failed(why, jobs) for why, jobs in failed.items())]
    if loose := sum(point.time.error > LOOSE for point in fresh):
        notes.append(
            f"{counted(loose, 'time')} of {len(fresh)} known to {LOOSE:.0%} at best, as when the machine has other "
            "work; --refine measures them again"
        )
    if found.plan.left_out:
        notes.append(f"{counted(found.plan.left_out, 'point')} left out for lack of time; --seconds gives more")
    return StudiedCurves(
        Curves([*found.points, *fresh]), found.plan.operators, found.resources, len(fresh), found.plan.known,
        tuple(notes),
    )  # fmt: skip


def _failed(why: str, jobs: Sequence[Job]) -> str:
    names = ", ".join(dict.fromkeys(job.operator.name for job in jobs))
    return f"{counted(len(jobs), 'point')} of {names} not measured: {why}"
