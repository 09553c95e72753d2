"""The arrival pattern of requests: the key `load: arrivals`, and the recorded trace that it may name."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from raytune_infer.errors import SpecError
from raytune_infer.spec.document import shown
from raytune_infer.spec.paths import beside, refuse_special
from raytune_infer.spec.service_spec import ServiceSpec
from serve_deployments.load.arrivals import CONSTANT, POISSON, Arrivals, Renewal, Trace


def read_arrivals(spec: ServiceSpec, recorded_s: Sequence[float] = ()) -> Arrivals:
    """Return the arrival pattern of a service's load; a trace is read from its file.

    Args:
        spec: the service.
        recorded_s: when the requests came, where their file says so.

    Raises:
        SpecError: there is no such pattern.
    """
    asked = spec.load.arrivals
    if asked == "recorded":
        try:
            return Trace(tuple(recorded_s))
        except ValueError as error:
            raise SpecError(f"{spec.place('load', 'arrivals')}: the file under `requests`: {error}") from None
    if isinstance(asked, str):
        return {"poisson": POISSON, "constant": CONSTANT}[asked]
    if asked.gamma is not None:
        return Renewal(asked.gamma.cv)
    assert asked.trace is not None, "one of the two, checked when read"
    try:
        return read_trace(beside(spec.folder, asked.trace))
    except ValueError as error:
        raise SpecError(f"{spec.place('load', 'arrivals', 'trace')}: cannot replay {asked.trace}: {error}") from None


def read_trace(path: Path) -> Trace:
    """Read a trace from a file with one time per line, all in seconds or all in ISO 8601.

    The first line may be a title. Times without a zone are taken as UTC, so that daylight saving does not put them
    out of order.

    Raises:
        ValueError: the file cannot be read, a line is not a time, or the times do not form a trace.
    """
    try:
        refuse_special(path)
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text; save it as CSV in UTF-8") from None
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    rows = [(number, line.strip().strip('"')) for number, line in enumerate(lines, 1) if line.strip()]
    if rows and _seconds(rows[0][1]) is None and _moment(rows[0][1]) is None:
        del rows[0]
    read = _seconds if rows and _seconds(rows[0][1]) is not None else _moment
    times_s: list[float] = []
    for number, row in rows:
        if (time_s := read(row)) is None:
            kind = "a number of seconds" if read is _seconds else "an ISO 8601 time such as 2026-01-15T08:30:00.25"
            raise ValueError(
                f"line {number}: {shown(row)} is not {kind}; the file needs one column, with one time per line"
            )
        if times_s and time_s < times_s[-1]:
            raise ValueError(f"line {number}: {shown(row)} is earlier than the line above it; sort the times")
        times_s.append(time_s)
    return Trace(tuple(times_s))


def _seconds(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < 1e15 else None  # up to there a float resolves fractions of a second


def _moment(text: str) -> float | None:
    try:
        moment = dt.datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
    except (ValueError, OverflowError):  # not a time; or one before the year 1 in UTC
        return None
