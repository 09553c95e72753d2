"""Measuring a running replica by a load actor: where the actor is, which question it asks, and for how long."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import ray

from serve_deployments.endpoint import Payload
from serve_deployments.measuring.load_side import load_actor
from serve_deployments.measuring.measurement import Measurement
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.replicas.backend import LoadFailed, Running
from serve_deployments.settings import Settings

_GRACE_S = 60.0
"""What a load test may take beyond its plan: the actor's start, its imports and the last answers."""


@dataclass(frozen=True)
class WithLoadActor:
    """Measures each replica by a load actor of its own, away from the replica where there is room.

    Args:
        plan: how long and how carefully.
        payloads: sent in turn.
        at_most: limits that the rate must keep.
        find: "highest_rate" under the limits, or the "peak" without; None: the former if there are limits.
    """

    plan: LoadPlan
    payloads: Sequence[Payload]
    at_most: Mapping[str, float]
    find: Literal["peak", "highest_rate"] | None = None

    def __call__(self, running: Running, settings: Settings, *, to_beat_rps: float | None = None) -> Measurement:
        """The measurement of a replica that runs under `settings`; it ends once this rate is surely out of reach.

        Raises:
            LoadFailed: the load test did not come to an end.
        """
        facts = running.facts()
        endpoint = running.endpoint
        try:
            with load_actor(_away_from(facts.hostname)) as actor:
                ray.get(actor.aim.remote(lambda: endpoint, list(self.payloads)))
                apart = ray.get(actor.stand_apart.remote())
                measurement = ray.get(self._ask(actor, settings, to_beat_rps), timeout=self.plan.total_max_s + _GRACE_S)
                # Another trial's replica may have leased the same cores meanwhile.
                return replace(measurement, apart=apart and ray.get(actor.is_apart.remote()))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, LoadFailed):
                raise error.cause from None  # in its own words, without the traceback of another process
            raise
        except ray.exceptions.RayError as error:  # it died, does not answer, or its node is gone
            said = str(error).strip().splitlines()
            raise LoadFailed(f"the load test did not end: {said[0] if said else type(error).__name__}") from error

    def _ask(self, actor: Any, settings: Settings, to_beat_rps: float | None) -> Any:
        if self.find == "highest_rate" or (self.find is None and self.at_most):
            return actor.highest_rate.remote(self.plan, dict(self.at_most), to_beat_rps)
        return actor.peak_rate.remote(self.plan.filling(settings.max_batch_size), to_beat_rps)


def _away_from(hostname: str) -> str:
    """Id of a node on another machine than the replica's where there is one, else of the caller's node.

    Of several, one without GPUs, then one with many cores: replicas that are measured there need their own.
    """
    other = [node for node in ray.nodes() if node["Alive"] and node["NodeManagerHostname"] != hostname]
    if not other:
        return str(ray.get_runtime_context().get_node_id())
    resources = [(node["Resources"].get("GPU", 0), -node["Resources"].get("CPU", 0)) for node in other]
    alike = [node["NodeID"] for node, r in zip(other, resources, strict=True) if r == min(resources)]
    return str(random.choice(alike))
