"""The schema of service.yaml: model, knobs, objective, limits, budget, load. Validated before anything starts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from raytune_infer.errors import SpecError
from raytune_infer.spec.document import Document, RecordedDocument, check_spelling, shown
from raytune_infer.spec.goals.goal_check import (
    check_bounds,
    check_limits,
    check_positive,
    check_rate,
    is_lower_bound,
    is_of_answers,
)
from raytune_infer.spec.goals.objective_spec import ObjectiveSpec, check_known, names_in
from raytune_infer.spec.goals.own_limits import (
    ATTAINMENT,
    OWN_LIMITS,
    check_own_limits,
    level_limits,
    request_limits,
)
from raytune_infer.spec.knobs.condition_checks import check_conditions, check_default
from raytune_infer.spec.knobs.knob_space import first_of
from raytune_infer.spec.knobs.knob_spec import (
    KnobSpec,
    check_concurrent,
    check_gpu_names,
    check_knobs,
    check_variables,
    values_of,
)
from raytune_infer.spec.load_spec import ArrivalsSpec, GammaSpec, LoadSpec
from raytune_infer.spec.parts import MOST, Count, Part, Seconds, Text
from raytune_infer.spec.quality_spec import QualitySpec
from raytune_infer.spec.samples.requests.requests_spec import DrawnSpec, LengthsSpec, RequestsSpec
from raytune_infer.spec.spec_errors import At, explain
from searchers.objective import Expression, Objective
from searchers.quantities import PRICE
from searchers.space import Config, Value
from serve_deployments.metrics.request_limits import RequestLimits

LLM = "llm"
"""Argument of an engine's builder: the folder of the language model, relative to that of service.yaml."""


class ModelSpec(Part):
    """Source of the model: one of `build`, `path` and `llm`."""

    build: Text | None = None
    path: Text | None = None
    llm: Text | None = None
    engine: Literal["transformers"] | None = None
    loader: Text | None = None
    args: dict[str, Any] = Field(default_factory=dict)
    concurrent: bool | None = None
    answers_within_s: Seconds | None = None

    @model_validator(mode="after")
    def _one_source(self) -> ModelSpec:
        if sum(source is not None for source in (self.build, self.path, self.llm)) != 1:
            raise ValueError(
                "give either `build: module:callable` or `path:` of a folder or file, or `llm:` of a language model"
            )
        if self.llm is None and self.engine is not None:
            raise ValueError("`engine` goes with `llm`, the folder of a language model")
        if self.llm is not None and (self.loader is not None or self.concurrent is not None):
            raise ValueError(
                "with `llm` the engine loads the model and batches for itself; leave out `loader` and `concurrent`"
            )
        if self.build is not None and self.loader is not None:
            raise ValueError("`loader` goes with `path`; `build` names its own code")
        if self.path is not None and self.concurrent is not None:
            raise ValueError("`concurrent` goes with `build`; the loaders' models answer batches, one after the other")
        if self.answers_within_s is not None and not self.takes_each_request:
            raise ValueError("`answers_within_s` goes with `concurrent: true`; batches are waited for until they end")
        return self

    @property
    def takes_each_request(self) -> bool:
        """Whether each request reaches the model by itself, as engines want it that batch for themselves."""
        return bool(self.concurrent) or self.llm is not None


class BudgetSpec(Part):
    """Budget of the search and of the comparison after it."""

    trials: Count = 20
    parallel: Count = 1
    seconds: Seconds | None = None
    stop_below: float | None = Field(default=None, gt=0, lt=1, strict=False)
    compare_s: Seconds | None = None
    deploy_s: Seconds = 120.0


