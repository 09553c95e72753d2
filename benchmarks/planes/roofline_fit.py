"""Accuracy of the roofline's predictions of measured tables, with rates from datasheets and with fitted ones.

    python -m benchmarks roofline_fit [data/planes-cpu] [--out data/planes-cpu/ROOFLINE.md]

A model's profile is counted from the model. Four constants of the machine (FLOP/s of a core at each precision, bytes/s,
seconds per kernel) are fitted to the tables of all other families, never of the judged model's own, by least squares
between the logarithms of times. Takes seconds on one core.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import least_squares
from scipy.stats import spearmanr

from benchmarks.planes.models.catalogue import MODELS
from benchmarks.planes.profile import profile
from benchmarks.planes.timing import BATCH
from benchmarks.recording.arguments import parser_of
from benchmarks.recording.origin import ROOT, command_of
from benchmarks.recording.sections import markdown
from cluster.emulated.roofline import ModelProfile, Rates, batch_time_s, datasheet_rates

Array = npt.NDArray[np.float64]

# Weight of the penalty that keeps a constant near its start where no table determines it: a factor e away from there
# counts as much as an error of 5 % in all rows of one table. Our choice: prevents divergence, otherwise negligible.
HOLD = 0.05


@dataclass(frozen=True)
class Measured:
    """The measured table of one model, with the rows that ran.

    Args:
        profile: profile counted from the model.
        group: the model's family.
        rows: table with columns `max_batch_size`, `cpu_cores`, `precision`, `usd_per_hour`, `latency_ms`.
    """

    profile: ModelProfile
    group: str
    rows: pd.DataFrame

    def seconds(self) -> Array:
        """`[n]` measured seconds per batch."""
        return self.rows["latency_ms"].to_numpy(float) / 1e3

    def predicted_s(self, rates: Rates) -> Array:
        """`[n]` seconds per batch, predicted by the roofline."""
        precision = self.rows["precision"].to_numpy()
        batch, cores = (self.rows[name].to_numpy(float) for name in (BATCH, "cpu_cores"))
        seconds = np.empty(len(self.rows))
        for each in np.unique(precision):
            at = precision == each
            seconds[at] = batch_time_s(
                self.profile, rates, batch=batch[at], units=cores[at], bandwidth_units=cores[at], precision=str(each)
            )
        return seconds


@dataclass(frozen=True)
class Verdict:
    """The accuracy of a prediction of a table.

    Args:
        rank: Spearman's correlation of predicted and measured rates.
        error: median of |predicted / measured - 1| of the rates.
        best: requests per dollar of the configuration predicted as best, as a fraction of the table's best.
    """

    rank: float
    error: float
    best: float


def judge(table: Measured, predicted_s: Array) -> Verdict:
    batch, usd = table.rows[BATCH].to_numpy(float), table.rows["usd_per_hour"].to_numpy(float)
    measured, predicted = batch / table.seconds(), batch / predicted_s
    value = measured / usd
    chosen = int(np.argmax(predicted / usd))
    rank = float(spearmanr(predicted, measured).statistic)
    return Verdict(rank, float(np.median(np.abs(predicted / measured - 1))), float(value[chosen] / value.max()))


def calibrate(tables: Sequence[Measured], start: Rates) -> Rates:
    """Fits rates by least squares of log time over all tables; every table has the same weight.

    Args:
        tables: the tables to fit to.
        start: the rates to start from.

    Raises:
        ValueError: there are no tables.
    """
    if not tables:
        raise ValueError("rates are fitted to one table or more, got none; add models of another family")
    precisions = sorted({str(p) for table in tables for p in table.rows["precision"]} | {"float32"})

    def rates(logs: Array) -> Rates:
        *flops, bytes_s, launch_s = np.exp(logs)
        # One cost per kernel: on a CPU the fill within the work cannot be told from the launch around it.
        return Rates(dict(zip(precisions, flops, strict=True)), bytes_s, launch_s, fill_s=0.0)

    first = [start.flops.get(p, start.flops["float32"]) for p in precisions]
    begin = np.log([*first, start.bytes_s, start.launch_s + start.fill_s])

    def residuals(logs: Array) -> Array:
        fitted = rates(logs)
        errors = [np.log(t.predicted_s(fitted) / t.seconds()) / np.sqrt(len(t.rows)) for t in tables]
        return np.concatenate([*errors, HOLD * (logs - begin)])

    return rates(least_squares(residuals, begin).x)


def load(folder: Path) -> list[Measured]:
    """Loads the suite's tables.

    Raises:
        ValueError: the tables are of a GPU, for which the constants here are not the right ones.
    """
    suite = json.loads((folder / "suite.json").read_text())
    if "cpu_cores" not in (knob["name"] for knob in suite["parameters"]):
        raise ValueError(f"{folder} was not measured on a CPU: it has no cpu_cores; give a suite of `planes` that has")
    models = {model.name: model for model in MODELS}
    return [
        Measured(profile(models[task]), suite["groups"][task], pd.read_csv(folder / f"{task}.csv").dropna())
        for task in suite["tasks"]["source"]
    ]


def verdicts(tables: Sequence[Measured]) -> Mapping[str, tuple[Verdict, Verdict, Rates]]:
    """For each model the verdicts with datasheet rates and with rates fitted to the other families, and those rates."""
    sheet, found = datasheet_rates(None), {}
    for table in tables:
        fitted = calibrate([other for other in tables if other.group != table.group], sheet)
        found[table.profile.name] = (
            judge(table, table.predicted_s(sheet)), judge(table, table.predicted_s(fitted)), fitted,
        )  # fmt: skip
    return found


def report(tables: Sequence[Measured], found: Mapping[str, tuple[Verdict, Verdict, Rates]]) -> str:
    """The table of verdicts, a row per model, and one of the medians."""
    header = (
        "model", "family", "rank: datasheet", "calibrated", "error: datasheet", "calibrated", "best: datasheet",
        "calibrated",
    )  # fmt: skip
    rows = [[table.profile.name, table.group, *_cells(*found[table.profile.name][:2])] for table in tables]
    medians = [
        Verdict(*np.median([[v.rank, v.error, v.best] for v in column], axis=0))
        for column in list(zip(*found.values(), strict=True))[:2]
    ]
    return markdown(header, [*rows, ["median", "", *_cells(*medians)]], text=(0, 1))


def _cells(before: Verdict, after: Verdict) -> list[str]:
    return [
        f"{before.rank:.2f}", f"{after.rank:.2f}", f"{before.error:.0%}", f"{after.error:.0%}",
        f"{before.best:.2f}", f"{after.best:.2f}",
    ]  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    parser = parser_of(__name__, __doc__)
    parser.add_argument("suite", type=Path, nargs="?", default=ROOT / "data" / "planes-cpu")
    parser.add_argument("--out", type=Path, help="default: ROOFLINE.md beside the tables")
    asked = parser.parse_args(arguments)
    tables = load(asked.suite)
    rates = calibrate(tables, datasheet_rates(None))
    flops = ", ".join(f"{value / 1e9:.0f} GFLOP/s at {name}" for name, value in rates.flops.items())
    text = [
        "# The roofline against measured tables", "",
        f"`{command_of(__name__, arguments)}`. Rank: Spearman's correlation of predicted and measured "
        "rates over a model's configurations. Error: median relative error of the rate. Best: requests per dollar of "
        "the configuration predicted as best, as a part of the table's best. Datasheet: the catalogue's CPU core, "
        "which differs from this machine's and has no bfloat16. Calibrated: on the other families only.", "",
        report(tables, verdicts(tables)), "",
        f"Fitted to all tables, a core here does {flops}, moves {rates.bytes_s / 1e9:.1f} GB/s, and a kernel costs "
        f"{rates.launch_s * 1e6:.1f} µs.", "",
    ]  # fmt: skip
    print("\n".join(text))
    (asked.out or asked.suite / "ROOFLINE.md").write_text("\n".join(text))
