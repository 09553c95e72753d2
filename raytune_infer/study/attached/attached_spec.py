"""The schema of a file that describes an endpoint which runs already: `target` in place of a model, and no knobs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError, model_validator

from raytune_infer.errors import SpecError, UserError
from raytune_infer.spec.document import Document
from raytune_infer.spec.goals.goal_check import check_bounds, is_of_answers
from raytune_infer.spec.goals.objective_spec import ObjectiveSpec, check_known
from raytune_infer.spec.goals.own_limits import (
    ATTAINMENT,
    OWN_LIMITS,
    check_own_limits,
    level_limits,
    request_limits,
)
from raytune_infer.spec.load_spec import ArrivalsSpec, GammaSpec, LoadSpec
from raytune_infer.spec.parts import Part, Text
from raytune_infer.spec.samples.requests.reading import made
from raytune_infer.spec.samples.requests.requests_spec import DrawnSpec, LengthsSpec, RequestsSpec
from raytune_infer.spec.spec_errors import At, explain
from serve_deployments.load.arrivals import CONSTANT, POISSON, Arrivals, Renewal, Trace
from serve_deployments.load.attached.openai_endpoint import OpenAITarget
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan


class TargetSpec(Part):
    """Where the endpoint is, and the model's name there; by default its first."""

    openai: Text
    model: Text | None = None
    temperature: float | None = Field(default=None, ge=0, strict=False)


class AttachedSpec(Part):
    """A complete file: the target, the requests that are sent to it, and the limits that they have to keep."""

    target: TargetSpec
    requests: RequestsSpec
    limits: dict[str, Annotated[float, Field(strict=False, ge=0)]] = Field(min_length=1)
    load: LoadSpec = LoadSpec()

    @model_validator(mode="after")
    def _limits_of_load(self) -> AttachedSpec:
        check_own_limits(self.limits, {})
        named = [name for name in self.limits if name not in OWN_LIMITS and name != ATTAINMENT]
        check_known(ObjectiveSpec(maximize="rps"), named, lambda name: None)
        for name in named:
            if is_of_answers(name):
                raise At(("limits", name), "is of answers beside a default's, and an endpoint has no default")
        return self

    @model_validator(mode="after")
    def _arrivals_are_there(self) -> AttachedSpec:
        if self.load.find == "peak":
            raise At(("load", "find"), "of an endpoint the highest rate that keeps the limits is found; leave this out")
        return self

    def payloads_and_test(self, folder: Path) -> tuple[tuple[dict[str, object], ...], LoadTest]:
        """Return the requests, and the load test that finds the highest rate within the limits.

        Args:
            folder: where relative paths of files start.

        Raises:
            UserError: a file is missing or of another form.
        """
        asked = made(self.requests, folder)
        plan = LoadPlan(
            arrivals=self._arrivals(asked.at_s), request_limits=request_limits(self.limits),
            **self.load.model_dump(exclude={"find", "arrivals"}),
        )  # fmt: skip
        return asked.payloads, LoadTest(plan, level_limits(self.limits))

    def _arrivals(self, recorded_s: tuple[float, ...]) -> Arrivals:
        match self.load.arrivals:
            case "recorded":
                return Trace(recorded_s)
            case "constant":
                return CONSTANT
            case ArrivalsSpec(gamma=GammaSpec(cv=cv)):
                return Renewal(cv)
            case ArrivalsSpec():
                raise UserError("load.arrivals: a trace of times is none of requests; name a file under `requests`, "
                                "and `arrivals: recorded`")  # fmt: skip
        return POISSON

    def target_as(self, model: str) -> OpenAITarget:
        """Return where requests are sent to, for a model of this name. Raises ValueError for no address of HTTP."""
        more = {} if self.target.temperature is None else {"temperature": self.target.temperature}
        return OpenAITarget(self.target.openai, model, None, more)


def load_attached(path: Path) -> AttachedSpec:
    """Read and check a file. Raises SpecError, which names file, line and key, what is allowed and the remedy."""
    document = Document.read(path)
    try:
        spec = AttachedSpec(**{str(key): value for key, value in document.values.items()})
        check_bounds({("limits",): spec.limits})
        return spec
    except ValidationError as error:
        raise SpecError(explain(document, error.errors(), _allowed)) from None
    except At as error:
        raise SpecError(f"{document.place(error.keys)}: {error}") from None


def _allowed(keys: tuple[str | int, ...]) -> list[str]:
    parts: dict[tuple[str | int, ...], type[BaseModel]] = {
        (): AttachedSpec, ("target",): TargetSpec, ("requests",): RequestsSpec, ("requests", "lengths"): DrawnSpec,
        ("load",): LoadSpec,
    }  # fmt: skip
    return list(parts.get(tuple(keys), LengthsSpec).model_fields)