class ServiceSpec(Part):
    """A complete service.yaml; docs/service-yaml.md describes each key."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=100)]  # names folders too
    model: ModelSpec
    samples: Text | list[Any] | dict[str, Annotated[float, Field(gt=0, le=MOST, strict=False)]] = Field(
        default_factory=list
    )
    requests: RequestsSpec | None = None
    knobs: dict[str, list[Value] | KnobSpec] = Field(min_length=1)
    where: Text | list[Text] = Field(default_factory=list)
    default: Config = Field(default_factory=dict)
    objective: ObjectiveSpec
    limits: dict[str, Annotated[float, Field(strict=False, ge=0)]] = Field(default_factory=dict)
    facts: dict[str, float] = Field(default_factory=dict)
    budget: BudgetSpec = BudgetSpec()
    load: LoadSpec = LoadSpec()
    quality: QualitySpec = QualitySpec()
    prices: Text | None = None

    # Set by load_spec; not keys of the file.
    folder: Path = Field(default=Path("."), exclude=True)
    text: str = Field(default="", exclude=True)
    file: str = Field(default="service.yaml", exclude=True)

    @field_validator("knobs")
    @classmethod
    def _knobs(cls, knobs: dict[str, list[Value] | KnobSpec]) -> dict[str, list[Value] | KnobSpec]:
        check_knobs(knobs)
        return knobs

    @field_validator("facts", mode="before")
    @classmethod
    def _facts(cls, facts: Any) -> Any:
        if not isinstance(facts, dict):
            return facts  # pydantic says what is wrong with it
        return {name: _fact(str(name), value) for name, value in facts.items()}

    @field_validator("quality", mode="before")
    @classmethod
    def _quality(cls, quality: Any) -> Any:
        return {"score": quality} if isinstance(quality, str) else quality

    @model_validator(mode="after")
    def _something_to_send(self) -> ServiceSpec:
        if "samples" not in self.model_fields_set and self.requests is None:
            raise At((), "'samples' is missing, the payloads of requests; or `requests`, those to a language model")
        if "samples" in self.model_fields_set and self.requests is not None:
            raise At(("requests",), "there are `samples` too; keep one of them")
        if self.load.arrivals == "recorded" and (self.requests is None or self.requests.file is None):
            raise At(("load", "arrivals"), "recorded arrivals are those of a trace under `requests`; give one")
        return self

    @model_validator(mode="after")
    def _known_metrics(self) -> ServiceSpec:
        asked: dict[tuple[str, ...], list[str]] = {("objective", self.objective.key): names_in(self.objective)}
        asked["objective", "at_least"] = list(self.objective.at_least)
        check_own_limits(self.limits, asked)
        check_known(self.objective, self._named_limits, self.quality.lacks)
        return self

    @model_validator(mode="after")
    def _one_place_for_an_argument(self) -> ServiceSpec:
        for name in self.knobs:
            if name in self.model.args:
                raise At(("knobs", name), "is also in model.args; keep one of them")
        return self

    @model_validator(mode="after")
    def _a_rate_needs_a_limit(self) -> ServiceSpec:
        if self.load.find == "highest_rate" and not self.latency_limits:
            raise At(("load", "find"), "highest_rate needs a limit on a latency or on error_rate; give one, or `peak`")
        return self

    @model_validator(mode="after")
    def _some_are_allowed(self) -> ServiceSpec:
        check_conditions(self.knobs, self.where)
        return self

    @model_validator(mode="after")
    def _default_is_a_choice(self) -> ServiceSpec:
        for name, value in self.default.items():
            if name not in self.knobs:
                raise At(("default", name), f"no such knob; there are {', '.join(self.knobs)}")
            values = self.values(name)
            if (type(value), value) not in [(type(v), v) for v in values]:
                raise At(("default", name), f"{shown(value)} is none of the knob's values {shown(list(values))}")
        check_default(self.knobs, self.where, self.default)
        return self

    def place(self, *keys: str | int) -> str:
        """Return `file:line: key` of a part of the file, for errors that are found later."""
        return RecordedDocument(self.text, self.file).place(keys)

    def values(self, knob: str) -> Sequence[Value]:
        """Return the values of one knob, in the order of the file."""
        return values_of(self.knobs[knob])

    def variables(self, config: Mapping[str, Value]) -> dict[str, str]:
        """Return the environment variables that a configuration sets."""
        return {name: str(config[name]) for name in self._own("env") if name in config}

    def arguments(self, config: Mapping[str, Value]) -> dict[str, Any]:
        """Return the arguments of the model's builder or loader in a configuration."""
        llm = {} if self.model.llm is None else {LLM: str(Path(self.model.llm).expanduser())}
        return {**llm, **self.model.args, **{n: config[n] for n in self._own("args") if n in config}}

    def _own(self, kind: str) -> list[str]:
        return [name for name, knob in self.knobs.items() if isinstance(knob, KnobSpec) and knob.kind == kind]

    @property
    def runs_code(self) -> bool:
        """Whether the file names code of the user's, whose modules are looked for in the file's folder."""
        return bool(self.modules)

    @property
    def modules(self) -> tuple[str, ...]:
        """Dotted names of the modules of the user's that the file names."""
        return tuple(each.partition(":")[0] for each in (self.model.build, self.quality.score) if each is not None)

    @property
    def goal(self) -> Objective:
        """The objective with its limits on what a level reports; an attainment is one on the share that misses."""
        limits = level_limits(self.limits)
        return Objective(
            Expression(self.objective.text),
            minimize=self.objective.key == "minimize",
            at_most={name: limit for name, limit in limits.items() if not is_lower_bound(name)},
            at_least={**self.objective.at_least, **{n: limit for n, limit in limits.items() if is_lower_bound(n)}},
        )

    @property
    def request_limits(self) -> RequestLimits | None:
        """The limits that each request has to keep by itself; None if there are none."""
        return request_limits(self.limits)

    @property
    def _named_limits(self) -> list[str]:
        """The limits that the file itself names, but for those of each request."""
        return [name for name in self.limits if name not in OWN_LIMITS and name != ATTAINMENT]

    @property
    def latency_limits(self) -> dict[str, float]:
        """Limits that a load test can enforce: those on latencies and errors, not on answers, rate or price."""
        limits = level_limits(self.limits)
        return {name: limit for name, limit in limits.items() if name != PRICE and not is_of_answers(name)}

    @property
    def kept_limits(self) -> frozenset[str]:
        """Limits that every trial keeps, because its load test looks for the highest rate within them."""
        return frozenset() if self.load.find == "peak" else frozenset(self.latency_limits)

    @property
    def default_config(self) -> Config:
        """The configuration to beat: the one under `default`, else the first value of every knob that exists in it."""
        return dict(self.default) or first_of(self.knobs)


