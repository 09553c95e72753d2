"""Cores reserved in Ray for as long as a trial lasts, apart from the replica that runs on them.

A replica reserves none itself: so one that is idle keeps none, and one with two cores and one with a single core can
both stay warm on a machine of two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from ray.util.placement_group import get_placement_group, placement_group, placement_group_table, remove_placement_group

from serve_deployments.backend import DeployTimeout


class NoRoom(DeployTimeout):
    """No node had the cores free in time."""


@contextmanager
def reserved(name: str, cores: int, labels: Mapping[str, str], *, wait_s: float, gpus: int = 0) -> Iterator[str]:
    """Cores of one node that Ray gives to nobody else meanwhile; the node's id.

    Args:
        name: what `release` knows it by; unique among those of one time.
        cores: how many.
        labels: Ray's label selector of the nodes that will do.
        wait_s: how long to wait for them.
        gpus: whole GPUs on top.

    Raises:
        NoRoom: they did not become free.
    """
    bundle = {"CPU": float(cores)} | ({"GPU": float(gpus)} if gpus else {})
    group = placement_group([bundle], name=name, bundle_label_selector=[dict(labels)] if labels else None)
    try:
        # Not group.ready(): that starts a task, in a process of its own.
        if not group.wait(wait_s):
            where = f" with labels {dict(labels)}" if labels else ""
            raise NoRoom(
                f"{bundle}{where} found no room in {wait_s:g} s; free the resources, add a node that has them, "
                "or drop the value"
            )
        yield placement_group_table(group)["bundles_to_node_id"][0]
    finally:
        remove_placement_group(group)


def release(name: str) -> None:
    """Take back what a process reserved that died; harmless otherwise.

    Ray does so only at the end of the job: it lets a group outlive the actor that made it, unless that was detached.
    """
    with suppress(ValueError):  # there is none, as Ray says it
        remove_placement_group(get_placement_group(name))
