"""Resource curves: how each knob, and each pair of knobs, moves a quantity's logarithm, from earlier services.

    y_t(x) = l_t + F(x) + d_t(x)                                     of service t
    F(x)   = Σ_j f_j(x_j) + Σ_{j<k} f_jk(x_j, x_k) + r(x)            what services have in common

f_j is a curve, f_jk what a pair of knobs does beyond its two curves, r what all knobs together do beyond those. All are
tables with a cell for each value, pair of values, or configuration. They are fitted in this order, each to what is
left, by least squares in which each cell also counts one observation of 0 (ridge), with the levels l_t: so services
that measured different parts of a space can be averaged (backfitting; Hastie, Tibshirani 1990, section 4.4). A group of
services, which is one model, weighs as one service.

The deviations d_t are parted in the same way for each group. The root mean square of its tables over the groups is how
much a new service may differ, `Spreads`. A table of F that is no larger than chance would make it of such deviations
is shrunk (James, Stein 1961): with s² its variance over the G groups, by τ² / (τ² + s²/G), τ² = max(0, mean f² - s²/G).

Notation: m observations of all services, a knobs, v values of a knob, g rows of the joint grid, G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

PASSES = 50
"""Most passes of backfitting over the tables of one order. Our choice: a complete grid needs two."""
_STILL = 1e-4
"""Change of a table, in e-folds, at which backfitting has converged. Our choice: far below the noise of any trial."""


@dataclass(frozen=True)
class Observed:
    """Observations of all services of one quantity.

    Args:
        rows: `[m]` row of the joint grid.
        y: `[m]` measured logarithm.
        task: `[m]` index of the service.
        group: `[m]` index of its group.
        weight: `[m]` weight; those of the observations of one configuration by one group add up to 1.
    """

    rows: np.ndarray
    y: np.ndarray
    task: np.ndarray
    group: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class Spreads:
    """How much services differ, as standard deviations of a new service's tables.

    Args:
        level: of its level.
        main: `[a]` of each knob's curve.
        pairs: of what all pairs of knobs do beyond their curves, together.
        rest: of what is left at each configuration.
    """

    level: float
    main: np.ndarray
    pairs: float
    rest: float


@dataclass(frozen=True)
class Curves:
    """What services have in common, and how much they differ.

    Args:
        level: mean of the groups' levels.
        surface: `[g]` F at each row of the joint grid.
        spreads: how much a new service may differ; None where there is only one group, which cannot say.
    """

    level: float
    surface: np.ndarray
    spreads: Spreads | None


def fit(ranks: np.ndarray, observed: Observed) -> Curves:
    """Fit the curves of one quantity.

    Args:
        ranks: `[g, a]` ranks of the joint grid's rows; a missing knob has rank -1, which is a value of its own here.
        observed: one or more observations.
    """
    terms = cells_of(ranks)
    fitted = _fitted(terms, observed)
    groups = len(np.unique(observed.group))
    level = _group_means(fitted.levels, observed)
    if groups < 2:
        return Curves(float(level.mean()), sum(t[c] for t, c in zip(fitted.tables, terms, strict=True)), None)
    spreads = _table_spreads(terms, observed, fitted.left)
    surface = sum(
        _shrunk(table, spread**2 / groups)[cells]
        for table, cells, spread in zip(fitted.tables, terms, spreads, strict=True)
    )
    # A new service differs from the mean of G as it would from the true mean, and by that mean's own error.
    wider = np.sqrt((groups + 1) / groups)
    a = ranks.shape[1]
    pairs = float(np.sqrt(np.square(spreads[a:-1]).sum()))
    own = Spreads(
        float(level.std(ddof=1) * wider), wider * spreads[:a], float(wider * pairs), float(wider * spreads[-1])
    )
    return Curves(float(level.mean()), surface, own)


def cells_of(ranks: np.ndarray) -> list[np.ndarray]:
    """For each table, `[g]` the cell of every row: a knobs, their pairs in order, all knobs together."""
    sizes = ranks.max(axis=0) + 2
    own = np.where(ranks < 0, sizes - 1, ranks)
    pairs = [own[:, j] * sizes[k] + own[:, k] for j, k in combinations(range(ranks.shape[1]), 2)]
    return [*own.T, *pairs, np.arange(len(ranks))]


@dataclass(frozen=True)
class _Fitted:
    """Levels `[tasks]`, a table for each of the terms, and `[m]` what is left of the observations."""

    levels: np.ndarray
    tables: list[np.ndarray]
    left: np.ndarray


def _fitted(terms: Sequence[np.ndarray], observed: Observed) -> _Fitted:
    """Backfitting, order by order: curves with levels, then pairs, then what is left at each configuration."""
    w, a = observed.weight, _knobs(len(terms))
    at = [cells[observed.rows] for cells in terms]
    weights = [np.bincount(own, w, cells.max() + 1) for own, cells in zip(at, terms, strict=True)]
    tables = [np.zeros(len(weight)) for weight in weights]
    task_weight = np.maximum(np.bincount(observed.task, w), 1e-12)
    levels = np.bincount(observed.task, w * observed.y) / task_weight
    left = observed.y - levels[observed.task]
    for order in (range(a), range(a, len(terms) - 1), range(len(terms) - 1, len(terms))):
        for _ in range(PASSES):
            moved = 0.0
            for i in order:
                step = (np.bincount(at[i], w * left, len(weights[i])) - tables[i]) / (weights[i] + 1)
                left = left - step[at[i]]
                tables[i] += step
                # A constant in a table is a part of the levels. This is so at the optimum; on the way it is faster.
                seen = weights[i] > 0
                constant = float(tables[i][seen].mean())
                tables[i][seen] -= constant
                levels = levels + constant
                moved = max(moved, float(np.abs(step).max()))
            shift = np.bincount(observed.task, w * left) / task_weight
            levels = levels + shift
            left = left - shift[observed.task]
            if max(moved, float(np.abs(shift).max())) < _STILL:
                break
    return _Fitted(levels, tables, left)


def _knobs(terms: int) -> int:
    """The number of knobs a of which there are a + a(a-1)/2 + 1 tables."""
    return next(a for a in range(terms) if a + a * (a - 1) // 2 + 1 == terms)


def _table_spreads(terms: Sequence[np.ndarray], observed: Observed, left: np.ndarray) -> np.ndarray:
    """`[tables]` standard deviation over groups of each table's cells, where two or more groups have a cell."""
    groups = np.unique(observed.group)
    deviations = []
    for group in groups:
        mine = observed.group == group
        task = np.unique(observed.task[mine], return_inverse=True)[1]
        own = Observed(observed.rows[mine], left[mine], task, observed.group[mine], observed.weight[mine])
        fitted = _fitted(terms, own)
        # What is not even explained at a configuration, as tables are ridged, belongs to the last table.
        last = np.bincount(own.rows, own.weight * fitted.left, len(fitted.tables[-1]))
        fitted.tables[-1][:] += last / np.maximum(np.bincount(own.rows, own.weight, len(last)), 1e-12)
        seen = [
            np.bincount(cells[own.rows], minlength=len(t)) > 0 for cells, t in zip(terms, fitted.tables, strict=True)
        ]
        deviations.append([np.where(has, t, np.nan) for has, t in zip(seen, fitted.tables, strict=True)])
    return np.array([_deviation(np.stack(of_groups)) for of_groups in zip(*deviations, strict=True)])


def _deviation(tables: np.ndarray) -> float:
    """Root mean square over cells of the standard deviation over groups, from `[G, cells]`; 0 where no cell has two."""
    known = (~np.isnan(tables)).sum(axis=0)
    shared = tables[:, known > 1]
    if not shared.size:
        return 0.0
    apart = shared - np.nanmean(shared, axis=0)
    return float(np.sqrt(np.nansum(apart**2) / (known[known > 1] - 1).sum()))


def _shrunk(table: np.ndarray, error: float) -> np.ndarray:
    """A table shrunk towards 0, by how much of its mean square is more than `error`, the variance of a cell's error."""
    known = table[table != 0]
    size = float(np.mean(known**2)) if len(known) else 0.0
    return table * (max(0.0, size - error) / size if size > 0 else 0.0)


def _group_means(levels: np.ndarray, observed: Observed) -> np.ndarray:
    """`[G]` mean level of each group's services."""
    task, first = np.unique(observed.task, return_index=True)
    of = np.unique(observed.group[first], return_inverse=True)[1]
    return np.asarray(np.bincount(of, levels[task]) / np.bincount(of))
