"""View of a benchmark of an endpoint that runs already."""

from __future__ import annotations

from collections.abc import Mapping

from raytune_infer.report.view import Column, Note, Row, Table, View
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.measurement import Measurement
from serve_deployments.metrics.metric_table import METRICS, REQUEST_TIMES

_SHOWN = ("p50_ms", "p90_ms", "p99_ms", "mean_ms", "max_ms")
_WORDS = {"latency": "end to end", "ttft": "time to first token", "tpot": "time per output token",
          "itl": "inter-token latency"}  # fmt: skip


def once_view(level: LevelResult, target: str) -> View:
    """Return the view of a run that sent every request once."""
    notes = [Note(f"{level.completed} requests answered in {level.duration_s:.4g} s, {level.errors} failed",
                  "warning" if level.errors else "conclusion")]  # fmt: skip
    if level.first_error is not None:
        notes.append(Note(f"first error: {level.first_error}", "warning"))
    return View(
        f"Benchmark of {target}", tables=(_times(level), _amounts(level.metrics)),
        notes=(*notes, *_limited(level.client_limited)),
    )  # fmt: skip


def highest_view(found: Measurement, said: str, target: str) -> View:
    """Return the view of a search for the highest rate that keeps limits.

    Args:
        found: what was found.
        said: what was looked for, in words.
        target: the endpoint's address.
    """
    level = found.levels[found.reported]
    answer = f"{said}: {found.metrics['rps']:.4g} requests/s" if found.found else f"no rate was found: {found.reason}"
    return View(
        f"Benchmark of {target}", tables=(_times(level), _amounts(found.metrics)), answer=answer,
        notes=(Note(found.reason, "remark"), *_limited(found.client_limited)),
    )  # fmt: skip


def _limited(client_limited: bool) -> tuple[Note, ...]:
    said = (
        "the client was too busy or too late: the times are partly its own; send less, or from a machine that is idle"
    )
    return (Note(said, "warning"),) if client_limited else ()


def _times(level: LevelResult) -> Table:
    columns = [Column("time", "time from when a request was due", kind="text", key=True)]
    columns += [Column(name, name.removesuffix("_ms"), "ms") for name in _SHOWN]
    rows = [
        Row((_WORDS.get(name, name), *(of.values.get(statistic) for statistic in _SHOWN)))
        for name in REQUEST_TIMES
        if (of := level.distributions.get(name)) is not None
    ]
    return Table("times", tuple(columns), tuple(rows))


def _amounts(metrics: Mapping[str, float]) -> Table:
    columns = (Column("metric", "metric", kind="text", key=True), Column("value", "value"),
               Column("unit", "unit", kind="text"))  # fmt: skip
    told = [(name, metric) for name, metric in METRICS.items() if metric.time is None and name in metrics]
    return Table("amounts", columns, tuple(Row((name, metrics[name], metric.unit or None)) for name, metric in told))
