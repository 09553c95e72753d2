"""service.yaml: what to serve, which choices there are, what counts as good. Validated before anything starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cluster import gpus
from raytune_infer.document import Document, dotted
from raytune_infer.encoding import STANDARD_KNOBS
from raytune_infer.errors import SpecError
from searchers.objective import Expression, Objective
from searchers.space import Config, Value
from serve_deployments.measurement import METRICS

PRICED = "usd_per_hour"
"""The one quantity of an objective that is known without a trial."""


_SET_BY_US = {
    "OMP_NUM_THREADS": "threads", "MKL_NUM_THREADS": "threads", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "gpu_share",
}  # fmt: skip
"""Variables of the environment that a knob of our own decides → that knob."""


class _Part(BaseModel):
    """A part of the specification: unknown keys are errors, types are not converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ModelSpec(_Part):
    """Where the model comes from: `build` or `path`, not both."""

    build: str | None = None
    path: str | None = None
    loader: str | None = None
    args: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_source(self) -> ModelSpec:
        if (self.build is None) == (self.path is None):
            raise ValueError("give either `build: module:callable` or `path:` of a folder or file")
        if self.build is not None and self.loader is not None:
            raise ValueError("`loader` goes with `path`; `build` names its own code")
        return self


class KnobSpec(_Part):
    """A knob of one's own: a variable of the replica's environment or an argument of the model's builder."""

    kind: Literal["env", "args"]
    values: list[Value]


