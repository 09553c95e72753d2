"""Runtime of a study's trials: real replicas on Ray Serve, under load from separate actors."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import ray
from ray import serve
from ray.serve.context import _get_global_client as get_global_client

from raytune_infer.spec.samples.sample_order import distinct, spread
from raytune_infer.spec.service import Service
from raytune_infer.spec.service_spec import ServiceSpec
from raytune_infer.store.records import StudyRecord
from raytune_infer.study.connection.worker_environment import JOB_VARIABLE, SENT_BELOW
from raytune_infer.study.monitoring.study_series import labels_of
from raytune_infer.study.trials.trial import TrialRuntime
from serve_deployments.load.stored_samples import StoredSamples
from serve_deployments.measuring.in_cluster.load_side import release_cores
from serve_deployments.measuring.in_cluster.measure import AskWithLoadActor, WithLoadActor
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.models.model import ModelFiles, ModelSource
from serve_deployments.replicas.neighbours import ServeNeighbours
from serve_deployments.replicas.serve_backend import ServeBackend, delete_left_behind
from serve_deployments.replicas.warm.shared_pool import shared_pool
from serve_deployments.replicas.warm.warm_backend import WarmBackend


@contextmanager
def on_ray_serve(service: Service, study: StudyRecord) -> Iterator[TrialRuntime]:
    """Run real replicas on Ray Serve under real requests; all of the study's deployments are deleted at the end."""
    logging.getLogger("ray.serve").setLevel(logging.ERROR)  # it logs each of our deployments
    ran_before = not _is_remote() or get_global_client(raise_if_no_controller_running=False) is not None
    serve.start(proxy_location="Disabled")
    prefix = f"raytune-infer-{study.name}-{study.created_at:%Y%m%d-%H%M%S}-{study.id}"
    delete_left_behind(prefix)  # from a driver that was killed
    source = _seen_from_replicas(service.source, service.spec)
    order = spread(range(len(service.samples)), np.random.default_rng(study.seed))  # the same for every trial and round
    samples = [service.samples[place] for place in order]
    stored = StoredSamples.put(samples)
    fresh = ServeBackend(source, stored, prefix, deadline_s=service.spec.budget.deploy_s)

    labels = labels_of(study)
    compared = distinct(samples, service.spec.quality.samples)
    ask = AskWithLoadActor(StoredSamples.put(compared)) if compared else None

    def measure(number: int) -> WithLoadActor:
        """Return the load test of round `number` of the comparison, with its own random arrivals; 0 for the search."""
        plan = replace(service.plan, seed=service.plan.seed + number)
        load_test = LoadTest(plan, service.spec.latency_limits, service.spec.load.find)
        return WithLoadActor(load_test if number else load_test.for_search(), stored, order, labels)

    try:
        with shared_pool(labels=labels) as pool, closing(WarmBackend(fresh, pool)) as backend:
            beside, again = ServeNeighbours(fresh, pool), measure(1).load_test.again
            yield TrialRuntime(backend, measure(0), measure, ask, again=again, beside=beside)
    finally:
        release_cores()
        delete_left_behind(prefix)
        # On a shared cluster, a Serve left running without a proxy would have none for the next user's deployments.
        if not ran_before and not serve.status().applications:
            serve.shutdown()


def _is_remote() -> bool:
    """Whether we use an existing cluster, to which the folder of service.yaml was shipped."""
    return "working_dir" in ray.get_runtime_context().runtime_env


def _seen_from_replicas(source: ModelSource, spec: ServiceSpec) -> ModelSource:
    """Return the source as nodes see it to which a folder was sent: there it is the working folder of each process.

    `ray job submit` sends a folder of the user's choice, in which service.yaml may lie deeper.
    """
    if not _is_remote():
        return source
    in_job = JOB_VARIABLE in os.environ
    sent = Path.cwd() if in_job else spec.folder
    folder = str(spec.folder.relative_to(sent)) if spec.folder.is_relative_to(sent) else source.folder
    if not in_job and not spec.runs_code:
        folder = SENT_BELOW
    if isinstance(source, ModelFiles) and Path(source.path).is_relative_to(spec.folder):
        source = replace(source, path=str(Path(source.path).relative_to(spec.folder)))
    return replace(source, folder=folder)
