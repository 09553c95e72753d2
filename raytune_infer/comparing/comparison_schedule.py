"""Schedule of the final comparison: which configuration it measures next, given the trials so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import NamedTuple

from raytune_infer.comparing.comparison import Comparison, compared
from raytune_infer.comparing.rounds import Round, in_rounds
from raytune_infer.spec.service_spec import BudgetSpec
from raytune_infer.store.records import TrialRecord
from searchers.objective import Objective

WORTHWHILE = 0.05
"""Smallest gain worth searching for, as a fraction of the best value so far; what is less apart counts as equal."""

_COMPARE_PART = 0.5
"""Default budget of the comparison as a fraction of the search's duration. Our choice: sixteen trials leave time for
two rounds of three candidates and the default, eight trials for two rounds of the best and the default."""

CANDIDATES = 3
"""Largest number of the search's best configurations that take part. Our choice: the cheapest configuration that keeps
a limit is often right at it, and the best of many noisy values is seldom the true best; noise rarely moves the true
best beyond the third place."""

MIN_ROUNDS, MAX_ROUNDS = 2, 4
"""Smallest and largest number of rounds. One round gives no interval. Four rounds of three candidates and the default
give nine degrees of freedom, where the quantile of Student's t (2.26) is near its limit (1.96); more rounds narrow an
interval only by the square root of their number."""


class Turn(NamedTuple):
    """The next measurement.

    Args:
        position: position of the configuration.
        round: number of the round: 1, 2, …
    """

    position: int
    round: int


class Left(NamedTuple):
    """How far a comparison has come that is not over.

    Args:
        done: number of its measurements so far.
        least: the least number of all its measurements.
    """

    done: int
    least: int


@dataclass(frozen=True)
class ComparisonSchedule:
    """The rules of one study's comparison.

    Every round measures each configuration that is still in it once. Even rounds go through them in reverse:
    over two rounds each has the same mean time, so a linear drift cancels out within rounds as well as between them;
    and the last configuration of a round is the first of the next, on a replica that is already running.

    Args:
        ranking: positions that counted in the search, the best first.
        default: position of the configuration to beat; None if it does not fit on this cluster.
        objective: the objective whose figures are compared.
        budget_s: seconds for the comparison; after the second round, no round begins that would exceed them.
        trial_s: expected seconds of one measurement, before the first one.
        within: relative difference of a figure that does not matter.

    Raises:
        ValueError: `budget_s` or `trial_s` is negative.
    """

    ranking: Sequence[int]
    default: int | None
    objective: Objective
    budget_s: float
    trial_s: float
    within: float

    def __post_init__(self) -> None:
        if not (self.budget_s >= 0 and self.trial_s >= 0):
            raise ValueError(f"seconds of 0 or more are needed, got {self.budget_s}, {self.trial_s} each")

    @property
    def candidates(self) -> int:
        """Number of the search's best for which the budget allows two rounds beside the default; at least one."""
        round_s = self.budget_s / MIN_ROUNDS
        affordable = [n for n in range(1, CANDIDATES + 1) if (n + (self.default is not None)) * self.trial_s <= round_s]
        return max(affordable, default=1)

    def turn(self, trials: Sequence[TrialRecord]) -> Turn | None:
        """Return what to measure next; None when the comparison is over.

        Args:
            trials: finished trials of the study; those of its search are ignored.
        """
        rounds = in_rounds(trials)
        comparison = compared(trials, self.objective, self.default)
        field = self._field(comparison, _seconds(trials))
        now = len(rounds)
        if waiting := _waiting(field, rounds):
            return Turn(waiting[0], now)
        if not field or self._enough(comparison, field, trials):
            return None
        return Turn(_in_order(field, now + 1)[0], now + 1)

    def cut_off(self, trials: Sequence[TrialRecord]) -> tuple[TrialRecord, ...]:
        """Return the trials of a last round that lacks a configuration which is still in the comparison; else none.

        Where a run goes on after a pause, they are measured anew with the rest of their round: the machine may have
        another speed by now, and a round is of configurations that were measured side by side.

        Args:
            trials: finished trials of the study.
        """
        rounds = in_rounds(trials)
        field = self._field(compared(trials, self.objective, self.default), _seconds(trials))
        return tuple(rounds[-1].values()) if _waiting(field, rounds) else ()

    def left(self, trials: Sequence[TrialRecord]) -> Left | None:
        """Return how far the comparison has come; None when it is over.

        Args:
            trials: finished trials of the study.
        """
        turn = self.turn(trials)
        if turn is None:
            return None
        rounds = in_rounds(trials)
        field = self._field(compared(trials, self.objective, self.default), _seconds(trials))
        measured = rounds[-1] if len(rounds) == turn.round else {}
        missing = sum(p not in measured for p in field) + max(0, MIN_ROUNDS - turn.round) * len(field)
        done = sum(len(r) for r in rounds)
        return Left(done, done + missing)

    def searched(self, trials: Sequence[TrialRecord]) -> tuple[TrialRecord, ...]:
        """Return what the search has measured of the configurations in the comparison: one trial each, the last.

        None once there are as many whole rounds as the comparison needs at least: these then speak for themselves.

        Args:
            trials: finished trials of the study.
        """
        rounds = in_rounds(trials)
        field = self._field(compared(trials, self.objective, self.default), _seconds(trials))
        if len(rounds) - bool(_waiting(field, rounds)) >= MIN_ROUNDS:
            return ()
        begun = {p for r in rounds for p in r}
        found = {t.position: t for t in trials if t.purpose == "search" and t.outcome.metrics is not None}
        return tuple(t for p, t in found.items() if p in begun or p in field)

    def _field(self, comparison: Comparison, spent_s: float) -> list[int]:
        """Return the positions still in the comparison; the search's next best enters when all before it are out."""
        ranked = [p for p in self.ranking if p != self.default]
        out = {c.position for c in comparison.contestants if c.out}
        begun = [i for i, p in enumerate(ranked, start=1) if comparison.of(p) is not None]
        size = max([min(self.candidates, len(ranked)), *begun])
        while out.issuperset(ranked[:size]) and size < len(ranked) and (size < CANDIDATES or spent_s < self.budget_s):
            size += 1
        default = [] if self.default is None else [self.default]
        return [p for p in (*ranked[:size], *default) if p not in out]

    def _enough(self, comparison: Comparison, field: Sequence[int], trials: Sequence[TrialRecord]) -> bool:
        """Whether the round that has just been completed was the last."""
        runners = [c for p in field if (c := comparison.of(p)) is not None]
        if not runners or any(len(c.trials) < MIN_ROUNDS for c in runners):
            return False
        undecided = [c for c in runners if not c.counts]
        searched = [c for c in runners if c.position != self.default] or runners
        if not any(c.counts for c in searched):
            return False  # each kept its limits once and broke them once: another round decides, whatever the budget
        finals = [t for t in trials if t.purpose == "final"]
        next_s = len(field) * fmean(t.seconds for t in finals)
        if comparison.rounds >= MAX_ROUNDS or _seconds(trials) + next_s > self.budget_s:
            return True
        return not undecided and comparison.clear(self.within)


