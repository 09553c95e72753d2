"""The schema of `load` in service.yaml: how a replica is measured, and under which arrivals."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from raytune_infer.spec.parts import Count, Part, Seconds, Text
from serve_deployments.measuring.plan import LoadPlan


class GammaSpec(Part):
    """Bursty arrivals: gaps between requests are independent and gamma distributed."""

    cv: float = Field(ge=0, le=10, strict=False)


class ArrivalsSpec(Part):
    """An arrival pattern with parameters: `gamma` or `trace`."""

    gamma: GammaSpec | None = None
    trace: Text | None = None

    @model_validator(mode="after")
    def _one_pattern(self) -> ArrivalsSpec:
        if (self.gamma is None) == (self.trace is None):
            raise ValueError("give either `gamma: {cv: 2}` or `trace: FILE.csv`, or one of the words poisson, constant")
        return self


class LoadSpec(Part):
    """How a replica is measured.

    `find: peak` raises the concurrency until the rate stops growing; `find: highest_rate` looks for the
    highest rate of arrivals that keeps the limits. Without `find`, the limits decide which of the two is used.
    """

    find: Literal["peak", "highest_rate"] | None = None
    arrivals: Literal["poisson", "constant", "recorded"] | ArrivalsSpec = "poisson"
    precision: float = Field(default=LoadPlan.precision, gt=0, lt=1, strict=False)
    level_min_s: Seconds = LoadPlan.level_min_s
    level_max_s: Seconds = LoadPlan.level_max_s
    total_max_s: Seconds = LoadPlan.total_max_s
    max_concurrency: Count = LoadPlan.max_concurrency
    rate_precision: float = Field(default=LoadPlan.rate_precision, gt=0, lt=1)
