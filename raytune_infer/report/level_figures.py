"""What a ranking's levels of load say, in figures to show: the one place of this package that reads a level."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cluster.prices import usd_per_million
from raytune_infer.ranking.curve import in_order
from raytune_infer.ranking.recommendation import Ranked, Recommendation
from raytune_infer.report.view import Axis, Curve, Point, PointKind, Quantity
from raytune_infer.spec.service_spec import PRICED
from serve_deployments.metrics.level_result import LevelResult

BEST = 3
"""Configurations that are drawn: two lines each; more cannot be told apart."""

RATE = Axis("achieved", "requests/s")
BUSY = Axis("model busy")


def rate(r: Ranked) -> Quantity | None:
    """The highest level that kept the limits: at least, if more is possible, and estimated, if it was not steady."""
    level = r.known.level
    if level is None:
        return None
    # The interval of an open level is that of the arrivals, which says nothing of the replica.
    low, high = (level.interval_rps if level.mode == "closed" else r.known.interval_rps) or (None, None)
    return Quantity(level.rate_rps, low, high, at_least=not r.known.resolved, estimated=not level.steady)


def latency_ms(r: Ranked, name: str) -> float | None:
    """A latency of that level."""
    return None if r.known.level is None else r.known.level.value(name)


def measured(r: Ranked, names: Sequence[str]) -> dict[str, float]:
    """The metrics of that level, with its price; empty without one."""
    return {} if r.known.level is None else {**r.known.level.with_metrics(names), PRICED: r.usd_per_hour}


def cost_per_million(r: Ranked) -> float | None:
    """What a million requests cost at that level's rate."""
    level = r.known.level
    if level is None or not level.rate_rps > 0 or math.isnan(r.usd_per_hour):
        return None
    return usd_per_million(r.usd_per_hour, level.rate_rps)


def usage(r: Ranked) -> tuple[float | None, float | None, float | None, float | None]:
    """Of that level: the share of time in which the model ran, the mean batch, cores in use, the GPU's utilisation."""
    told = None if r.known.level is None else r.known.level.usage
    if told is None:
        return (None, None, None, None)
    return (told.busy_share, told.mean_batch, told.cpu_cores, told.gpu_utilisation)


def told_usage(found: Recommendation) -> bool:
    """Whether any of these levels has recorded what the replica did."""
    return any(r.known.level is not None and r.known.level.usage is not None for r in (*found.ranked, *found.others))


def alone(r: Ranked) -> tuple[float, float] | None:
    """Clients that waited for their answer, and the rate at which these kept the limits, where no arrivals did."""
    return None if r.known.alone is None else (r.known.alone.asked, r.known.alone.rate_rps)


def estimated(r: Ranked) -> bool:
    """Whether the level that stands for it was not steady."""
    return r.known.level is not None and not r.known.level.steady


def latency_names(found: Recommendation) -> list[str]:
    """The latencies that are limited; p99 where none is."""
    return [name for name in found.objective.at_most if name.endswith("_ms")] or ["p99_ms"]


def latency_curves(found: Recommendation) -> tuple[Curve, ...]:
    """Of the best few: the first limited percentile and p50 over the rate, and how busy the model was.

    Where none counts, of the most promising.
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
    """Of the levels at which something was answered."""
    return [Point(at.rate_rps, value, kind=kind) for at in levels if (value := at.value(name)) is not None]


def _label(r: Ranked, drawn: Sequence[Ranked]) -> str:
    """What tells a configuration from the others that are drawn; all of it if it is alone."""
    differ = {name: value for name, value in r.config.items() if any(other.config[name] != value for other in drawn)}
    return ", ".join(f"{name}={value}" for name, value in (differ or r.config).items())
