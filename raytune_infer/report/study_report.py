"""What people read of a study that is over: the recommendation, the table of trials."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rich.table import Table

from raytune_infer.comparing.blocks import CONFIDENCE
from raytune_infer.comparing.comparison_verdict import bounds
from raytune_infer.report.figures import EMULATED, EMULATED_NOTE, ESTIMATE_NOTE, marks, usd_per_million_of
from raytune_infer.store.records import TrialRecord
from raytune_infer.study.result import StudyResult
from searchers.objective import Objective


def recommendation(result: StudyResult) -> Table:
    """The best configuration beside the default: the median of their rounds at the end, and the mean of all."""
    best, default = result.best, result.default
    same = default is not None and default.position == best.position
    table = Table(title="Recommendation" + (f" ({EMULATED})" if best.emulated else ""), title_justify="left")
    table.add_column("")
    table.add_column("the default" if same else "recommended", justify="right", style="bold green")
    columns = [best]
    if default is not None and not same:
        table.add_column("default", justify="right")
        columns.append(default)
    for name in best.config:
        table.add_row(name, *(str(t.config[name]) for t in columns))
    table.add_section()
    for label, cells in (*_measured_rows(columns, result.objective), *_goal_rows(columns, result)):
        table.add_row(label, *cells)
    return table


def _measured_rows(trials: Sequence[TrialRecord], objective: Objective) -> Iterable[tuple[str, list[str]]]:
    def row(name: str, digits: str = ".4g") -> list[str]:
        return [format(t.metrics[name], digits) if name in t.metrics else "–" for t in trials]

    yield (
        "requests/s",
        [marks(t) + c for t, c in zip(trials, row("rps"), strict=True)],
    )
    for percentile in ("p50_ms", "p95_ms", "p99_ms"):
        limit = objective.at_most.get(percentile)
        yield (
            percentile.replace("_", ", ") + ("" if limit is None else f" (limit {limit:g})"),
            row(percentile),
        )
    yield "failed requests", [f"{t.metrics.get('error_rate', math.nan):.2%}" for t in trials]
    yield "USD per hour", ["–" if math.isnan(t.usd_per_hour) else f"{t.usd_per_hour:.4f}" for t in trials]
    costs = [usd_per_million_of(t) for t in trials]
    yield "USD per million requests", ["–" if c is None else f"{c:.4f}" for c in costs]


def _goal_rows(trials: Sequence[TrialRecord], result: StudyResult) -> Iterable[tuple[str, list[str]]]:
    comparison, objective = result.comparison, result.objective
    contestants = [comparison.of(t.position) for t in trials]
    means = [comparison.mean(c) if c is not None and c.counts else None for c in contestants]
    goal = f"{'least' if objective.minimize else 'most'} {objective.goal.text}, mean of rounds"
    yield goal, ["does not count" if m is None else f"{m.value:.4g}" for m in means]
    if any(m is not None and m.bounded for m in means):
        yield (
            f"{100 * CONFIDENCE:g} % interval",
            [bounds(m) for m in means],
        )


def trials_table(trials: Sequence[TrialRecord], best: int | None) -> Table:
    """Every trial on a line; `best` is the number of the one to mark."""
    table = Table()
    knobs = list(trials[0].config) if trials else []
    for heading in ("", *knobs, "requests/s", "p99 ms", "USD per million", "value"):
        table.add_column(heading, justify="right", overflow="fold")
    table.add_column("", min_width=13)
    for t in trials:
        mark = marks(t)
        rate, p99 = (format(t.metrics[n], ".4g") if n in t.metrics else "" for n in ("rps", "p99_ms"))
        cost = usd_per_million_of(t)
        table.add_row(
            str(t.number), *(str(t.config[knob]) for knob in knobs), mark + rate, p99,
            "" if cost is None else f"{cost:.4g}", "" if t.value is None else f"{t.value:.4g}", _state(t),
            style="bold green" if t.number == best else None,
        )  # fmt: skip
    return table


def _state(trial: TrialRecord) -> str:
    if trial.outcome.reason is not None:
        return "could not run"
    if trial.value is None:
        return "breaks a limit"
    if trial.outcome.ended_early:
        return "ended early"
    return "measured again" if trial.purpose == "final" else ""


def footnotes(trials: Sequence[TrialRecord]) -> list[str]:
    """What to know beside the numbers: each thing once, with the trials that it is true of."""
    said: dict[str, list[int]] = {}
    for t in trials:
        notes = [f"could not run: {t.outcome.reason}"] if t.outcome.reason else []
        if t.outcome.lost:
            notes.append(f"tried again: {t.outcome.lost}")
        if not t.outcome.steady:
            notes.append(ESTIMATE_NOTE)
        if t.outcome.ended_early:
            notes.append("ended early: cannot beat the best of then; the rate is an estimate")
        if t.outcome.client_limited:
            notes.append("≥: the load side was the bottleneck, the replica can do more")
        if t.emulated:
            notes.append(EMULATED_NOTE)
        else:
            told = t.outcome.enforcements
            notes += [f"{e['limit']} not enforced: {e['how']}" for e in told if not e["enforced"]]
        for note in notes:
            said.setdefault(note, []).append(t.number)
    every = len(trials)
    return [f"{'all' if len(n) == every else ', '.join(map(str, n))}: {note}" for note, n in said.items()]
