"""The application builder of many models: a front and some replicas, in a trial, by `serve`, or from a Serve config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.serve import Application

from serve_deployments.replicas.many.choosing.cheapest_conversion import IDLE_S
from serve_deployments.replicas.many.entry import ModelEntry, process_settings
from serve_deployments.replicas.many.front import Front
from serve_deployments.replicas.many.holder import Holder
from serve_deployments.settings import let_in

_HEALTH_S = 2.0
"""Seconds between two looks of Serve at a replica's process, and so until a new one is started for one that ended. Our
choice: Serve's 10 s would be most of an outage."""


def application(args: Mapping[str, Any]) -> Application:
    """Builds the application.

    Args:
        args: `models`: name → arguments of an exported config (see `replicas.application.application`); `replicas`:
            number of replicas; `idle_s`: see `CheapestConversion`, 60 if it is left out; `store`: name of the folder in
            which a node keeps models that can be converted, `models` if it is left out.

    Raises:
        NotTogether: two of the models need different processes.
        ValueError: there is no model, no replica, or a value is none.
    """
    entries = [ModelEntry.of(name, each) for name, each in args["models"].items()]
    replicas = int(args["replicas"])
    if not entries or replicas < 1:
        raise ValueError(f"one or more models and replicas are needed, got {len(entries)} and {replicas}")
    options = process_settings(entries).ray_actor_options
    holders = [
        Holder.options(  # a deployment each: Serve has no way to send a request to one of several replicas
            name=f"Holder-{number}",
            ray_actor_options=options,
            max_ongoing_requests=let_in(max(entry.settings.max_batch_size for entry in entries)),
            health_check_period_s=_HEALTH_S,
        ).bind(args.get("store", "models"))
        for number in range(1, replicas + 1)
    ]
    front = Front.options(ray_actor_options={"num_cpus": 0})  # it computes nothing, and no core is reserved for it
    return front.bind(entries, float(args.get("idle_s", IDLE_S)), *holders)
