"""The traces of Azure Functions of 2019: calls of each function in each minute of a day, and their durations.

Published for 14 days (Shahrad et al., USENIX ATC 2020) as `invocations_per_function_md.anon.dNN.csv` with the columns
`HashOwner`, `HashApp`, `HashFunction`, `Trigger` and `1` to `1440`, and, beside them,
`function_durations_percentiles.anon.dNN.csv` with durations in milliseconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.transform.traces.invocations import BadTrace, Invocation

MINUTES = 1440
IDS = ("HashOwner", "HashApp", "HashFunction")
COUNTS = tuple(str(minute) for minute in range(1, MINUTES + 1))
PERCENTS = (0, 1, 25, 50, 75, 99, 100)
PERCENTILES = tuple(f"percentile_Average_{percent}" for percent in PERCENTS)

_DAY = re.compile(r"invocations_per_function_md\.anon\.d(\d\d)\.csv")


def is_day(path: Path) -> bool:
    """Whether a file is named as a day of this trace."""
    return _DAY.fullmatch(path.name) is not None


def days_in(folder: Path) -> list[Path]:
    """The files of a folder that are days of this trace, in order."""
    return sorted(path for path in folder.iterdir() if is_day(path))


def read_day(path: Path, seed: int) -> tuple[Invocation, ...]:
    """The calls of one day, in order of their start; day 1 begins at 0 s, day 2 at 86,400 s.

    The trace says how many calls a minute had, and not when: they are drawn uniformly within it, as Poisson arrivals
    are once their number is known. A duration is drawn from the function's percentiles, linear between them; they are
    percentiles of averages over 30 s, and so narrower than those of single calls. It is NaN where there are none.

    Args:
        path: a file of counts.
        seed: of the draws; each day and function has a random stream of its own.

    Raises:
        BadTrace: a file cannot be read, is not named as the published ones, lacks a column, or has counts that are no
            whole numbers of 0 or more. The message names the line.
    """
    if (match := _DAY.fullmatch(path.name)) is None:
        raise BadTrace(f"{path} must be named as published, invocations_per_function_md.anon.d01.csv to d14.csv")
    day = int(match[1])
    rows = _read(path, (*IDS, *COUNTS))
    counts = _counts(path, rows)
    durations_path = path.with_name(f"function_durations_percentiles.anon.d{match[1]}.csv")
    durations_ms = _durations(durations_path) if durations_path.exists() else {}
    invocations: list[Invocation] = []
    for number, name in enumerate(_names(rows)):
        rng = np.random.default_rng([seed, day, number])
        minutes = np.repeat(np.arange(MINUTES), counts[number])
        starts = 60.0 * (minutes + rng.uniform(size=len(minutes))) + 86400.0 * (day - 1)
        lasting = _drawn_s(durations_ms.get(name), len(minutes), rng)
        invocations += map(Invocation, starts.tolist(), [name] * len(minutes), lasting.tolist())
    return tuple(sorted(invocations))


def _read(path: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    try:
        rows = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise BadTrace(f"{path}: {error}") from None
    if missing := [name for name in needed if name not in rows.columns]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BadTrace(
            f"{path} has no column {missing[0]!r}{more}; the published files have {', '.join(needed[:4])}, …"
        )
    return rows


def _counts(path: Path, rows: pd.DataFrame) -> np.ndarray:
    """`[function, minute]` numbers of calls."""
    table = rows[list(COUNTS)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    odd = ~(np.isfinite(table) & (table >= 0) & (table == np.floor(table)))
    if odd.any():
        row, minute = map(int, np.argwhere(odd)[0])
        said = rows[COUNTS[minute]].iloc[row]
        raise BadTrace(f"{path}, line {row + 2}, minute {minute + 1}: {said!r} is no number of calls")
    return table.astype(np.int64)


def _names(rows: pd.DataFrame) -> list[str]:
    return ["/".join(map(str, ids)) for ids in rows[list(IDS)].itertuples(index=False)]


def _durations(path: Path) -> Mapping[str, tuple[float, ...]]:
    """Function → its percentiles in milliseconds, ascending; those that were not recorded well are left out."""
    rows = _read(path, (*IDS, *PERCENTILES))
    table = rows[list(PERCENTILES)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    good = (np.isfinite(table) & (table >= 0)).all(axis=1) & (np.diff(table, axis=1) >= 0).all(axis=1)
    return {name: tuple(table[i].tolist()) for i, name in enumerate(_names(rows)) if good[i]}


def _drawn_s(percentiles_ms: tuple[float, ...] | None, count: int, rng: np.random.Generator) -> np.ndarray:
    """Durations by inverse transform sampling."""
    if percentiles_ms is None:
        return np.full(count, math.nan)
    return np.interp(rng.uniform(0, 100, count), PERCENTS, percentiles_ms) / 1e3
