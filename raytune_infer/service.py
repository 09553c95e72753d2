"""From service.yaml to the parts that serve and load it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.serve.context import _get_global_client as get_global_client

from cluster.prices import DEFAULT_BOOK, PriceBook, PriceBookError, load_prices
from raytune_infer.arrivals import read_arrivals
from raytune_infer.errors import SpecError
from raytune_infer.knob_spec import KnobSpec
from raytune_infer.records import StudyRecord
from raytune_infer.samples import read_samples
from raytune_infer.spec import ServiceSpec
from raytune_infer.trial import Bench
from serve_deployments.load.arrivals import Arrivals
from serve_deployments.measuring.load_side import let_go
from serve_deployments.measuring.measure import WithLoadActor
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.question import Question
from serve_deployments.models.loaders import ModelError
from serve_deployments.models.model import Builder, ModelSource, Weights, check, check_precisions
from serve_deployments.replicas.serve_backend import ServeBackend, delete_left_behind
from serve_deployments.replicas.shared_pool import shared_pool
from serve_deployments.replicas.warm_backend import WarmBackend

Serving = Callable[[StudyRecord], AbstractContextManager[Bench]]
"""What runs and what loads the replicas of one study, for as long as it searches."""


class Service:
    """A service, checked as far as can be without starting anything.

    Args:
        spec: the service.

    Raises:
        SpecError: samples, model, load or prices are not what they should be.
    """

    def __init__(self, spec: ServiceSpec) -> None:
        self.spec = spec
        self.samples = read_samples(spec)
        self.arrivals = read_arrivals(spec)
        self.source = model_source(spec)
        self.plan = _plan(spec, self.arrivals)
        self.prices = _prices(spec)
        # A module may stand beside service.yaml; replicas find it the same way.
        sys.path.insert(0, str(spec.folder))
        try:
            check(self.source, _builder_args(spec))
            if "precision" in spec.knobs:
                check_precisions(self.source, map(str, spec.values("precision")))
        except ModelError as error:
            raise SpecError(f"{spec.place('model')}: {error}") from None

    @contextmanager
    def serving(self, study: StudyRecord) -> Iterator[Bench]:
        """Real replicas on Ray Serve under load of real requests; nothing of the study is left at the end."""
        logging.getLogger("ray.serve").setLevel(logging.ERROR)  # its notes on each of our deployments
        ran_before = not _is_remote() or get_global_client(raise_if_no_controller_running=False) is not None
        serve.start(proxy_location="Disabled")
        prefix = f"raytune-infer-{study.name}-{study.created_at:%Y%m%d-%H%M%S}-{study.id}"
        delete_left_behind(prefix)  # of a driver that was killed
        spec, source = self.spec, _seen_from_replicas(self.source, self.spec)
        fresh = ServeBackend(source, self.samples, prefix, deadline_s=spec.budget.deploy_s)
        try:
            with shared_pool() as pool, closing(WarmBackend(fresh, pool)) as backend:
                yield Bench(backend, self._measure(0), self._measure)
        finally:
            let_go()
            delete_left_behind(prefix)
            # On someone's cluster a Serve that is left running without a proxy stays so for whoever deploys next.
            if not ran_before and not serve.status().applications:
                serve.shutdown()

    def _measure(self, number: int) -> WithLoadActor:
        """The load test of round `number` of the comparison, with arrivals of its own; 0: of the search."""
        plan = replace(self.plan, seed=self.plan.seed + number)
        return WithLoadActor(Question(plan, self.spec.latency_limits, self.spec.load.find), self.samples)


def model_source(spec: ServiceSpec) -> ModelSource:
    """Where the model comes from; relative paths start at the folder of service.yaml. Raises SpecError."""
    model = spec.model
    try:
        if model.build is not None:
            return Builder(model.build)
        assert model.path is not None, "one of the two, checked when read"
        in_package = model.path.startswith("package:")
        return Weights(model.path if in_package else str((spec.folder / model.path).expanduser()), model.loader)
    except ModelError as error:
        raise SpecError(f"{spec.place('model')}: {error}") from None


def _is_remote() -> bool:
    """Whether the folder of service.yaml was shipped to a cluster that was there before us."""
    return "working_dir" in ray.get_runtime_context().runtime_env


def _seen_from_replicas(source: ModelSource, spec: ServiceSpec) -> ModelSource:
    """A path inside the folder of service.yaml becomes relative where that folder is shipped to the nodes."""
    if not _is_remote() or isinstance(source, Builder) or source.path.startswith("package:"):
        return source
    path = Path(source.path)
    return replace(source, path=str(path.relative_to(spec.folder))) if path.is_relative_to(spec.folder) else source


def _plan(spec: ServiceSpec, arrivals: Arrivals) -> LoadPlan:
    names = {f.name for f in fields(LoadPlan)}
    try:
        return LoadPlan(**{k: v for k, v in spec.load.model_dump().items() if k in names} | {"arrivals": arrivals})
    except ValueError as error:
        raise SpecError(f"{spec.place('load')}: {error}") from None


def _prices(spec: ServiceSpec) -> PriceBook:
    try:
        if spec.prices is None:
            return load_prices(DEFAULT_BOOK)
        beside = spec.folder / spec.prices
        return load_prices(beside if beside.is_file() else spec.prices)
    except PriceBookError as error:
        raise SpecError(f"{spec.place('prices')}: {error}") from None


def _builder_args(spec: ServiceSpec) -> dict[str, Any]:
    """Every argument that the model's builder will ever be called with, each with one of its values."""
    own = {n: k.values[0] for n, k in spec.knobs.items() if isinstance(k, KnobSpec) and k.kind == "args"}
    return {**spec.model.args, **own}
