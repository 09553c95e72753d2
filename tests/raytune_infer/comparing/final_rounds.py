"""Measurements of a comparison at the end, written as the figures that they gave."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from scipy import stats

from raytune_infer.store.records import Outcome, TrialRecord
from searchers.objective import Expression, Objective
from serve_deployments.metrics.answers.agreement import AnswerAgreement

GOAL = Objective(Expression("rps"), at_most={"p99_ms": 100})
OK, BROKEN = 50.0, 150.0


def finals(
    *rounds: Sequence[tuple[int, float | None] | tuple[int, float, float]],
    prices: Mapping[int, float] | None = None,
    objective: Objective = GOAL,
    first: int = 1,
    same: Mapping[int, Sequence[float]] | None = None,
) -> list[TrialRecord]:
    """Measurements from (position, requests/s, p99) in the order in which they were made; None: could not run.

    Args:
        rounds: what was measured.
        prices: position → US dollars per hour; 1 where it is not named.
        objective: what the values are of.
        first: number of the first measurement.
        same: position → its share of same answers in each of its measurements.
    """
    shares = {position: iter(each) for position, each in (same or {}).items()}
    trials = []
    for number, (position, rps, *p99) in enumerate((cell for r in rounds for cell in r), start=first):
        metrics = None if rps is None else {"rps": rps, "p99_ms": p99[0] if p99 else OK}
        if metrics is not None and position in shares:
            metrics["answers_same"] = next(shares[position])
        price = (prices or {}).get(position, 1.0)
        outcome = Outcome(metrics, reason="Died: it did" if rps is None else None)
        value = objective.value(metrics, price)
        trials.append(TrialRecord(number, "final", position, {"n": position}, price, value, outcome, 1.0, False))
    return trials


def answering_otherwise(trials: Sequence[TrialRecord], *positions: int) -> list[TrialRecord]:
    """The same measurements, where these configurations answer a quarter of the samples as the default does."""
    found = AnswerAgreement(4, {"answers_same": 0.25}, {"answers_same": 1.0}, True, "sample 1: off")
    return [replace(t, outcome=replace(t.outcome, answers=found)) if t.position in positions else t for t in trials]


def positions(contestants) -> list[int]:
    return [c.position for c in contestants]


def halves(k: int, rounds: int) -> tuple[float, float]:
    """Half of the interval of a ratio and of a mean, in logarithms, of figures that repeat exactly.

    0.05 for their noise, worth one degree of freedom, is what is known beforehand.
    """
    freedom = (k - 1) * (rounds - 1) + 1
    sigma = 0.05 / math.sqrt(freedom)
    ratio = stats.t.ppf(1 - 0.05 / (2 * (k - 1)), freedom) * sigma * math.sqrt(2 / rounds)
    # A mean is known from its rounds alone, however many configurations were measured in each.
    of_rounds = rounds - 1 + 1
    return ratio, stats.t.ppf(0.975, of_rounds) * 0.05 / math.sqrt(of_rounds * rounds)
