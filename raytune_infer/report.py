"""What people read: live progress, the recommendation, the table of trials."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from cluster.inventory import Inventory
from cluster.prices import NoPrice, PriceBook, usd_per_million
from raytune_infer.comparing.blocks import CONFIDENCE
from raytune_infer.comparing.verdict import as_dict, bounds
from raytune_infer.history import Purpose, TrialRecord
from raytune_infer.result import StudyResult
from searchers.objective import Objective
from searchers.space import Config

EMULATED = "emulated"
"""Stands beside every number that no real device gave."""


class ConsoleProgress:
    """Prints a line for each trial, and shows what is running meanwhile.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._objective: Objective | None = None
        self._done, self._budget = 0, 0
        self._best = 0.0
        self._running: dict[int, str] = {}
        self._status: Status | None = None

    def note(self, text: str) -> None:
        """Something the user should know once."""
        self._console.print(f"[yellow]note[/] {escape(text)}")

    def begins(self, known: Sequence[TrialRecord], budget: int, objective: Objective) -> None:
        """Count from here."""
        self._done, self._budget, self._objective = len(known), budget, objective
        self._best = max((t.value or 0.0 for t in known), default=0.0)

    def started(self, number: int, purpose: Purpose, config: Config) -> None:
        """Show what is running, where the terminal can."""
        again = "" if purpose == "search" else "measured again: "
        self._running[number] = f"{again}{spelled(config)}"
        self._show()

    def finished(self, trial: TrialRecord) -> None:
        """Print the trial's line."""
        self._running.pop(trial.number, None)
        self._show()
        self._done += trial.purpose == "search"
        head = f"{self._done}/{self._budget}" if trial.purpose == "search" else "again"
        self._console.print(f"{head:>7}  {escape(spelled(trial.config))}", highlight=False)
        self._console.print(f"         {self._said(trial)}  [dim]({trial.seconds:.0f} s)[/]", highlight=False)

    def close(self) -> None:
        """Take the running display away."""
        if self._status is not None:
            self._status.stop()

    def _said(self, trial: TrialRecord) -> str:
        if trial.outcome.reason is not None:
            return f"[red]could not run[/]  {escape(trial.outcome.reason)}"
        mark = f"  [yellow]at the second attempt[/]: {escape(trial.outcome.lost)}" if trial.outcome.lost else ""
        if broken := self._broken(trial):
            mark += "  [yellow]breaks " + ", ".join(f"{n} ({trial.metrics.get(n, math.nan):.4g})" for n in broken)
            mark += "[/]"
        elif trial.value is not None and trial.purpose == "search" and trial.value > self._best:
            self._best = trial.value
            mark += "  [green]best so far[/]"
        if trial.outcome.ended_early:
            mark += "  [dim]ended early: cannot beat the best so far[/]"
        return f"{figures(trial)}{mark}"

    def _broken(self, trial: TrialRecord) -> tuple[str, ...]:
        assert self._objective is not None, "begins() comes first"
        return self._objective.broken({**trial.metrics, "usd_per_hour": trial.usd_per_hour})

    def _show(self) -> None:
        if not self._console.is_terminal:
            return
        if self._status is None:
            self._status = self._console.status("")
            self._status.start()
        self._status.update(escape(" | ".join(self._running.values()) or "thinking …"))


def spelled(config: Mapping[str, object]) -> str:
    """A configuration on one line."""
    return "  ".join(f"{name}={value}" for name, value in config.items())


def marks(trial: TrialRecord) -> str:
    """What stands before a rate: "≥" if the replica can do more, "~" if its precision was not reached."""
    return ("≥ " if trial.outcome.client_limited else "") + ("" if trial.outcome.steady else "~")


