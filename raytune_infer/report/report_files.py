"""Files of a finished study for programs: a table of its trials, the recommendation as JSON, the Serve config."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from raytune_infer.comparing.comparison_verdict import as_dict
from raytune_infer.report.figures import usd_per_million_of
from raytune_infer.store.records import TrialRecord
from raytune_infer.study.result import StudyResult


def frame(trials: Sequence[TrialRecord]) -> pd.DataFrame:
    """Return the trials as a table, one per row, with knobs, metrics and remarks as columns."""
    return pd.DataFrame(
        {
            "trial": t.number, "purpose": t.purpose, **t.config, **t.metrics, **_interval(t),
            "usd_per_hour": t.usd_per_hour, "value": t.value, "seconds": t.seconds,
            "client_limited": t.outcome.client_limited, "emulated": t.emulated,
            "could_not_run": t.outcome.reason, "lost": t.outcome.lost,
            "ended_early": t.outcome.ended_early,
        }
        for t in trials
    )  # fmt: skip


def _interval(trial: TrialRecord) -> dict[str, float]:
    """Return the 95 % interval of the rate as columns; NaN where it is unknown."""
    low, high = trial.outcome.interval_rps or (math.nan, math.nan)
    return {"rate_low_rps": low, "rate_high_rps": high}


def write_files(result: StudyResult, serve_config: str) -> dict[str, Path]:
    """Write the run's files for people and programs; returns the description of each → its path."""
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
        "direction": "minimize" if result.objective.minimize else "maximize",
        "limits": dict(result.objective.at_most),
        "at_least": dict(result.objective.at_least),
        "prices": result.prices,
    }
    files["recommendation"].write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    files["Serve config"].write_text(serve_config, encoding="utf-8")
    return files


def _summary(trial: TrialRecord) -> dict[str, object]:
    return {
        "config": trial.config, "metrics": dict(trial.metrics), "usd_per_hour": _finite(trial.usd_per_hour),
        "usd_per_million_requests": usd_per_million_of(trial), "client_limited": trial.outcome.client_limited,
        "emulated": trial.emulated, "enforcements": [dict(e) for e in trial.outcome.enforcements],
        "hostname": trial.outcome.hostname, "could_not_run": trial.outcome.reason,
    }  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
