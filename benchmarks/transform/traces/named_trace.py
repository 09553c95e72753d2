"""The trace that a command line names: Poisson, a file of 2021, or a day or a folder of days of 2019."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.transform.traces import azure_2019, azure_2021
from benchmarks.transform.traces.invocations import Arrival, BadTrace, Invocation, on_models, window
from benchmarks.transform.traces.poisson import PAPER_RATES_RPS, poisson

POISSON = "poisson"


@dataclass(frozen=True)
class Part:
    """The part of a trace that is replayed.

    Args:
        from_s: where it begins, in seconds from the trace's origin; 0 for Poisson arrivals.
        span_s: its length in seconds.
        with_durations: see `on_models`.
    """

    from_s: float
    span_s: float
    with_durations: bool = False


def arrivals_of(
    trace: str, models: Sequence[str], part: Part, seed: int, rates_rps: Sequence[float] = PAPER_RATES_RPS
) -> tuple[Arrival, ...]:
    """The requests for the models, in order.

    Args:
        trace: `poisson`, or a path.
        models: names of the models.
        part: what is replayed of it.
        seed: of every draw.
        rates_rps: rates of Poisson arrivals.

    Raises:
        BadTrace: the trace cannot be read, or has no calls or too few functions in this part.
    """
    if trace == POISSON:
        return poisson(models, rates_rps, part.span_s, seed)
    invocations = window(_read(Path(trace), seed), part.from_s, part.span_s)
    if not invocations:
        raise BadTrace(f"{trace} has no call from {part.from_s:g} s on for {part.span_s:g} s; choose another part")
    return on_models(invocations, models, seed=seed, with_durations=part.with_durations)


def _read(path: Path, seed: int) -> Sequence[Invocation]:
    if not path.exists():
        raise BadTrace(f"there is no {path}; name a file, a folder of days of 2019, or `{POISSON}`")
    if path.is_dir():
        days = azure_2019.days_in(path)
        if not days:
            raise BadTrace(f"{path} has no invocations_per_function_md.anon.dNN.csv; name a folder with such files")
        return [each for day in days for each in azure_2019.read_day(day, seed)]
    return azure_2019.read_day(path, seed) if azure_2019.is_day(path) else azure_2021.read(path)
