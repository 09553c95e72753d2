"""Files of a finished study for programs: a table of its trials, the recommendation as JSON, the Serve config."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from raytune_infer.comparing.comparison_dict import as_dict
from raytune_infer.comparing.configuration_result import ConfigurationResult
from raytune_infer.report.figures import cost_of
from raytune_infer.report.words.metric_columns import in_order
from raytune_infer.report.words.verdict import answer, on_other_work
from raytune_infer.store.records import TrialRecord
from raytune_infer.store.run_folder import RunFolder
from raytune_infer.study.result import StudyResult


def frame(trials: Sequence[TrialRecord]) -> pd.DataFrame:
    """Return the trials as a table, one per row: number and purpose, knobs, metrics, remarks.

    Columns have a fixed order: knobs as in service.yaml, metrics as in the table of all metrics. A knob with the name
    of another column is called `config.NAME`.
    """
    metrics = in_order({name for t in trials for name in t.metrics})
    remarks = [_remarks(t) for t in trials]
    taken = {"trial", "purpose", *metrics, *(name for each in remarks for name in each)}
    return pd.DataFrame(
        {
            "trial": t.number, "purpose": t.purpose,
            **{f"config.{name}" if name in taken else name: value for name, value in t.config.items()},
            **{name: t.metrics.get(name, math.nan) for name in metrics}, **said,
        }
        for t, said in zip(trials, remarks, strict=True)
    )  # fmt: skip


def _remarks(t: TrialRecord) -> dict[str, object]:
    """Return what is known of a trial beside its configuration and its metrics."""
    return {
        **_interval(t), "usd_per_hour": t.usd_per_hour, "value": t.value, "seconds": t.seconds,
        "client_limited": t.outcome.client_limited, "emulated": t.emulated,
        "could_not_run": t.outcome.reason, "lost": t.outcome.lost,
        "ended_early": t.outcome.ended_early, "others_share": t.outcome.others_share,
        "measured_alone": t.outcome.alone,
    }  # fmt: skip


def _interval(trial: TrialRecord) -> dict[str, float]:
    """Return the 95 % interval of the rate as columns; NaN where it is unknown."""
    low, high = trial.outcome.interval_rps or (math.nan, math.nan)
    return {"rate_low_rps": low, "rate_high_rps": high}


def write_trials(run: RunFolder, trials: Sequence[TrialRecord]) -> Path:
    """Write the table of a run's trials; returns its path."""
    path = run.path / "trials.csv"
    frame(trials).to_csv(path, index=False)
    return path


def write_files(result: StudyResult, serve_config: str) -> dict[str, Path]:
    """Write the run's files for people and programs; returns the description of each → its path."""
    folder = result.run.path
    files = {
        "trials": write_trials(result.run, result.trials),
        "recommendation": folder / "recommendation.json",
        "Serve config": folder / "serve_config.yaml",
    }
    summary = {
        "answer": answer(result.comparison, result.objective),
        "best": _summary(result.best),
        "default": None if result.default is None else _summary(result.default),
        "comparison": as_dict(result.comparison),
        "other_processes": on_other_work(result.comparison),
        "objective": result.objective.goal.text,
        "direction": "minimize" if result.objective.minimize else "maximize",
        "limits": dict(result.objective.at_most),
        "at_least": dict(result.objective.at_least),
        "prices": result.prices,
    }
    files["recommendation"].write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    files["Serve config"].write_text(serve_config, encoding="utf-8")
    return files


def _summary(of: ConfigurationResult) -> dict[str, object]:
    last, cost = of.trials[-1].outcome, cost_of(of)
    return {
        "config": of.config, "metrics": dict(of.metrics), "interval_rps": of.interval_rps,
        "usd_per_hour": _finite(of.usd_per_hour), "usd_per_million_requests": None if cost is None else cost.value,
        "interval_usd_per_million_requests": None if cost is None or cost.low is None else (cost.low, cost.high),
        "trials": [t.number for t in of.trials], "client_limited": of.client_limited, "estimated": of.estimated,
        "emulated": of.emulated, "measured_alone": of.alone,
        "enforcements": [dict(e) for e in last.enforcements], "others_share": of.others_share,
        "hostname": last.hostname, "could_not_run": of.reason,
        "answers": None if of.answers is None else asdict(of.answers),
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
