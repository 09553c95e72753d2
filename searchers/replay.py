"""Replay of a search on a table of every configuration's metrics: it takes seconds and needs no cluster.

Notation:
    f_k     best value of the first k trials, as a fraction of the table's best; 0 while none is feasible
"""

from __future__ import annotations

import math
import time
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from searchers.base import History, Observation, Problem, Searcher
from searchers.objective import Metrics


@dataclass(frozen=True)
class MeasuredTable:
    """A problem with the measured metrics of every configuration.

    Args:
        problem: the search problem.
        metrics: for each position the metrics that a trial reports; None where the configuration cannot run.
        name: what tells it from other tables; a search draws other random numbers on a table of another name.

    Raises:
        ValueError: the metrics do not match the space.
    """

    problem: Problem
    metrics: tuple[Metrics | None, ...]
    name: str = ""

    def __post_init__(self) -> None:
        if len(self.metrics) != len(self.problem.space):
            raise ValueError(
                f"`metrics` needs one entry for each of the {len(self.problem.space)} configurations; it has "
                f"{len(self.metrics)}"
            )

    def value(self, position: int) -> float | None:
        """Value of one configuration; None if it is infeasible."""
        return self.problem.value(Observation(position, self.metrics[position]))

    def values(self) -> np.ndarray:
        """`[n]` value of each configuration; 0 where it is infeasible."""
        return np.array([self.value(position) or 0.0 for position in range(len(self.metrics))])


@dataclass(frozen=True)
class Step:
    """One trial of a replayed search.

    Args:
        position: the configuration that was tried.
        value: its value; None if it is infeasible.
        best: the largest value so far, this one included; None while none is feasible.
        suggest_s: seconds that the searcher took to suggest it.
    """

    position: int
    value: float | None
    best: float | None
    suggest_s: float

    @property
    def feasible(self) -> bool:
        """Whether the configuration ran and kept the limits."""
        return self.value is not None


def random_numbers(name: str, seed: int, suggested: int) -> np.random.Generator:
    """Random numbers of a search's suggestion: `default_rng([seed, CRC-32 of the name, suggested])`.

    Without the name, all searches of a seed would start at the same random configurations, and how lucky these are
    would not average out over tables. A checksum, as Python's own `hash` of a text differs from process to process.

    Args:
        name: the table's; a table without a name gets `default_rng([seed, suggested])`, as a study does.
        seed: the search's, 0 or more.
        suggested: number of suggestions before this one.
    """
    return np.random.default_rng([seed, *([zlib.crc32(name.encode())] if name else []), suggested])


def replay(table: MeasuredTable, searcher: Searcher, *, budget: int, seed: int, parallel: int = 1) -> Iterator[Step]:
    """Run one search and yield its trials in order of completion; it stops when the caller stops iterating.

    All trials take equally long, so the oldest running trial completes first. The random numbers of each suggestion
    follow from the table's name, the seed and the number of suggestions before it (`random_numbers`).

    Args:
        table: the problem, and the metrics that each trial reports.
        searcher: a searcher that was made for `table.problem`.
        budget: largest number of trials; there are fewer if the searcher has none left to suggest.
        seed: seed of all random choices.
        parallel: number of trials that run at a time, all of them suggested before the oldest completes.

    Raises:
        ValueError: `budget` or `parallel` is below 1, or the searcher suggests a position that is taken or not in
            the table.
    """
    if budget < 1 or parallel < 1:
        raise ValueError(f"budget and parallel must be at least 1; got {budget} and {parallel}")
    history, best = History(), None
    running: deque[tuple[int, float]] = deque()
    begun, ended = 0, False
    while True:
        while len(running) < parallel and begun < budget and not ended:
            start = time.perf_counter()
            position = searcher.suggest(history, random_numbers(table.name, seed, begun))
            spent_s = time.perf_counter() - start
            if position is None:
                ended = True
                break
            if position in history.taken or not 0 <= position < len(table.metrics):
                raise ValueError(
                    f"suggestion {begun} is position {position}, which is taken or not one of {len(table.metrics)}"
                )
            history = history.await_(position)
            running.append((position, spent_s))
            begun += 1
        if not running:
            return
        position, spent_s = running.popleft()
        history = history.observe(position, table.metrics[position])
        value = table.value(position)
        if value is not None and (best is None or value > best):
            best = value
        yield Step(position, value, best, spent_s)


def fractions(steps: Iterable[Step], best: float, budget: int) -> np.ndarray:
    """`[budget]` f_1 … f_budget; after the end of a shorter search, its last f_k is repeated.

    Args:
        steps: the trials of one search.
        best: the table's best value, above 0.
        budget: number of trials that the search was given.
    """
    found = [(step.best or 0.0) / best for step in steps][:budget]
    return np.array(found + [found[-1] if found else 0.0] * (budget - len(found)))


def trials_until(found: np.ndarray, goal: float) -> int | None:
    """The first k with f_k ≥ goal, counted from 1; None if there is none."""
    reached = np.flatnonzero(found >= goal)
    return int(reached[0]) + 1 if len(reached) else None


@dataclass(frozen=True)
class Trials:
    """Numbers of trials that many searches needed to reach a goal; "not found" ranks above every number.

    A quantile that falls between two searches is the higher of their two numbers: the middle between a number and
    "not found" would not be a number of trials.

    Args:
        median: median over all searches; None stands for "not found" here and below.
        p90: 90th percentile: nine of ten searches need no more.
        worst: the largest number.
        not_found: how many searches did not reach the goal.
    """

    median: int | None
    p90: int | None
    worst: int | None
    not_found: int


def trials_over(found: Sequence[np.ndarray], goal: float) -> Trials:
    """Numbers of trials until f_k ≥ goal, over one or more searches given by their f_1 … f_budget."""
    counts = [trials_until(one, goal) for one in found]
    numbers = np.array([math.inf if count is None else count for count in counts])
    median, p90, worst = (np.quantile(numbers, q, method="higher") for q in (0.5, 0.9, 1.0))
    return Trials(_finite(median), _finite(p90), _finite(worst), counts.count(None))


def mean_after(found: Sequence[np.ndarray], trials: int) -> float | None:
    """Mean over the searches of f_k at k = `trials`; None if the budget of any of them was smaller."""
    return float(np.mean([one[trials - 1] for one in found])) if all(len(one) >= trials for one in found) else None


def _finite(number: float) -> int | None:
    return int(number) if math.isfinite(number) else None