def fact(value: object) -> float:
    """Convert a fact of a service from its YAML value; raises ValueError unless it is a positive finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("not a number")
    number = float(value)  # may be a text: YAML reads 1e9 as one
    if not 0 < number < math.inf:
        raise ValueError("not positive and finite")
    return number


def _fact(name: str, value: object) -> float:
    try:
        return fact(value)
    except ValueError:
        raise At((name,), f"facts must be positive numbers, got {shown(value)}; leave out unknown facts") from None


_HIDDEN = ("folder", "text", "file")
"""Fields that are not keys of the file."""


def load_spec(path: str | Path) -> ServiceSpec:
    """Read and check a service.yaml.

    Raises:
        SpecError: the file is invalid; the message names file, line and key, what is allowed and the remedy.
    """
    path = Path(path)
    return parse_spec(Document.read(path), folder=path.resolve().parent)


def parse_spec(document: Document, *, folder: Path) -> ServiceSpec:
    """Check a document that has already been read; relative paths in it start at `folder`. Raises SpecError."""
    for hidden in _HIDDEN:
        if hidden in document.values:
            raise SpecError(f"{document.place((hidden,))}: unknown key; allowed are {', '.join(_allowed(()))}")
    # Keys that begin with x- are the author's own, as in Compose files: a place for anchors.
    values = {str(key): value for key, value in document.values.items() if not str(key).startswith("x-")}
    try:
        spec = ServiceSpec(**values, folder=folder, text=document.text, file=document.source)
        if document.strict:
            check_positive(spec.goal)
            check_bounds({("limits",): spec.limits, ("objective", "at_least"): spec.objective.at_least})
            check_limits(spec.goal, spec.load.find)
            check_rate(spec.goal)
            check_concurrent(spec.model.takes_each_request, spec.knobs)
            check_variables(spec.knobs, document)
            check_gpu_names(spec.knobs)
            for keys in _of_any_type(spec):
                check_spelling(document, keys)
        return spec
    except ValidationError as error:
        raise SpecError(explain(document, error.errors(), _allowed)) from None
    except At as error:
        raise SpecError(f"{document.place(error.keys)}: {error}") from None


def _of_any_type(spec: ServiceSpec) -> Iterator[tuple[str, ...]]:
    """Yield the places where a text may stand as well as a number; that of a standard knob is clear from its name."""
    yield ("model", "args")
    if isinstance(spec.samples, list):
        yield ("samples",)
    for name, knob in spec.knobs.items():
        if isinstance(knob, KnobSpec) and knob.kind is not None:
            yield from (("knobs", name, "values"), ("default", name))


def _allowed(keys: Sequence[str | int]) -> list[str]:
    parts: dict[tuple[str | int, ...], type[BaseModel]] = {
        (): ServiceSpec, ("model",): ModelSpec, ("objective",): ObjectiveSpec, ("budget",): BudgetSpec,
        ("load",): LoadSpec, ("load", "arrivals"): ArrivalsSpec, ("load", "arrivals", "gamma"): GammaSpec,
        ("quality",): QualitySpec, ("requests",): RequestsSpec, ("requests", "lengths"): DrawnSpec,
        ("requests", "lengths", "tokens_in"): LengthsSpec, ("requests", "lengths", "tokens_out"): LengthsSpec,
    }  # fmt: skip
    names = parts.get(tuple(keys), KnobSpec).model_fields
    return [name for name in names if name not in _HIDDEN]
