"""The files that `planes` writes: a table per model, and for all of them suite.json, CARD.md and the record."""

from __future__ import annotations

import csv
import datetime as dt
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.planes.grid import Grid, physical_cpus
from benchmarks.planes.models.catalogue import MODELS
from benchmarks.planes.timing import Patience, Row
from benchmarks.recording.sections import markdown
from raytune_infer.store.made_on import processor

METRICS = {"rps": "requests/s", "latency_ms": "ms"}

# Typical limits on latency on a CPU, our choice: half a second is noticed, a tenth is not (Nielsen 1993,
# "Usability engineering", chapter 5, has 0.1 s as the limit of what feels immediate).
LOOSE_MS, TIGHT_MS = 500, 100


def write_table(file: Path, grid: Grid, rows: Sequence[Row]) -> None:
    """Writes the table of one model; a row without metrics ran out of memory."""
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, [*grid.knobs, "usd_per_hour", *METRICS], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            told = {k: f"{v:.6g}" if k in METRICS else v for k, v in row.items()}
            writer.writerow({**told, "usd_per_hour": round(grid.usd_per_hour(row), 6)})


def suite(grid: Grid, done: Mapping[str, Mapping[str, Any]], patience: Patience, where: str) -> dict[str, Any]:
    """The content of suite.json for the models that are done."""
    families = {model.name: model.family for model in MODELS}
    per_dollar = "rps / usd_per_hour"
    return {
        "name": f"planes-{grid.device}",
        "about": "Saturated rate and time of a batch of models with random weights in a bare loop, no server. A row "
        "without metrics ran out of memory. Configurations whose batch was expected to take longer than "
        f"{patience.batch_limit_s:g} s, going by the smaller ones, were not tried and have no row. Groups are "
        "families of models. Prices are list prices.",
        "provenance": f"measured on {where} by `python -m benchmarks planes`; {grid.price_source}",
        "parameters": [
            {
                "name": name,
                "kind": "categorical" if isinstance(values[0], str) else "ordinal",
                "values": list(values),
            }
            for name, values in grid.knobs.items()
        ],
        "cost": "usd_per_hour",
        "metrics": METRICS,
        "objectives": [
            {"name": "free", "maximize": per_dollar},
            {"name": "loose", "maximize": per_dollar, "at_most": {"latency_ms": LOOSE_MS}},
            {"name": "tight", "maximize": per_dollar, "at_most": {"latency_ms": TIGHT_MS}},
            {"name": "rate", "maximize": "rps", "at_most": {"latency_ms": LOOSE_MS}},
        ],
        "descriptors": {name: record["facts"] for name, record in done.items()},
        "groups": {name: families[name] for name in done},
        "tasks": {"source": list(done)},
    }


def card(done: Mapping[str, Mapping[str, Any]], patience: Patience, where: str, command: str) -> str:
    """The content of CARD.md: machine, command, and how precise each table is."""
    header = (
        "model", "rows", "failed", "not tried", "spread: median", "worst", "not tight", "few", "seconds",
    )  # fmt: skip
    rows = []
    for name, r in done.items():
        spread = [f"{r[key]:.1%}" if r[key] is not None else "" for key in ("spread_median", "spread_worst")]
        counts = [r["rows"], r["failed"], r["left_out"], *spread, r["loose"], r["few"], r["seconds"]]
        rows.append([name, *(str(count) for count in counts)])
    lines = [
        "# How these tables were measured", "",
        f"`{command}`, {dt.date.today()}, {where}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{sum(record['seconds'] for record in done.values()):.0f} s in all. A table holds what was measured, once; "
        f"{patience!r}.", "",
        "Spread: half of the 95 % interval of a point's median, as a part of it; it knows the noise within a point, "
        "not what changes from one minute to the next. Not tight: points that ran out of time before the spread was "
        f"{patience.within:.0%}. Few: points of fewer than 6 batches, for which there is no such interval.", "",
        markdown(header, rows), "",
    ]  # fmt: skip
    return "\n".join(lines)


def finished(record: Path, grid: Grid) -> dict[str, Any]:
    """The models that an earlier run finished.

    Raises:
        ValueError: that run had another grid, so that its tables and ours would not form one suite.
    """
    if not record.exists():
        return {}
    kept = json.loads(record.read_text())
    if kept["knobs"] != json.loads(json.dumps(grid.knobs)):
        raise ValueError(
            f"{record.parent} holds tables of {kept['knobs']}; give another --out, or --fresh to replace it"
        )
    return dict(kept["models"])


def machine(device: str) -> str:
    """The machine in words: processor and cores, preceded by the GPU if that is the device."""
    cpu = f"{processor()}, {len(physical_cpus())} cores"
    return cpu if device == "cpu" else f"{torch.cuda.get_device_name()} beside {cpu}"
