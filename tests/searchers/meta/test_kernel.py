"""The kernel against its formula, number by number; its fit against another optimiser of the same density."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from searchers.meta.joint_grid import GridAxis
from searchers.meta.kernel import Scales, covariance, fit, generic, scaled, variance

torch.set_num_threads(1)

BATCH = GridAxis("batch", np.array([[-1.2], [-0.2], [0.3], [1.1]]), False)
CARD = GridAxis("card", np.array([[0.5, -1.0], [-1.5, 0.2], [1.0, 0.8]]), True)
ENGINE = GridAxis("engine", np.zeros((2, 0)), True)
AXES = (BATCH, CARD, ENGINE)
SCALES = Scales(1.3, 0.7, 0.2, 0.25, np.array([0.9, 0.4, 0.6]), np.array([0.8, 1.7, 1.0]))
RANKS = np.array([[b, c, e] for b in range(4) for c in range(3) for e in range(2)])


def alike(axis: GridAxis, one: int, other: int, length: float, told: float) -> float:
    """k_j of two ranks; -1 is a knob that is absent."""
    if one == -1 or other == -1:
        return 1.0 if one == other else 0.5
    r = math.sqrt(5) * math.dist(axis.features[one], axis.features[other]) / length
    matern = (1 + r + r * r / 3) * math.exp(-r)
    return told * matern + (1 - told) * (one == other) if axis.categorical else matern


def by_hand(one, other, scales: Scales, axes=AXES) -> float:
    each = [alike(a, i, j, s, scales.alike) for a, i, j, s in zip(axes, one, other, scales.lengths, strict=True)]
    additive = sum(m**2 * k for m, k in zip(scales.main, each, strict=True))
    return scales.level**2 + additive + scales.joint**2 * math.prod(each)


def test_covariance_is_the_formula_also_where_a_knob_is_absent():
    ranks = np.vstack([RANKS[::5], [[-1, 0, 1], [2, -1, -1]]])
    found = covariance(AXES, ranks, RANKS[::3], SCALES)
    expected = [[by_hand(one, other, SCALES) for other in RANKS[::3]] for one in ranks]
    # A millionth: distances are kept off zero by 1e-6, so that they have a gradient there.
    assert found == pytest.approx(np.array(expected), abs=2e-6)


def test_variance_adds_each_configurations_own_quirk_to_itself_alone():
    found = variance(AXES, RANKS, SCALES)
    apart = found - covariance(AXES, RANKS, RANKS, SCALES)
    assert apart == pytest.approx(0.2**2 * np.eye(len(RANKS)))
    assert np.linalg.eigvalsh(found).min() > 0.039


def test_what_is_nearer_is_more_alike_and_a_longer_length_makes_all_more_alike():
    one = np.array([[0, 0, 0]])
    along = covariance(AXES, one, np.array([[b, 0, 0] for b in range(4)]), SCALES)[0]
    assert (np.diff(along) < 0).all()
    longer = covariance(AXES, one, np.array([[b, 0, 0] for b in range(4)]), replace(SCALES, lengths=3 * SCALES.lengths))
    assert (longer[0, 1:] > along[1:]).all()


def test_the_generic_kernel_has_one_scale_for_all_knobs():
    scales = generic(AXES)
    assert scales.main.tolist() == [0.8] * 3 and scales.lengths.tolist() == [1.5] * 3
    assert (scales.level, scales.joint, scales.own, scales.alike) == (6.0, 0.7, 0.05, 0.5)


def test_another_unit_scales_deviations_and_neither_lengths_nor_likeness():
    twice = variance(AXES, RANKS, scaled(SCALES, 2.0))
    assert twice == pytest.approx(4 * variance(AXES, RANKS, SCALES), abs=1e-5)


def packed(s: Scales) -> np.ndarray:
    """Logarithms of all parameters; of likeness its odds."""
    return np.log([s.level, s.joint, s.own, s.alike / (1 - s.alike), *s.main, *s.lengths])


def unpacked(theta: np.ndarray) -> Scales:
    level, joint, own, odds = np.exp(theta[:4])
    return Scales(level, joint, own, odds / (1 + odds), *np.exp(theta[4:]).reshape(2, -1))


def loss(theta: np.ndarray, axes, ranks: np.ndarray, drawn: np.ndarray, start: Scales) -> float:
    """Minus log posterior, but for a constant, of tasks that all measured the same rows."""
    gram = variance(axes, ranks, unpacked(theta)) + 1e-6 * np.eye(len(ranks))
    density = multivariate_normal.logpdf(drawn, np.zeros(len(ranks)), gram).sum()
    return 0.5 * float(np.sum((theta - packed(start)) ** 2)) - density


def test_the_fit_is_as_probable_as_another_optimiser_makes_it():
    axes, ranks = (BATCH, ENGINE), np.array([[b, e] for b in range(4) for e in range(2)])
    truth = Scales(0.5, 0.2, 0.1, 0.6, np.array([1.5, 0.3]), np.array([0.6, 1.0]))
    drawn = np.random.default_rng(3).multivariate_normal(np.zeros(8), variance(axes, ranks, truth), 4)
    start = generic(axes)
    asked = (axes, ranks, drawn, start)
    fitted = packed(fit(axes, [(ranks, y) for y in drawn], start))
    found, at_start = loss(fitted, *asked), loss(packed(start), *asked)
    best = minimize(loss, fitted, asked, options={"maxiter": 10}).fun
    assert at_start - best > 4
    assert found - best < 0.03 * (at_start - best)  # Adam, 60 steps


def test_a_fit_to_nothing_is_where_it_began_and_empty_tasks_are_left_out():
    found = fit(AXES, [(RANKS[:0], np.empty(0))], SCALES)
    assert packed(found) == pytest.approx(packed(SCALES))
    assert packed(fit(AXES, [(RANKS[:4], np.ones(4))], SCALES, steps=0)) == pytest.approx(packed(SCALES))
