"""Writes small files in the form of the published traces, as those are not part of this repository.

    python -m benchmarks.transform.traces.generated FOLDER [--functions 40] [--seed 0]

The rates of the functions are log-normal, so that most are rare and few are busy; each rises and falls in a day with
a peak at an hour of its own. They are like the real ones in their form alone: no figure about Azure comes from them.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.transform.traces.azure_2019 import COUNTS, MINUTES, PERCENTILES, PERCENTS

_LOG_RATE, _LOG_SPREAD = np.log(1 / 900), 1.5  # a call in a quarter of an hour, and a factor of 4.5 up or down


def write_2021(path: Path, functions: int, seed: int) -> None:
    """One day in the form of 2021, in order of the ends; every second function shares its app with the one before."""
    rng = np.random.default_rng([seed, 2021])
    rows: list[tuple[str, str, float, float]] = []
    for number, counts in enumerate(_counts(functions, rng)):
        starts = 60.0 * (np.repeat(np.arange(MINUTES), counts) + rng.uniform(size=counts.sum()))
        durations = rng.lognormal(np.log(0.1), 1.0, len(starts)).round(3)
        app, name = _digest("app", number // 2), _digest("func", number % 2)  # unique within its app alone
        rows += [(app, name, s + d, d) for s, d in zip(starts.tolist(), durations.tolist(), strict=True)]
    rows.sort(key=lambda row: row[2])
    pd.DataFrame(rows, columns=["app", "func", "end_timestamp", "duration"]).to_csv(path, index=False)


def write_2019(folder: Path, functions: int, days: int, seed: int) -> None:
    """Days in the form of 2019, with the durations of all functions but the last."""
    for day in range(1, days + 1):
        rng = np.random.default_rng([seed, 2019])  # the same rates and peaks each day, other counts
        table = _counts(functions, rng, np.random.default_rng([seed, 2019, day]))
        ids = pd.DataFrame(
            [(_digest("owner", i // 4), _digest("app", i // 2), _digest("func", i)) for i in range(functions)],
            columns=["HashOwner", "HashApp", "HashFunction"],
        )
        counts = ids.assign(Trigger="http").join(pd.DataFrame(table, columns=list(COUNTS)))
        counts.to_csv(folder / f"invocations_per_function_md.anon.d{day:02}.csv", index=False)
        medians_ms = rng.lognormal(np.log(100), 1.0, functions)
        spread = np.interp(PERCENTS, (0, 50, 100), (0.2, 1.0, 5.0))
        lasting = pd.DataFrame(np.outer(medians_ms, spread).round(2), columns=list(PERCENTILES))
        facts = ids.assign(Average=medians_ms.round(2), Count=table.sum(axis=1))
        facts = facts.assign(Minimum=lasting[PERCENTILES[0]], Maximum=lasting[PERCENTILES[-1]]).join(lasting)
        facts[:-1].to_csv(folder / f"function_durations_percentiles.anon.d{day:02}.csv", index=False)


def _counts(functions: int, rng: np.random.Generator, draws: np.random.Generator | None = None) -> np.ndarray:
    """`[function, minute]` numbers of calls."""
    rates = rng.lognormal(_LOG_RATE, _LOG_SPREAD, functions)
    peaks = rng.uniform(0, MINUTES, functions)
    waves = 1 + 0.9 * np.cos(2 * np.pi * (np.arange(MINUTES) - peaks[:, None]) / MINUTES)
    return (draws or rng).poisson(60.0 * rates[:, None] * waves)


def _digest(*words: object) -> str:
    return hashlib.sha256(repr(words).encode()).hexdigest()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--functions", type=int, default=40)
    parser.add_argument("--days", type=int, default=2, help="of 2019; 2021 has one")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    asked.folder.mkdir(parents=True, exist_ok=True)
    write_2021(asked.folder / "generated_2021.txt", asked.functions, asked.seed)
    write_2019(asked.folder, asked.functions, asked.days, asked.seed)


if __name__ == "__main__":
    main()
