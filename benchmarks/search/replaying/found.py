"""What searches had found after each trial, with statistics for tables; shared by the benchmarks of searchers.

Notation:
    s       searches: one for each task, objective and seed
    f_k     as in `searchers.replay`: best value of the first k trials as a fraction of the table's best
    goal    a fraction of the best; trials to it are the first k with f_k >= goal
    regret  simple regret after k trials: 1 - f_k, mean over the searches
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from searchers.replay import mean_after, trials_over, trials_until

NOT_FOUND = "–"
KEYS = ("suite", "objective", "group", "task", "seed")
"""Columns that identify a search, the same for every searcher; in this order they are its label."""
GOALS = (0.95, 0.99)
"""Fractions of the best that tables count trials to. Our choice."""
REGRETS = (5, 10, 20)
"""Numbers of trials after which tables show the simple regret. Our choice."""
DRAWS = 1000
"""Resamples of the bootstrap. Our choice: an interval's ends then vary by a few hundredths."""


@dataclass(frozen=True, eq=False)
class Found:
    """The results of one searcher's searches.

    Args:
        labels: for each search its `KEYS`.
        fractions: `[s, budget]` f_1 … f_budget.

    Raises:
        ValueError: the numbers of labels and fractions differ.
    """

    labels: tuple[tuple[Hashable, ...], ...]
    fractions: np.ndarray

    def __post_init__(self) -> None:
        if self.fractions.ndim != 2 or len(self.labels) != len(self.fractions):
            raise ValueError(
                f"needs one label per search, got {len(self.labels)} for fractions of shape {self.fractions.shape}"
            )

    @property
    def budget(self) -> int:
        """Most trials of a search."""
        return self.fractions.shape[1]

    @property
    def seeds(self) -> int:
        """Number of different seeds."""
        return len({label[KEYS.index("seed")] for label in self.labels})

    def trials(self, goal: float) -> np.ndarray:
        """`[s]` trials to the goal; the budget where it was not reached, which favours searchers that fail."""
        counts = [trials_until(one, goal) for one in self.fractions]
        return np.array([float(self.budget if count is None else count) for count in counts])

    def cells(self, goal: float) -> list[str]:
        """Cells of a table: median / p90 / worst trials to the goal, searches that did not reach it, mean trials."""
        over = trials_over(list(self.fractions), goal)
        numbers = (NOT_FOUND if n is None else str(n) for n in (over.median, over.p90, over.worst))
        return [" / ".join(numbers), str(over.not_found), f"{self.trials(goal).mean():.2f}"]

    def means(self, goal: float) -> dict[tuple[Hashable, ...], float]:
        """Mean trials to the goal over the seeds of each task and objective, by the label without its seed."""
        trials: dict[tuple[Hashable, ...], list[float]] = {}
        for label, count in zip(self.labels, self.trials(goal), strict=True):
            trials.setdefault(label[:-1], []).append(float(count))
        return {label: float(np.mean(counts)) for label, counts in trials.items()}

    def regret(self, trials: int) -> str:
        """The mean simple regret after so many trials, as a cell of a table."""
        mean = mean_after(list(self.fractions), trials)
        return NOT_FOUND if mean is None else f"{1 - mean:.3f}"


@dataclass(frozen=True)
class Ratio:
    """Trials as a multiple of those of a reference, with the ends of the 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f}–{self.high:.2f})"


def ratio(found: Found, reference: Found, goal: float) -> Ratio | None:
    """Mean trials to the goal as a multiple of the reference's, over the tasks and objectives that both searched.

    Each has the mean over its seeds first, as one of the two may need fewer seeds. The interval is a bootstrap over
    groups: tasks of one group are one model, so searches on them, under any workload, objective or seed, are not
    independent. With few groups it is narrower than it should be. None if they have no search in common.
    """
    ours, theirs = found.means(goal), reference.means(goal)
    common = [label for label in ours if label in theirs]
    if not common:
        return None
    pairs = np.array([[each[label] for label in common] for each in (ours, theirs)])
    groups = {group: i for i, group in enumerate(dict.fromkeys(map(_group, common)))}
    which = np.array([groups[_group(label)] for label in common])
    sums = np.stack([np.bincount(which, one, len(groups)) for one in pairs])
    drawn = np.random.default_rng(0).integers(len(groups), size=(DRAWS, len(groups)))
    totals = sums[:, drawn].sum(axis=2)
    low, high = np.quantile(totals[0] / totals[1], (0.025, 0.975))
    return Ratio(float(pairs[0].sum() / pairs[1].sum()), float(low), float(high))


def _group(label: tuple[Hashable, ...]) -> tuple[Hashable, ...]:
    return label[KEYS.index("suite")], label[KEYS.index("group")]


def found_by(rows: pd.DataFrame, by: str = "searcher", budget: int | None = None) -> dict[str, Found]:
    """Groups the trials in a table by searcher, or by another column.

    Args:
        rows: one row per trial, with columns `by`, `KEYS`, trial (from 1) and fraction.
        by: the column that distinguishes searches whose other labels are the same.
        budget: most trials of a search; by default those of the longest one. A search that ended earlier had nothing
            left to try and keeps what it had found.

    Raises:
        ValueError: the trials of a search do not count from 1.
    """
    most = int(budget or rows["trial"].max())
    out: dict[str, Found] = {}
    for name, mine in rows.groupby(by, sort=False):
        labels, curves = [], []
        for label, one in mine.groupby(list(KEYS), sort=False):
            if list(one["trial"]) != list(range(1, len(one) + 1)):
                raise ValueError(f"{name}: the trials of {label} are not numbered 1, 2, 3 …, each once")
            curve = one["fraction"].to_numpy()[:most]
            labels.append(label)
            curves.append(np.append(curve, np.full(most - len(curve), curve[-1])))
        out[str(name)] = Found(tuple(labels), np.array(curves))
    return out


def by_suite(rows: pd.DataFrame, table: Callable[[pd.DataFrame], str]) -> Iterator[str]:
    """For each suite its name as a heading, then the text that `table` makes of its rows."""
    for suite, mine in rows.groupby("suite", sort=False):
        yield from (f"### {suite}", table(mine))
