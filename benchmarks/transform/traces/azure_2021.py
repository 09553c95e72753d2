"""The trace of Azure Functions of 2021: a row for each call, with its end and its duration.

Published as AzureFunctionsInvocationTraceForTwoWeeksJan2021 (Zhang et al., SOSP 2021) with the columns `app`, `func`,
`end_timestamp` and `duration`, both in seconds. A `func` is unique only within its `app`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.transform.traces.invocations import BadTrace, Invocation

COLUMNS = ("app", "func", "end_timestamp", "duration")


def read(path: Path) -> tuple[Invocation, ...]:
    """The calls in a file, in order of their start, which is end - duration.

    Calls that had begun before the trace did start at negative times.

    Raises:
        BadTrace: the file cannot be read or has other columns; or a row has an end or a duration that is no number, or
            a negative duration. The message names the line.
    """
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise BadTrace(f"{path}: {error}; a text file with the columns {', '.join(COLUMNS)} is needed") from None
    if missing := [name for name in COLUMNS if name not in rows.columns]:
        raise BadTrace(f"{path} has no column {', '.join(missing)}; it has {', '.join(map(str, rows.columns))}")
    ends, durations = (_numbers(path, rows[name]) for name in COLUMNS[2:])
    if len(negative := np.flatnonzero(durations < 0)):
        raise BadTrace(
            f"{path}, line {negative[0] + 2}: a duration of {durations[negative[0]]:g} s; it must be 0 or more"
        )
    names = (rows["app"] + "/" + rows["func"]).tolist()
    starts = (ends - durations).tolist()
    return tuple(sorted(map(Invocation, starts, names, durations.tolist())))


def _numbers(path: Path, column: pd.Series[str]) -> np.ndarray:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
    if len(odd := np.flatnonzero(~np.isfinite(numbers))):
        line, said = odd[0] + 2, column.iloc[odd[0]]  # the header is line 1
        raise BadTrace(f"{path}, line {line}: {column.name} is {said!r}, and must be a number of seconds")
    return numbers