def figures(trial: TrialRecord) -> str:
    """A trial's rate, latencies and price on one line."""
    metrics = trial.metrics
    parts = [f"{marks(trial)}{metrics['rps']:.4g} requests/s"]
    if "p99_ms" in metrics:
        parts.append(f"p50 {metrics['p50_ms']:.3g} ms, p99 {metrics['p99_ms']:.3g} ms")
    if (per_million := _usd_per_million(trial)) is not None:
        parts.append(f"${per_million:.3g} per million")
    return ", ".join(parts) + (f" [{EMULATED}]".replace("[", "\\[") if trial.emulated else "")


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
    costs = [_usd_per_million(t) for t in trials]
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
        cost = _usd_per_million(t)
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
            notes.append("~: the precision was not reached in its time; the rate is an estimate")
        if t.outcome.ended_early:
            notes.append("ended early: cannot beat the best of then; the rate is an estimate")
        if t.outcome.client_limited:
            notes.append("≥: the load side was the bottleneck, the replica can do more")
        if t.emulated:
            notes.append("emulated: the numbers are of a model of the devices, not of devices")
        else:
            told = t.outcome.enforcements
            notes += [f"{e['limit']} not enforced: {e['how']}" for e in told if not e["enforced"]]
        for note in notes:
            said.setdefault(note, []).append(t.number)
    every = len(trials)
    return [f"{'all' if len(n) == every else ', '.join(map(str, n))}: {note}" for note, n in said.items()]


def frame(trials: Sequence[TrialRecord]) -> pd.DataFrame:
    """The trials as a table to work with: a row each, knobs, metrics and remarks as columns."""
    return pd.DataFrame(
        {
            "trial": t.number, "purpose": t.purpose, **t.config, **t.metrics, "usd_per_hour": t.usd_per_hour,
            "value": t.value, "seconds": t.seconds, "client_limited": t.outcome.client_limited,
            "emulated": t.emulated, "could_not_run": t.outcome.reason, "lost": t.outcome.lost,
            "ended_early": t.outcome.ended_early,
        }
        for t in trials
    )  # fmt: skip


def write_files(result: StudyResult, serve_config: str) -> dict[str, Path]:
    """The run's files for people and programs; returns what each is → where."""
    folder = result.run.path
    files = {
        "trials": folder / "trials.csv",
        "recommendation": folder / "recommendation.json",
        "Serve config": folder / "serve_config.yaml",
    }
    frame(result.trials).to_csv(files["trials"], index=False)
    summary = {
        "best": _summary(result.best),
        "default": None if result.default is None else _summary(result.default),
        "comparison": as_dict(result.comparison),
        "objective": result.objective.goal.text,
        "limits": dict(result.objective.at_most),
        "prices": result.prices,
    }
    files["recommendation"].write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    files["Serve config"].write_text(serve_config, encoding="utf-8")
    return files


def inventory_table(inventory: Inventory, book: PriceBook) -> Table:
    """The nodes of a cluster with their prices."""
    table = Table(title=f"prices: {book.name}, {book.date}", title_justify="left")
    for heading in ("node", "cores", "memory GiB", "GPUs", "GPU memory GiB", "USD/hour per GPU", "remarks"):
        table.add_column(heading)
    for node in inventory.nodes:
        marks = [EMULATED] if node.emulated else []
        if node.gpu_type and not node.emulated:
            marks.append("MPS runs" if node.has_mps else "no MPS: GPU share by a green context")
        table.add_row(
            node.hostname, str(node.cpu_cores), f"{node.memory_gib:.1f}",
            f"{node.gpus:g} × {node.gpu_type}" if node.gpu_type else "–",
            f"{node.gpu_memory_gib:g}" if node.gpu_type else "–", _gpu_price(book, node.gpu_type), ", ".join(marks),
        )  # fmt: skip
    return table


def _gpu_price(book: PriceBook, gpu_type: str | None) -> str:
    if gpu_type is None:
        return "–"
    try:
        with_gpu = book.usd_per_hour(cpu_cores=0, gpu_type=gpu_type, gpu_share=1.0)
        return f"{with_gpu - book.usd_per_hour(cpu_cores=0):.4g}"
    except NoPrice:
        return "no price"


def _summary(trial: TrialRecord) -> dict[str, object]:
    return {
        "config": trial.config, "metrics": dict(trial.metrics), "usd_per_hour": _finite(trial.usd_per_hour),
        "usd_per_million_requests": _usd_per_million(trial), "client_limited": trial.outcome.client_limited,
        "emulated": trial.emulated, "enforcements": [dict(e) for e in trial.outcome.enforcements],
        "hostname": trial.outcome.hostname, "could_not_run": trial.outcome.reason,
    }  # fmt: skip


def _usd_per_million(trial: TrialRecord) -> float | None:
    rps = trial.metrics.get("rps", 0.0)
    return usd_per_million(trial.usd_per_hour, rps) if rps > 0 and not math.isnan(trial.usd_per_hour) else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
