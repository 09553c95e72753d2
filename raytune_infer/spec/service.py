"""A service built from service.yaml: model, samples, load and prices, checked without Ray."""

from __future__ import annotations

import math
import os
from dataclasses import fields
from importlib.util import find_spec
from typing import Any

from raytune_infer.errors import SpecError
from raytune_infer.spec.arrivals import read_arrivals
from raytune_infer.spec.demand import price_book
from raytune_infer.spec.knobs.knob_spec import KnobSpec
from raytune_infer.spec.paths import beside
from raytune_infer.spec.quality_spec import Score
from raytune_infer.spec.samples.requests.reading import read_requests
from raytune_infer.spec.samples.samples import read_samples
from raytune_infer.spec.service_spec import LLM, ServiceSpec
from serve_deployments.batches.passing_on import AnswerWait
from serve_deployments.endpoint import TURNS
from serve_deployments.environment.code_loading import loads_code
from serve_deployments.environment.secrets import BadSecret, secrets_in
from serve_deployments.load.arrivals import Arrivals
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.models.context import ModelError, UnexpectedArgument
from serve_deployments.models.loaders.llm.transformers_engine import check as check_llm
from serve_deployments.models.model import Builder, ModelFiles, ModelSource, caution, check, check_precisions
from serve_deployments.models.service_folder import module_file
from serve_deployments.replicas.http.payload_type import PayloadType

_STRETCH = 10.0
"""Factor by which a load test may exceed the default of `load.total_max_s`: ten minutes. Our choice: requests of half a
minute can be measured within it, and a study of twenty trials still ends overnight."""

_ENGINE = "serve_deployments.models.loaders.llm.transformers_engine:build"
"""Builder of the engine for `model.llm`."""

OUR_PACKAGES = ("raytune_infer", "searchers", "serve_deployments", "cluster")
"""Our packages, which must be found under their names wherever a replica runs."""


class Service:
    """A service, checked as far as is possible without starting anything.

    Args:
        spec: the service.
        runs_code: whether modules that the file names are imported, to see if what it names is in them. If not, it is
            only seen that there are such modules, and secrets need not be set: what runs may be another process.

    Raises:
        SpecError: samples, model, load or prices are invalid.
    """

    def __init__(self, spec: ServiceSpec, *, runs_code: bool = True) -> None:
        self.spec = spec
        requests = None if spec.requests is None else read_requests(spec)
        self.samples = read_samples(spec) if requests is None else list(requests.payloads)
        self.arrivals = read_arrivals(spec, () if requests is None else requests.at_s)
        self.source = model_source(spec)
        self.plan = _plan(spec, self.arrivals)
        self.prices = price_book(spec)
        _refuse_hiding(spec)
        missing = missing_secrets(spec)
        if runs_code:
            _refuse_missing(spec, missing)
        else:
            _check_modules(spec)
        if runs_code or isinstance(self.source, ModelFiles):
            _check_model(spec, self.source)
        self.score = None if spec.quality.score is None else Score(spec.quality.score, str(spec.folder))
        try:
            if self.score is not None and runs_code:
                self.score.check()
        except ModelError as error:
            raise SpecError(f"{spec.place('quality')}: {error}") from None

    @property
    def code(self) -> tuple[str, ...]:
        """What code the service runs, or may run when its files are read, as sentences; empty if it is only read."""
        scored = None if self.score is None else self.score.runs
        loaded = [
            f"this runs what {name}={values} may load, an environment variable, in each replica"
            for name, values in loading_variables(self.spec).items()
        ]
        return tuple(filter(None, (caution(self.source), scored, *loaded)))

    @property
    def payload_type(self) -> PayloadType:
        """The type of the samples, which requests to the exported service are converted to."""
        return PayloadType.of(self.samples)


def model_source(spec: ServiceSpec) -> ModelSource:
    """Return the source of the model; relative paths start at the folder of service.yaml. Raises SpecError."""
    model = spec.model
    try:
        if model.build is not None:
            wait = _answer_wait(spec) if model.takes_each_request else None
            return Builder(model.build, str(spec.folder), concurrent=model.concurrent, wait=wait)
        if model.llm is not None:
            check_llm(str(beside(spec.folder, model.llm)))
            return Builder(_ENGINE, str(spec.folder), concurrent=True, wait=_answer_wait(spec), ours=True)
        assert model.path is not None, "one of the two, checked when read"
        in_package = model.path.startswith("package:")
        path = model.path if in_package else str(beside(spec.folder, model.path))
        return ModelFiles(path, model.loader, str(spec.folder))
    except ModelError as error:
        raise SpecError(f"{spec.place('model')}: {error}") from None
    except ValueError as error:
        raise SpecError(f"{spec.place('model', 'path')}: {error}") from None


def _check_model(spec: ServiceSpec, source: ModelSource) -> None:
    """Refuse a model that cannot be built with the file's arguments and knobs, at the line of what is wrong."""
    keys: tuple[str, ...] = ("model",)
    try:
        check(source, _builder_args(spec))
        check(source, _builder_args(spec, everywhere=True))
        if "precision" in spec.knobs:
            keys = ("knobs", "precision")
            check_precisions(source, map(str, spec.values("precision")))
    except UnexpectedArgument as error:
        keys = ("model", "args", error.name) if error.name in spec.model.args else ("knobs", error.name)
        raise SpecError(f"{spec.place(*keys)}: {error}") from None
    except ModelError as error:
        raise SpecError(f"{spec.place(*keys)}: {error}") from None


