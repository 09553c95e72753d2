"""Figures for display from the load levels of a ranking; no other module of this package reads a level."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from raytune_infer.comparing.configuration_result import ConfigurationResult
from raytune_infer.ranking.curve import in_order
from raytune_infer.ranking.ranked import Ranked
from raytune_infer.ranking.recommendation import Recommendation
from raytune_infer.report.chart import Axis, Chart, Dot, Quantity, Series, SeriesKind
from raytune_infer.report.figures import ALONE, cost_per_million, mean_rate
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


def latency_charts(found: Recommendation) -> tuple[Chart, ...]:
    """Return charts of the best few configurations, or of the most promising ones if none counts.

    They are the first limited percentile and p50 over the rate, and how busy the model was, where that is known.
    """
    drawn = (found.ranked or found.others)[:BEST]
    upper = latency_names(found)[0]
    bound = found.objective.at_most.get(upper, math.inf)
    limit = bound if math.isfinite(bound) else None
    names = dict.fromkeys((upper, "p50_ms"))
    latency: list[Series] = []
    busy: list[Series] = []
    for r in drawn:
        levels, label = in_order(r.levels, "open" if found.arrivals else "closed"), _label(r, drawn)
        for name in names:
            latency += _latency_series(r, levels, label, name, first=name == upper)
        told = [(at.rate_rps, at.usage.busy_share) for at in levels if at.usage]
        shares = sorted((rps, share) for rps, share in told if share is not None)
        dots = [Dot(rps, Quantity(share), label) for rps, share in shares]
        busy += [Series(f"{label}: busy", "line", tuple(dots), label, figure="busy")] if dots else []
    emulated = " (emulated)" if any(r.emulated for r in (*found.ranked, *found.others)) else ""
    shown = " and ".join(map(_short, names))
    across = "" if limit is None else f"; the line across is the limit on {_short(upper)}, {limit:g} ms"
    charts = (
        Chart("latency", "The best configurations", f"{shown} over the rate that was achieved{across}.", RATE,
              Axis("latency" + emulated, "ms"), tuple(latency), limit, log_y=True),
        Chart("busy", "Model busy", "Share of the time in which the model ran, over the rate that was achieved.", RATE,
              BUSY, tuple(busy)),
    )  # fmt: skip
    return tuple(chart for chart in charts if chart.series)


def _short(name: str) -> str:
    return name.removesuffix("_ms")


def _latency_series(
    r: Ranked, levels: Sequence[LevelResult], label: str, name: str, *, first: bool
) -> Iterator[Series]:
    """Yield a percentile of one configuration; marks of levels apart from the line only of the `first`."""
    held = sorted(_dots([level for level in levels if not level.overloaded], name))
    overloaded = _dots([level for level in levels if level.overloaded], name)
    answer = _dots([] if r.known.level is None else [r.known.level], name)
    named: tuple[tuple[SeriesKind, str, Sequence[tuple[float, float]]], ...] = (
        ("line", "", held), ("overloaded", ", overloaded", overloaded), ("answer", ", its rate", answer),
    )  # fmt: skip
    for kind, said, points in named if first else named[:1]:
        if points:
            dots = tuple(Dot(rps, Quantity(ms), label) for rps, ms in points)
            yield Series(f"{label}: {_short(name)}{said}", kind, dots, label, faint=not first, figure=_short(name))


def _dots(levels: Sequence[LevelResult], name: str) -> list[tuple[float, float]]:
    """Return the points of the levels that have a value, because something was answered."""
    return [(at.rate_rps, value) for at in levels if (value := at.value(name)) is not None]


def _label(r: Ranked, drawn: Sequence[Ranked]) -> str:
    """Return the knobs that differ between the drawn configurations; all knobs if only one is drawn."""
    known = [{name: typed({name: value}) for name, value in other.config.items()} for other in drawn]
    differ = {name: value for name, value in r.config.items() if any(k[name] != typed({name: value}) for k in known)}
    label = ", ".join(f"{name}={value_text(value)}" for name, value in (differ or r.config).items())
    return f"{label} ({ALONE})" if r.alone else label
