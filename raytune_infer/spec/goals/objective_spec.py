"""The schema of `objective` in service.yaml, and the check that what it and the limits name is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated

from pydantic import Field, model_validator

from raytune_infer.spec.document import shown
from raytune_infer.spec.goals.goal_check import is_lower_bound
from raytune_infer.spec.parts import Part
from raytune_infer.spec.spec_errors import At
from searchers.objective import Expression
from searchers.quantities import PRICE
from serve_deployments.metrics.metric_table import METRICS, listed, metric_of


class ObjectiveSpec(Part):
    """What to maximise or minimise; `at_least` is for goals such as the lowest cost with enough requests/s."""

    maximize: str | None = None
    minimize: str | None = None
    at_least: dict[str, Annotated[float, Field(strict=False)]] = Field(default_factory=dict)

    @property
    def key(self) -> str:
        """The key of the goal: `maximize` or `minimize`."""
        return "maximize" if self.maximize is not None else "minimize"

    @property
    def text(self) -> str:
        """The goal as it is written."""
        text = self.maximize or self.minimize
        assert text is not None, "checked when built"
        return text

    @model_validator(mode="after")
    def _one_goal(self) -> ObjectiveSpec:
        if (self.maximize is None) == (self.minimize is None):
            raise ValueError("give either `maximize:` or `minimize:` (for example `rps / usd_per_hour`)")
        return self


def names_in(objective: ObjectiveSpec) -> list[str]:
    """Return the metrics that the goal names, sorted.

    Raises:
        At: it is not an expression.
    """
    try:
        return sorted(Expression(objective.text).names)
    except ValueError as error:
        raise At(("objective", objective.key), str(error)) from None


def check_known(objective: ObjectiveSpec, limits: Iterable[str], lacks: Callable[[str], str | None]) -> None:
    """Refuse what is not measured, and limits on the wrong side or in two places.

    Args:
        objective: the objective.
        limits: metrics that are limited.
        lacks: what a metric needs that the service does not state, with the remedy; None if it has all.

    Raises:
        At: the goal is not an expression, or a metric cannot be used in its place.
    """
    places: list[tuple[tuple[str, ...], str]] = [(("objective", objective.key), name) for name in names_in(objective)]
    places += [(("objective", "at_least", name), name) for name in objective.at_least]
    places += [(("limits", name), name) for name in limits]
    for place, name in places:
        if name not in METRICS and name != PRICE and not (place[0] == "limits" and metric_of(name)):
            other = ", and as a limit any other percentile, such as p97_ms"
            raise At(place, f"{shown(name)} is not measured; there are {listed()}, {PRICE}{other}")
        if why := lacks(name):
            raise At(place, why)
    for name in limits:
        if is_lower_bound(name):
            if name in objective.at_least:
                raise At(("limits", name), "is also under `objective: at_least`; keep one of them")
        elif (metric := metric_of(name)) is not None and not metric.is_limited_above:
            remedy = f"for a lower bound on {name} write `at_least: {{{name}: …}}` under `objective`"
            raise At(("limits", name), f"limits are upper bounds; {remedy}")