def loading_variables(spec: ServiceSpec) -> dict[str, str]:
    """Return environment variables among the knobs that may have a process load code → their values, as a text."""
    return {
        name: ", ".join(map(str, knob.values))
        for name, knob in spec.knobs.items()
        if isinstance(knob, KnobSpec) and knob.kind == "env" and any(loads_code(name, str(v)) for v in knob.values)
    }


def missing_secrets(spec: ServiceSpec) -> dict[str, str]:
    """Return environment variables that hold secrets and are not set → the argument that needs each.

    Raises:
        SpecError: a reference to a secret is none.
    """
    missing: dict[str, str] = {}
    for name, value in spec.model.args.items():
        try:
            missing |= {secret: name for secret in secrets_in({name: value}) if not os.environ.get(secret)}
        except BadSecret as error:
            raise SpecError(f"{spec.place('model', 'args', name)}: {error}") from None
    return missing


def _refuse_missing(spec: ServiceSpec, missing: dict[str, str]) -> None:
    for secret, name in missing.items():
        raise SpecError(
            f"{spec.place('model', 'args', name)}: the environment variable {secret}, which holds the secret, "
            "is not set; set it where the command is run, and on the nodes of a cluster where Ray is started"
        )


def _check_modules(spec: ServiceSpec) -> None:
    """Refuse code whose module is neither in the file's folder nor installed; nothing is imported."""
    named = {("model", "build"): spec.model.build, ("quality",): spec.quality.score}
    for keys, reference in named.items():
        if reference is not None and module_file(module := reference.partition(":")[0], str(spec.folder)) is None:
            raise SpecError(
                f"{spec.place(*keys)}: the module {module!r} of {reference!r} is neither in {spec.folder} nor "
                "installed; put its file there, or install it"
            )


def _refuse_hiding(spec: ServiceSpec) -> None:
    """Refuse a module beside service.yaml with the name of one of our packages: replicas would import it instead."""
    for name in OUR_PACKAGES:
        ours = find_spec(name)
        for module in (spec.folder / f"{name}.py", spec.folder / name / "__init__.py"):
            if module.is_file() and not (ours and ours.origin and module.samefile(ours.origin)):
                raise SpecError(f"{module} would hide a package of raytune-infer that has this name; rename it")


def _plan(spec: ServiceSpec, arrivals: Arrivals) -> LoadPlan:
    names = {f.name for f in fields(LoadPlan)}
    given = {k: v for k, v in spec.load.model_dump().items() if k in names}
    try:
        more = {"arrivals": arrivals, "stretch": _stretch(spec), "request_limits": spec.request_limits}
        return LoadPlan(**{**given, **more})
    except ValueError as error:
        raise SpecError(f"{spec.place('load')}: {error}") from None


def _stretch(spec: ServiceSpec) -> float:
    """A time that the file states is a bound; the default follows a service whose requests take long."""
    return 1.0 if "total_max_s" in spec.load.model_fields_set else _STRETCH


def _answer_wait(spec: ServiceSpec) -> AnswerWait:
    """Return how long a request waits for an engine: as long as the load test would wait for it itself.

    That is a level and its last answers, as many turns of the longest answer as a search has time for, and before any
    answer the time of a load test.
    """
    least_s = spec.load.level_max_s + LoadPlan.drain_s
    first_s = max(least_s, spec.load.total_max_s)
    most_s = max(first_s, _stretch(spec) * spec.load.total_max_s)
    limit_s = math.inf if spec.model.answers_within_s is None else spec.model.answers_within_s
    return AnswerWait(min(least_s, limit_s), min(first_s, limit_s), min(most_s, limit_s), TURNS)


def service_wait(spec: ServiceSpec) -> tuple[float, str]:
    """Return how many seconds a deployed engine has for an answer, and where that number comes from.

    A load test that was cut short says nothing about it, so the default does not follow `load.total_max_s` below.
    """
    if (stated := spec.model.answers_within_s) is not None:
        return stated, "as `model.answers_within_s` of service.yaml says"
    default = _STRETCH * LoadPlan.total_max_s
    if spec.load.total_max_s > default:
        return spec.load.total_max_s, "as long as a load test (`load.total_max_s` of service.yaml)"
    return default, "the default, as service.yaml has no `model.answers_within_s`"


def _builder_args(spec: ServiceSpec, *, everywhere: bool = False) -> dict[str, Any]:
    """Return the arguments of the model's builder, each with one of its values: all, or those that always exist."""
    args = {n: k for n, k in spec.knobs.items() if isinstance(k, KnobSpec) and k.kind == "args"}
    llm = {} if spec.model.llm is None else {LLM: spec.model.llm}
    return {**llm, **spec.model.args, **{n: k.values[0] for n, k in args.items() if k.when is None or not everywhere}}