class ObjectiveSpec(_Part):
    """What to maximise or minimise; `at_least` for goals such as the least cost with enough requests/s."""

    maximize: str | None = None
    minimize: str | None = None
    at_least: dict[str, Annotated[float, Field(strict=False)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_goal(self) -> ObjectiveSpec:
        if (self.maximize is None) == (self.minimize is None):
            raise ValueError("give either `maximize:` or `minimize:` (for example `rps / usd_per_hour`)")
        return self


class BudgetSpec(_Part):
    """How much the search may spend."""

    trials: int = Field(default=20, ge=1)
    parallel: int = Field(default=1, ge=1)
    seconds: float | None = Field(default=None, gt=0, strict=False)
    stop_below: float | None = Field(default=None, gt=0, lt=1, strict=False)
    deploy_s: float = Field(default=120.0, gt=0, strict=False)


class LoadSpec(_Part):
    """How a replica is measured.

    `find: peak` raises the concurrency until the rate stops growing; `find: highest_rate` looks for the
    highest rate of arrivals that keeps the limits; left out, the limits decide.
    """

    find: Literal["peak", "highest_rate"] | None = None
    arrivals: Literal["poisson", "constant"] = "poisson"
    precision: float = Field(default=0.05, gt=0, lt=1, strict=False)
    level_min_s: float = Field(default=1.0, gt=0, strict=False)
    level_max_s: float = Field(default=10.0, gt=0, strict=False)
    total_max_s: float = Field(default=60.0, gt=0, strict=False)
    max_concurrency: int = Field(default=512, ge=1)
    rate_precision: float = Field(default=0.05, gt=0, lt=1)


class ServiceSpec(_Part):
    """A whole service.yaml; see docs/service-yaml.md for each key."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    model: ModelSpec
    samples: str | list[Any]
    knobs: dict[str, list[Value] | KnobSpec] = Field(min_length=1)
    default: Config = Field(default_factory=dict)
    objective: ObjectiveSpec
    limits: dict[str, Annotated[float, Field(strict=False, ge=0)]] = Field(default_factory=dict)
    facts: dict[str, float] = Field(default_factory=dict)
    budget: BudgetSpec = BudgetSpec()
    load: LoadSpec = LoadSpec()
    prices: str | None = None

    # Set by load_spec; not keys of the file.
    folder: Path = Field(default=Path("."), exclude=True)
    text: str = Field(default="", exclude=True)
    file: str = Field(default="service.yaml", exclude=True)

    @field_validator("knobs")
    @classmethod
    def _knobs(cls, knobs: dict[str, list[Value] | KnobSpec]) -> dict[str, list[Value] | KnobSpec]:
        for name, knob in knobs.items():
            values = knob.values if isinstance(knob, KnobSpec) else knob
            if not values:
                raise _At((name,), "needs at least one value")
            same = [_identity(name, v) for v in values]
            repeated = [v for i, v in enumerate(values) if same[i] in same[:i]]
            if repeated:
                raise _At((name,), f"{repeated[0]!r} stands twice; keep one of them")
            if isinstance(knob, KnobSpec):
                if name in STANDARD_KNOBS:
                    raise _At((name,), f"{name} is a knob of our own, so give its values as a plain list")
                if knob.kind == "env" and name in _SET_BY_US:
                    raise _At((name,), f"{name} is set from `{_SET_BY_US[name]}`; make that a knob")
            elif name not in STANDARD_KNOBS:
                raise _At((name,), f"not a standard knob ({', '.join(STANDARD_KNOBS)}); "
                                   "one of your own says `kind: env` or `kind: args`, and `values:`")  # fmt: skip
            else:
                for i, value in enumerate(values):
                    if (why := STANDARD_KNOBS[name].wrong(value)) is not None:
                        raise _At((name, i), f"{name} {why}")
        if "gpu_type" not in knobs and (needy := [n for n in ("gpu_share", "gpu_memory") if n in knobs]):
            raise _At((needy[0],), "needs the knob `gpu_type` beside it")
        return knobs

    @field_validator("facts", mode="before")
    @classmethod
    def _facts(cls, facts: Any) -> Any:
        if not isinstance(facts, dict):
            return facts  # pydantic says what is wrong with it
        return {name: _fact(name, value) for name, value in facts.items()}

    @model_validator(mode="after")
    def _known_metrics(self) -> ServiceSpec:
        goal_key = "maximize" if self.objective.maximize is not None else "minimize"
        try:
            goal = Expression(getattr(self.objective, goal_key))
        except ValueError as error:
            raise _At(("objective", goal_key), str(error)) from None
        places: list[tuple[tuple[str, ...], str]] = [(("objective", goal_key), name) for name in sorted(goal.names)]
        places += [(("objective", "at_least", name), name) for name in self.objective.at_least]
        places += [(("limits", name), name) for name in self.limits]
        for place, name in places:
            if name not in METRICS and name != PRICED:
                raise _At(place, f"{name!r} is not measured; there are {', '.join((*METRICS, PRICED))}")
        if "rps" in self.limits:
            raise _At(("limits", "rps"), "limits are the most that counts; write `at_least: {rps: …}` in objective")
        return self

    @model_validator(mode="after")
    def _one_place_for_an_argument(self) -> ServiceSpec:
        for name in self.knobs:
            if name in self.model.args:
                raise _At(("knobs", name), "stands in model.args too; keep one of them")
        return self

    @model_validator(mode="after")
    def _a_rate_needs_a_limit(self) -> ServiceSpec:
        if self.load.find == "highest_rate" and not self.latency_limits:
            raise _At(("load", "find"), "highest_rate needs a limit on a latency or on error_rate; give one, or `peak`")
        return self

    @model_validator(mode="after")
    def _default_is_a_choice(self) -> ServiceSpec:
        for name, value in self.default.items():
            if name not in self.knobs:
                raise _At(("default", name), f"no such knob; there are {', '.join(self.knobs)}")
            values = self.values(name)
            if (type(value), value) not in [(type(v), v) for v in values]:
                raise _At(("default", name), f"{value!r} is none of the knob's values {list(values)}")
        missing = [name for name in self.knobs if name not in self.default]
        if self.default and missing:
            raise _At(("default",), f"leaves out {', '.join(missing)}; name a value for every knob or for none")
        return self

    def place(self, *keys: str | int) -> str:
        """`file:line: key` of a part of the file, for errors that are found later."""
        return Document(self.text, self.file).place(keys)

    def values(self, knob: str) -> Sequence[Value]:
        """The values of one knob, in the order of the file."""
        found = self.knobs[knob]
        return found.values if isinstance(found, KnobSpec) else found

    @property
    def goal(self) -> Objective:
        """The objective with its limits."""
        text = self.objective.maximize or self.objective.minimize
        assert text is not None, "checked when built"
        return Objective(
            Expression(text),
            minimize=self.objective.minimize is not None,
            at_most=dict(self.limits),
            at_least=dict(self.objective.at_least),
        )

    @property
    def latency_limits(self) -> dict[str, float]:
        """The limits that a load can be held under: those on latencies and errors, not on rate or price."""
        return {name: limit for name, limit in self.limits.items() if name not in ("rps", PRICED)}

    @property
    def kept_limits(self) -> frozenset[str]:
        """Limits that each trial's load keeps by itself, as it looks for the highest rate within them."""
        return frozenset() if self.load.find == "peak" else frozenset(self.latency_limits)

    @property
    def default_config(self) -> Config:
        """The configuration to beat: as given, else the first value of every knob."""
        return dict(self.default) or {name: self.values(name)[0] for name in self.knobs}


def fact(value: object) -> float:
    """A fact of a service as YAML spells it; ValueError for all that is not a positive finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("not a number")
    number = float(value)  # of text too: YAML takes 1e9 for one
    if not 0 < number < math.inf:
        raise ValueError("not positive and finite")
    return number


def _fact(name: str, value: object) -> float:
    try:
        return fact(value)
    except ValueError:
        raise _At((name,), f"facts are positive numbers, got {value!r}; leave out what is not known") from None


def _identity(knob: str, value: Value) -> object:
    """Equal for two spellings of one value: 5 and 5.0, T4 and "Tesla T4"; 1 and True stay two."""
    if knob == "gpu_type" and isinstance(value, str):
        return gpus.canonical(value)
    return (isinstance(value, bool), value)


class _At(ValueError):
    """An error inside a validator that knows its place more closely than pydantic does."""

    def __init__(self, keys: Sequence[str | int], why: str) -> None:
        super().__init__(why)
        self.keys = tuple(keys)


_HIDDEN = ("folder", "text", "file")
"""Fields that are no keys of the file."""


def load_spec(path: str | Path) -> ServiceSpec:
    """Read and check a service.yaml.

    Raises:
        SpecError: naming file, line and key, what is allowed and the remedy.
    """
    path = Path(path)
    return parse_spec(Document.read(path), folder=path.resolve().parent)


def parse_spec(document: Document, *, folder: Path) -> ServiceSpec:
    """Check a document that has been read; relative paths in it start at `folder`. Raises SpecError."""
    for hidden in _HIDDEN:
        if hidden in document.values:
            raise SpecError(f"{document.place((hidden,))}: unknown key; allowed are {_allowed(())}")
    try:
        return ServiceSpec(
            **{str(k): v for k, v in document.values.items()}, folder=folder, text=document.text, file=document.source
        )
    except ValidationError as error:
        raise SpecError("\n".join(dict.fromkeys(_explain(document, e) for e in error.errors()))) from None


def _explain(document: Document, error: Any) -> str:
    keys = [key for key in error["loc"] if not _is_branch(key)]
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, _At):
        inner = cause.keys if not keys or cause.keys[: len(keys)] == tuple(keys) else (*keys, *cause.keys)
        return f"{document.place(inner)}: {cause}"
    place = document.place(keys)
    if error["type"] == "extra_forbidden":
        return f"{place}: unknown key; allowed are {_allowed(keys[:-1])}"
    if error["type"] == "missing":
        return f"{document.place(keys[:-1])}: {dotted(keys[-1:])!r} is missing"
    if cause is not None:
        return f"{place}: {cause}"
    return f"{place}: {error['msg'][0].lower()}{error['msg'][1:]}, got {error['input']!r}"


def _is_branch(key: str | int) -> bool:
    """Whether part of pydantic's location names a branch of a union rather than a key of the file."""
    return isinstance(key, str) and (key in ("str", "int", "float", "bool", "KnobSpec") or "[" in key)


def _allowed(keys: Sequence[str | int]) -> str:
    parts: dict[tuple[str | int, ...], type[BaseModel]] = {
        (): ServiceSpec, ("model",): ModelSpec, ("objective",): ObjectiveSpec, ("budget",): BudgetSpec,
        ("load",): LoadSpec,
    }  # fmt: skip
    names = parts.get(tuple(keys), KnobSpec).model_fields
    return ", ".join(name for name in names if name not in _HIDDEN)
