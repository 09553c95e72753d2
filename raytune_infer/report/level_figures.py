"""Figures for display from the load levels of a ranking; no other module of this package reads a level."""

from __future__ import annotations

import math
from collections.abc import Sequence

from raytune_infer.comparing.configuration_result import ConfigurationResult
from raytune_infer.ranking.curve import in_order
from raytune_infer.ranking.ranked import Ranked
from raytune_infer.ranking.recommendation import Recommendation
from raytune_infer.report.figures import ALONE, cost_per_million, mean_rate
from raytune_infer.report.view import Axis, Curve, Point, PointKind, Quantity
from raytune_infer.report.words.values import value_text
from searchers.quantities import PRICE
from searchers.space import typed
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.metric_table import metric_of

BEST = 3
"""Number of configurations that are drawn, with two lines each; more would be hard to tell apart."""

RATE = Axis("achieved", "requests/s")
BUSY = Axis("model busy")


def rate(r: Ranked) -> Quantity | None:
    """Return the rate of the highest level that kept the limits.

    It is marked "at least" if more is possible, and "estimated" if the level was not steady. What a part of a GPU did
    alone is no lower bound: among others it does less.
    """
    level = r.known.level
    if level is None:
        return None
    if (means := _means(r)) is not None:
        return mean_rate(means)
    low, high = r.known.interval_rps or (None, None)
    at_least = not r.known.resolved and not r.alone
    return Quantity(level.rate_rps, low, high, at_least=at_least, estimated=not level.steady)


def latency_ms(r: Ranked, name: str) -> float | None:
    """Return a latency in ms at the highest level that kept the limits; None without one."""
    if (means := _means(r)) is not None and name in means.metrics:
        return means.metrics[name]
    return None if r.known.level is None else r.known.level.value(name)


def measured(r: Ranked, names: Sequence[str]) -> dict[str, float]:
    """Return the metrics of the highest level that kept the limits, the price and what is known of the answers.

    Empty without such a level.
    """
    answers = {} if r.answers is None else r.answers.figures
    return {} if r.known.level is None else {**r.known.level.with_metrics(names), PRICE: r.usd_per_hour, **answers}


def cost(r: Ranked) -> Quantity | None:
    """Return the US dollars per million requests at the highest level that kept the limits; None if unknown."""
    return cost_per_million(rate(r), r.usd_per_hour)


def _means(r: Ranked) -> ConfigurationResult | None:
    """Return the configuration's means over the rounds of the comparison, if these decide."""
    return None if r.compared is None else r.compared.result


def usage(r: Ranked) -> tuple[float | None, float | None, float | None, float | None]:
    """Return the replica's usage at the highest level that kept the limits.

    These are the share of time in which the model ran, the mean batch size, the cores in use and the GPU utilisation.
    """
    told = None if r.known.level is None else r.known.level.usage
    if told is None:
        return (None, None, None, None)
    return (told.busy_share, told.mean_batch, told.cpu_cores, told.gpu_utilisation)


def told_usage(found: Recommendation) -> bool:
    """Whether the replica's usage was recorded at any of the levels that represent the configurations."""
    return any(r.known.level is not None and r.known.level.usage is not None for r in (*found.ranked, *found.others))


def alone(r: Ranked) -> tuple[float, float] | None:
    """Return the clients and the rate of the closed level that kept the limits where no open level did, if any."""
    return None if r.known.alone is None else (r.known.alone.asked, r.known.alone.rate_rps)


def estimated(r: Ranked) -> bool:
    """Whether the level that represents the configuration was not steady."""
    return r.known.level is not None and _means(r) is None and not r.known.level.steady


def latency_names(found: Recommendation) -> list[str]:
    """Return the latencies that have a limit; p99 if none has."""
    return [
        name for name in found.objective.at_most if (of := metric_of(name)) is not None and of.time is not None
    ] or ["p99_ms"]


def latency_curves(found: Recommendation) -> tuple[Curve, ...]:
    """Return the curves of the best few configurations, or of the most promising ones if none counts.

    They are the first limited percentile and p50 over the rate, and how busy the model was.
    """
    drawn = (found.ranked or found.others)[:BEST]
    upper = latency_names(found)[0]
    bound = found.objective.at_most.get(upper, math.inf)
    limit = bound if math.isfinite(bound) else None
    emulated = " (emulated)" if any(r.emulated for r in (*found.ranked, *found.others)) else ""
    latency = Axis("latency" + emulated, "ms")
    curves = []
    for r in drawn:
        series = _label(r, drawn)
        levels = in_order(r.levels, "open" if found.arrivals else "closed")
        held = [level for level in levels if not level.overloaded]
        answer = [] if r.known.level is None else [r.known.level]
        points = [
            *_points(held, upper, "measured"),
            *_points([level for level in levels if level.overloaded], upper, "overloaded"),
            *_points(answer, upper, "answer"),
        ]
        told = [(at.rate_rps, at.usage.busy_share) for at in levels if at.usage]
        busy = [(rate_rps, share) for rate_rps, share in told if share is not None]
        curves.append(Curve(series, upper.removesuffix("_ms"), RATE, latency, tuple(points), limit))
        if upper != "p50_ms":
            curves.append(Curve(series, "p50", RATE, latency, tuple(_points(held, "p50_ms", "measured"))))
        curves.append(Curve(series, "busy", RATE, BUSY, tuple(Point(x, y) for x, y in busy)))
    return tuple(curve for curve in curves if curve.points)


def _points(levels: Sequence[LevelResult], name: str, kind: PointKind) -> list[Point]:
    """Return the points of the levels that have a value, because something was answered."""
    return [Point(at.rate_rps, value, kind=kind) for at in levels if (value := at.value(name)) is not None]


def _label(r: Ranked, drawn: Sequence[Ranked]) -> str:
    """Return the knobs that differ between the drawn configurations; all knobs if only one is drawn."""
    known = [{name: typed({name: value}) for name, value in other.config.items()} for other in drawn]
    differ = {name: value for name, value in r.config.items() if any(k[name] != typed({name: value}) for k in known)}
    label = ", ".join(f"{name}={value_text(value)}" for name, value in (differ or r.config).items())
    return f"{label} ({ALONE})" if r.alone else label