def schedule_of(
    trials: Sequence[TrialRecord],
    objective: Objective,
    default: int | None,
    budget: BudgetSpec,
    parallel: int,
    again: float = 1.0,
) -> ComparisonSchedule:
    """Return the comparison that follows a search.

    Args:
        trials: finished trials of the study.
        objective: the objective whose figures are compared.
        default: position of the configuration to beat; None if it does not fit on this cluster.
        budget: the budget of the study.
        parallel: number of trials at a time in the search.
        again: about how many times as long a measurement in a round takes as one in the search.
    """
    searched_s = sum(t.seconds for t in trials if t.purpose == "search") / parallel
    budget_s = budget.compare_s or _COMPARE_PART * again * searched_s
    trial_s = again * usual_seconds(trials)
    return ComparisonSchedule(ranking(trials), default, objective, budget_s, trial_s, WORTHWHILE)


def ranking(trials: Sequence[TrialRecord]) -> list[int]:
    """Return the positions that counted in the search, the best first."""
    counted = [t for t in trials if t.purpose == "search" and t.value is not None]
    return [t.position for t in sorted(counted, key=lambda t: -(t.value or 0.0))]


def usual_seconds(trials: Sequence[TrialRecord]) -> float:
    """Median duration in seconds of the search's trials that counted; 0 if there is none."""
    return median([t.seconds for t in trials if t.purpose == "search" and t.value is not None] or [0.0])


def _waiting(field: Sequence[int], rounds: Sequence[Round]) -> list[int]:
    """Return the positions that the last round still has to measure, in its order; empty before the first round."""
    return [p for p in _in_order(field, len(rounds)) if p not in rounds[-1]] if rounds else []


def _in_order(field: Sequence[int], number: int) -> list[int]:
    return list(field) if number % 2 else list(reversed(field))


def _seconds(trials: Sequence[TrialRecord]) -> float:
    return sum(t.seconds for t in trials if t.purpose == "final")
