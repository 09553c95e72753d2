"""Curves by hand, against a dense solution of the least squares, and of services that measured different parts."""

import numpy as np
import pytest

from searchers.falcon import curves
from searchers.falcon.curves import Observed, cells_of

GRID = np.array([(i, j) for i in range(4) for j in range(3)])


def observed(*services: dict[int, float], groups: tuple[int, ...] = ()) -> Observed:
    """Row → value of each service; every service is its own group unless groups are given."""
    of = groups or tuple(range(len(services)))
    rows = np.array([row for service in services for row in service])
    task = np.repeat(np.arange(len(services)), [len(service) for service in services])
    group = np.array(of)[task]
    _, pair, times = np.unique(row_and_group(rows, group), return_inverse=True, return_counts=True)
    y = np.array([value for service in services for value in service.values()])
    return Observed(rows, y, task, group, 1 / times[pair])


def row_and_group(rows: np.ndarray, group: np.ndarray) -> np.ndarray:
    return rows * 100 + group


def test_two_services_and_one_knob_by_hand():
    """Deviations of a table from 0 count one observation of 0, and what is not agreed on is shrunk away."""
    found = curves.fit(np.array([[0], [1]]), observed({0: -1.0, 1: 1.0}, {0: -3.0, 1: 3.0}))
    # The curve is 2 · 2 / 3, its rest (2 - 4/3) · 2 / 3 = 4/9. Deviations from their sum, -7/9 and 11/9, go half to the
    # curve and half to the rest: -7/18 and 11/18, a variance of 1/2, so that the mean's error has a variance of 1/4.
    curve, rest = (4 / 3) ** 2, (4 / 9) ** 2
    assert rest < 1 / 4
    assert found.surface == pytest.approx(np.array([-1, 1]) * (4 / 3) * (curve - 1 / 4) / curve)
    assert found.spreads is not None and found.level == pytest.approx(0)
    # A new service differs by this variance, and by that of the mean of two.
    assert found.spreads.main == pytest.approx([np.sqrt(1 / 2 * 3 / 2)])
    assert found.spreads.rest == pytest.approx(np.sqrt(1 / 2 * 3 / 2))
    assert found.spreads.pairs == 0 and found.spreads.level == pytest.approx(0)


def test_curves_are_the_least_squares_of_a_dense_solution():
    rng = np.random.default_rng(3)
    services = [dict(zip(rng.permutation(12)[:9].tolist(), rng.normal(size=9).tolist(), strict=True)) for _ in range(3)]
    data = observed(*services, groups=(0, 0, 1))
    terms = cells_of(GRID)
    fitted = curves._fitted(terms, data)
    # Columns: the levels of 3 services, 4 and 3 values; each value also has a row in which it is 0.
    design = np.zeros((len(data.y), 3 + 4 + 3))
    design[np.arange(len(data.y)), data.task] = 1
    design[np.arange(len(data.y)), 3 + GRID[data.rows, 0]] = 1
    design[np.arange(len(data.y)), 7 + GRID[data.rows, 1]] = 1
    root = np.sqrt(data.weight)
    ridge = np.hstack([np.zeros((7, 3)), np.eye(7)])
    dense = np.linalg.lstsq(
        np.vstack([design * root[:, None], ridge]), np.concatenate([data.y * root, np.zeros(7)]), rcond=None
    )[0]
    assert np.concatenate([fitted.tables[0][:4], fitted.tables[1][:3]]) == pytest.approx(dense[3:], abs=2e-3)


def test_services_that_measured_different_parts_are_averaged_as_if_each_had_measured_all():
    """The fast service has only the values 2 and 3, the slow one 0, 1 and 2: their plain means would rank 3 last."""
    rise = {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0}
    fast = {row: 10 + rise[i] for row, (i, _) in enumerate(GRID) if i >= 2}
    slow = {row: rise[i] for row, (i, _) in enumerate(GRID) if i <= 2}
    found = curves.fit(GRID, observed(fast, slow))
    by_value = found.surface.reshape(4, 3)
    assert (np.diff(by_value.mean(axis=1)) > 0.5).all() and np.ptp(by_value, axis=1).max() < 0.05


def test_what_all_services_agree_on_is_kept_whole_and_they_differ_in_nothing():
    truth = 0.7 * GRID[:, 0] + np.array([0.0, 1.0, -1.0])[GRID[:, 1]] + (GRID[:, 0] == GRID[:, 1])
    services = [dict(enumerate((level + truth).tolist())) for level in (0.0, 2.0, 7.0, 9.0)]
    found = curves.fit(GRID, observed(*services))
    assert found.surface - found.surface.mean() == pytest.approx(truth - truth.mean(), abs=0.1)
    assert found.spreads is not None
    assert found.spreads.main.max() < 0.03 and found.spreads.pairs < 0.03 and found.spreads.rest < 0.03
    assert found.level == pytest.approx(4.5 + truth.mean(), abs=0.1)
    assert found.spreads.level == pytest.approx(np.std([0, 2, 7, 9], ddof=1) * np.sqrt(5 / 4), rel=1e-3)


def test_what_differs_from_service_to_service_is_shrunk_to_nothing():
    services = [dict(enumerate((s * GRID[:, 0]).tolist())) for s in (-1.0, 1.0, -1.0, 1.0)]
    found = curves.fit(GRID, observed(*services))
    assert found.surface == pytest.approx(np.zeros(12), abs=1e-6)
    assert found.spreads is not None
    # Of slopes 1 and -1 the curve of 4 values has a root mean square of √1.25; almost none of it is the other knob's.
    assert found.spreads.main[0] == pytest.approx(np.sqrt(1.25 * 4 / 3 * 5 / 4), rel=0.3)
    assert found.spreads.main[1] < 1e-6


def test_services_of_one_group_count_as_one():
    up, down = (dict(enumerate((s * GRID[:, 0]).astype(float).tolist())) for s in (1, -1))
    equal = curves.fit(GRID, observed(up, down))
    many = curves.fit(GRID, observed(up, up, up, down, groups=(0, 0, 0, 1)))
    assert many.surface == pytest.approx(equal.surface, abs=1e-6)
    assert many.spreads is not None and equal.spreads is not None
    assert many.spreads.main == pytest.approx(equal.spreads.main, rel=1e-6)


def test_one_group_alone_cannot_say_how_much_services_differ():
    found = curves.fit(GRID, observed({0: 1.0, 3: 2.0, 6: 3.0}, {0: 2.0, 3: 3.0}, groups=(5, 5)))
    assert found.spreads is None and found.surface[6] > found.surface[3] > found.surface[0]


def test_a_knob_that_is_missing_has_a_cell_of_its_own():
    ranks = np.array([[-1, 0], [0, 0], [1, 0]])
    cells = cells_of(ranks)
    assert cells[0].tolist() == [2, 0, 1] and len(set(cells[2].tolist())) == 3 and cells[3].tolist() == [0, 1, 2]
