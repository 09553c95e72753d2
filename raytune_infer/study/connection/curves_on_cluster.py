"""The resource curves of a service's operators on a cluster: which nodes have what, and where nothing has to start."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from cluster import inventory
from cluster.inventory import Inventory, Node
from cluster.operators.curves.point import Resources
from raytune_infer.errors import UserError
from raytune_infer.operators.curve_study import SettingsOf, StudiedCurves, Wanted, curve_store, studied, wanted
from raytune_infer.operators.on_ray import points_on_ray, versions_here
from raytune_infer.operators.profiling import ServiceProfile
from raytune_infer.spec.demand import demand
from raytune_infer.spec.service_spec import ServiceSpec
from raytune_infer.spec.standard_knobs import NO_GPU
from raytune_infer.store.curves import CurveStore
from raytune_infer.store.made_on import processor
from raytune_infer.study.connection.session import check_session, ray_session
from raytune_infer.study.space import Resolver
from searchers.space import Config
from serve_deployments.device.limits import machine_cores
from serve_deployments.settings import Settings

Said = Callable[[str], None]
_ASK_S = 120.0
"""Seconds in which the nodes must have said what they are; our choice: a worker starts and imports torch."""


def curves_on_cluster(
    spec: ServiceSpec,
    profile: ServiceProfile,
    *,
    address: str | None,
    db: str | None,
    seconds: float,
    refine: bool = False,
    said: Said,
) -> StudiedCurves:
    """Return the curves of a service's operators: those that are known, and those that are measured now.

    Where all is known and no cluster is named, nothing is started.

    Args:
        spec: the service.
        profile: its profile.
        address: address of a Ray cluster; None for this machine.
        db: URL of the database of points; None for a file beside the runs.
        seconds: bound on the seconds of measuring, besides the start of processes.
        refine: whether points that are known badly are measured again.
        said: is told what is about to be done, and of the progress.

    Raises:
        UserError: the profile tells no operators whose shapes follow the batch, or the cluster cannot be used.
    """
    if not profile.classes:
        raise UserError(
            f"{profile.name!r} has no operators that can be measured by themselves: {' '.join(profile.notes)}"
        )
    check_session(address=address, emulate=None)
    with curve_store(db) as store:
        here = address is None and "RAY_ADDRESS" not in os.environ and not _is_connected()
        if here and profile.place.gpu is None:
            found = _wanted(spec, profile, store, _this_machine(), [processor()], versions_here(), seconds, refine)
            if not found.placed:
                return studied(found, store, points_on_ray, said)
        with _session(address, spec):
            nodes = inventory.from_ray()
            if nodes.emulated:
                raise UserError(
                    "the cluster's GPUs are emulated: operators take as long there as on its CPU; name another"
                )
            devices, versions = _devices(nodes)
            found = _wanted(spec, profile, store, nodes, devices, versions, seconds, refine)
            said(_announced(found, seconds))
            return studied(found, store, points_on_ray, said)


def _is_connected() -> bool:
    return "ray" in sys.modules and sys.modules["ray"].is_initialized()


def _session(address: str | None, spec: ServiceSpec) -> AbstractContextManager[None]:
    # No code of the service's runs in these tasks, so none is sent.
    return nullcontext() if _is_connected() else ray_session(address=address, emulate=None, folder=Path(spec.folder))


def _announced(found: Wanted, seconds: float) -> str:
    count, operators = len(found.plan.jobs), len(found.plan.operators)
    if not count:
        return f"all {found.plan.known} points of {operators} operators are known"
    return (
        f"measuring {count} points of {operators} operators ({found.plan.known} more are known), for {seconds:g} s at "
        f"the most, besides the start of {len(found.placed)} process{'es' if len(found.placed) > 1 else ''}"
    )


def _wanted(
    spec: ServiceSpec, profile: ServiceProfile, store: CurveStore, nodes: Inventory, devices: list[str], versions: str,
    seconds: float, refine: bool,
) -> Wanted:  # fmt: skip
    found = _settings_of(spec, nodes)
    return wanted(spec, profile, store, found, devices=devices, versions=versions, seconds=seconds, refine=refine)


def _settings_of(spec: ServiceSpec, nodes: Inventory) -> SettingsOf:
    """Return what resolves resources on these nodes."""
    resolver = Resolver(spec, nodes, emulated=False)

    def settings(resources: Resources) -> Settings | str:
        config: Config = {
            **spec.default_config, "max_batch_size": resources.batch, "precision": resources.precision,
            "cpu_cores": resources.cpu_cores, "threads": resources.threads, "gpu_type": resources.gpu_type or NO_GPU,
        }  # fmt: skip
        config |= {"gpu_share": resources.gpu_share} if resources.gpu_share else {}
        config |= {"gpu_memory": resources.gpu_memory} if resources.gpu_memory else {}
        return nodes.why_not(demand(config)) or resolver.settings(config)

    return settings


def _this_machine() -> Inventory:
    """Return this machine as a cluster of one node, of which only the cores count."""
    return Inventory((Node("here", platform.node(), len(machine_cores()), 0.0),))


def _devices(nodes: Inventory) -> tuple[list[str], str]:
    """Return the names of the cluster's processors and GPUs, and the versions of what computes operators there.

    Raises:
        UserError: the nodes do not answer, or have other versions: their points would be no curve.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0)(_told)
    asked = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)).remote()
        for node in nodes.nodes if node.cpu_cores
    ]  # fmt: skip
    try:
        told = ray.get(asked, timeout=_ASK_S)
    except (ray.exceptions.RayError, TimeoutError) as error:
        raise UserError(
            f"the nodes of the cluster do not say what they are: {error}; see `raytune-infer cluster`"
        ) from None
    versions = {version for _, version in told}
    if len(versions) != 1:
        raise UserError(
            f"the nodes have different versions ({', '.join(sorted(versions))}); install one on all of them"
        )
    processors = list(dict.fromkeys(name for name, _ in told))
    return [*processors, *nodes.gpu_types], versions.pop()


def _told() -> tuple[str, str]:
    return processor(), versions_here()
