"""The process against conditioning a joint normal distribution by brute force."""

from dataclasses import replace

import numpy as np
import pytest

from searchers.base import Problem
from searchers.falcon.expectation import Expectation, Expected, expected_of
from searchers.falcon.residual import Seen, contradicted, predict
from searchers.meta import kernel
from searchers.meta.gaussian import SCALE_WEIGHT
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space

SPACE = Space([Knob("batch", (1, 2, 4, 8)), Knob("engine", ("x", "y", "z"), "categorical")])
NONE = np.empty(0, dtype=int)
NOISE = 0.03


def expected(level_std: float) -> Expected:
    """Of a rate: some means, and a process that is twice as wide at the later configurations."""
    of = expected_of(Problem(SPACE, Objective(Expression("rps"))))
    mean, width = np.linspace(0, 1, 12), np.repeat([1.0, 2.0], 6)
    belief = Expectation("a test", mean, of.quantities["rps"].scales, width, level_std)
    return replace(of, quantities={"rps": belief})


def conditioned(of: Expected, level_std: float, at: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean, variance, and the quadratic form of the measurements, from the joint covariance of everything."""
    belief = of.quantities["rps"]
    joint = kernel.variance(of.axes, of.ranks, belief.scales) * np.outer(belief.width, belief.width)
    within = joint + level_std**2
    inverse = np.linalg.inv(within[np.ix_(at, at)] + NOISE**2 * np.eye(len(at)))
    pull = within[:, at] @ inverse
    error = y - belief.mean[at]
    alone = np.linalg.inv(joint[np.ix_(at, at)] + NOISE**2 * np.eye(len(at)))
    level = error @ alone.sum(axis=1) / (alone.sum() + level_std**-2)
    variance = np.diag(within) - np.einsum("nk,kn->n", pull, within[at])
    return belief.mean + pull @ error, variance, float((error - level) @ alone @ (error - level))


@pytest.mark.parametrize(("level_std", "told"), [(0.5, 0.5), (1e2, np.inf)])
def test_is_the_conditional_distribution_with_a_level_of_its_own(level_std, told):
    at, y = np.array([1, 5, 8]), np.array([3.0, 3.4, 2.2])
    mean, std = predict(expected(told), "rps", Seen(at, y, NONE, NOISE))
    wanted, variance, form = conditioned(expected(told), level_std, at, y)
    assert mean == pytest.approx(wanted, abs=1e-3)
    # At a measurement the posterior is of the quantity, not of another measurement; elsewhere too.
    assert std == pytest.approx(np.sqrt(variance * (SCALE_WEIGHT + form) / (SCALE_WEIGHT + 3)), rel=2e-3)


def test_before_the_first_trial_it_is_what_was_expected():
    of = expected(0.5)
    mean, std = predict(of, "rps", Seen(NONE, np.empty(0), NONE, NOISE))
    assert mean.tolist() == of.quantities["rps"].mean.tolist()
    assert std**2 == pytest.approx(kernel.total_variance(of.quantities["rps"].scales) * np.repeat([1, 4], 6) + 0.25)


def test_an_unknown_level_makes_all_units_alike():
    at, y = np.array([0, 7]), np.array([1.0, 2.0])
    (mean, std), (moved, same) = (predict(expected(np.inf), "rps", Seen(at, y + c, NONE, NOISE)) for c in (0, 50.0))
    assert moved - 50 == pytest.approx(mean, abs=1e-9) and same == pytest.approx(std, rel=1e-9)


def test_what_is_pending_changes_no_mean_and_is_as_certain_as_what_was_measured():
    at, y = np.array([1, 5]), np.array([3.0, 3.4])
    before, wide = predict(expected(0.5), "rps", Seen(at, y, NONE, NOISE))
    mean, std = predict(expected(0.5), "rps", Seen(at, y, np.array([9]), NOISE))
    assert mean.tolist() == before.tolist()
    assert (std <= wide + 1e-12).all() and std[9] < 0.05 * wide[9]
    _, variance, _ = conditioned(expected(0.5), 0.5, np.array([1, 5, 9]), np.array([3.0, 3.4, before[9]]))
    assert std / std[9] == pytest.approx(np.sqrt(variance / variance[9]), rel=1e-3)


def contradiction(y: np.ndarray, positions: np.ndarray) -> bool:
    of = replace(expected(np.inf), nothing=expected_of(Problem(SPACE, Objective(Expression("rps")))).quantities)
    narrow = kernel.scaled(of.quantities["rps"].scales, 0.05)
    of = replace(of, quantities={"rps": replace(of.quantities["rps"], scales=narrow)})
    return contradicted(of, "rps", Seen(positions, y, NONE, NOISE))


def test_only_trials_that_are_far_more_probable_without_an_expectation_contradict_it():
    at, rises = np.array([0, 4, 11]), np.linspace(0, 1, 12)
    assert not contradiction(rises[at], at) and not contradiction(rises[at] + 7, at)
    assert contradiction(-5 * rises[at], at) and contradiction(7 - 5 * rises[at], at)
    assert not contradiction(np.array([99.0]), np.array([3]))  # one trial says nothing but the level
    silent = expected_of(Problem(SPACE, Objective(Expression("rps"))))
    assert not contradicted(silent, "rps", Seen(at, np.array([0.0, 90, -90]), NONE, NOISE))


def test_what_is_contradicted_is_not_used():
    of, far = expected(np.inf), np.array([0.0, 40.0, -40.0])
    narrow = replace(of.quantities["rps"], scales=kernel.scaled(of.quantities["rps"].scales, 0.01))
    of = replace(of, quantities={"rps": narrow})
    seen = Seen(np.array([0, 4, 11]), far, NONE, NOISE)
    unsaid = replace(of, quantities=of.nothing)
    assert contradicted(of, "rps", seen)
    assert predict(of, "rps", seen)[0].tolist() == predict(unsaid, "rps", seen)[0].tolist()


def test_a_service_that_differs_more_than_expected_widens_everything():
    at = np.array([0, 5, 10])
    measured = (np.zeros(3), np.array([9.0, -9.0, 9.0]))
    near, far = (predict(expected(0.5), "rps", Seen(at, y, NONE, NOISE))[1] for y in measured)
    assert (far > 3 * near).all()
