"""Oracles for the Gaussian processes: BoTorch's own acquisition, a refit without the point, hand-computed numbers."""

import time
from typing import Any

import numpy as np
import pytest
import torch
from botorch.acquisition import LogExpectedImprovement
from scipy.integrate import quad
from scipy.stats import norm

from searchers.base import History, Problem
from searchers.baselines.bayesian import BayesianOptimisation
from searchers.baselines.expected_improvement import log_expected_improvement
from searchers.baselines.from_sources.rgpe import misranked, ranking_weights
from searchers.baselines.from_sources.vizier import stacked
from searchers.baselines.gaussian_process import fit, largest_or_random
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space

torch.set_num_threads(1)
RNG = np.random.default_rng


def data(k: int = 12) -> tuple[np.ndarray, np.ndarray]:
    x = RNG(0).random((k, 3))
    return x, 5 + 3 * np.sin(4 * x[:, 0]) + x[:, 1]


def test_log_expected_improvement_is_botorchs_and_an_integral():
    x, y = data()
    process = fit(x, y)
    points = RNG(1).random((40, 3))
    ours = log_expected_improvement(*process.predict(points), y.max())
    theirs = LogExpectedImprovement(process.model, best_f=(y.max() - process.level) / process.spread)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(points).unsqueeze(1)).numpy() + np.log(process.spread)
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    (one,) = log_expected_improvement(np.array([1.0]), np.array([2.0]), 4.0)
    assert one == pytest.approx(np.log(quad(lambda f: (f - 4) * norm.pdf(f, 1, 2), 4, 40)[0]), abs=1e-5)


def test_log_expected_improvement_stays_ordered_where_the_improvement_itself_is_zero():
    z = -np.array([0.5, 0.999999, 1.000001, 5, 40, 1e3, 1e5, 1.1e5, 1e8])
    scores = log_expected_improvement(z, np.ones(len(z)), 0.0)
    assert np.isfinite(scores).all() and (np.diff(scores) <= 0).all() and scores[4] < -800


def test_left_out_is_a_fit_without_the_point_of_the_same_kernel():
    x, y = data()
    process: Any = fit(x, y)
    mean, std = process.left_out()
    rest = np.arange(12) != 4
    targets = process.model.train_targets
    process.model.set_train_data(torch.from_numpy(x[rest]), targets[rest], strict=False)
    expected_mean, expected_std = process.predict(x[4:5])
    noise = process.spread**2 * process.model.likelihood.noise.item()
    assert mean[4] == pytest.approx(expected_mean[0], rel=1e-6)
    assert std[4] ** 2 == pytest.approx(expected_std[0] ** 2 + noise, rel=1e-5)


def test_joint_and_single_predictions_agree():
    x, y = data()
    process, points = fit(x, y), RNG(1).random((5, 3))
    (mean, std), (joint_mean, covariance) = process.predict(points), process.joint(points)
    np.testing.assert_allclose(mean, joint_mean, rtol=1e-6)
    np.testing.assert_allclose(std**2, covariance.diagonal(), rtol=1e-4)


@pytest.mark.parametrize("y", [np.ones(1), np.full(6, 7.0), np.array([1.0, 1.0 + 1e-12])])
def test_fits_what_has_no_spread(y):
    mean, std = fit(RNG(0).random((len(y), 2)), y).predict(RNG(1).random((4, 2)))
    np.testing.assert_allclose(mean, y[0], atol=0.2)
    assert (std > 0).all()


def test_a_fit_that_fails_is_a_random_suggestion():
    def scores() -> np.ndarray:
        return torch.linalg.cholesky(-torch.eye(2)).numpy()

    found = {largest_or_random(scores, 4, History(pending=frozenset({2})), RNG(seed)) for seed in range(40)}
    assert found == {0, 1, 3}


def test_a_stack_adds_means_and_takes_the_weighted_geometric_mean_of_deviations():
    top = fit(*data(3))
    mean, std = top.predict(data()[0])
    predict = stacked(lambda x: (np.full(len(x), 10.0), np.full(len(x), 2.0)), 9, top, 3)
    both_mean, both_std = predict(data()[0])
    np.testing.assert_allclose(both_mean, 10 + mean)
    np.testing.assert_allclose(both_std, std**0.25 * 2**0.75)


def test_ranking_loss_and_weights_by_hand():
    y = np.array([1.0, 2.0, 3.0])
    samples = np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.2, 0.1, 0.3]])
    assert misranked(samples, y).tolist() == [0, 6, 2]
    # The first source wins half of the samples alone and shares the others; the second is always poor.
    losses = np.array([[0, 0, 2, 2], [8, 8, 8, 8], [4, 4, 2, 2]])
    np.testing.assert_allclose(ranking_weights(losses), [0.75, 0, 0.25])


@pytest.mark.parametrize(
    ("loss", "weight"),
    # Of this service's own losses, 1 to 100, 95 % are below 95.05. A source that always loses 95 is the better one in
    # five samples, and ties in one; one that always loses 96 would be in four, but has no say.
    [(50, 0.505), (95, 0.055), (96, 0.0), (99, 0.0), (100, 0.0)],
)
def test_a_source_that_ranks_worse_than_nineteen_of_twenty_samples_of_this_service_has_no_say(loss, weight):
    losses = np.array([np.full(100, loss), np.arange(100) + 1])
    np.testing.assert_allclose(ranking_weights(losses), [weight, 1 - weight])
    # By its median: a few samples in which it ranks well do not save it.
    losses[0, :49] = 0 if weight == 0 else loss
    np.testing.assert_allclose(ranking_weights(losses), [weight, 1 - weight])


def test_suggests_over_540_configurations_with_30_observed_in_tenths_of_a_second():
    knobs = [Knob("gpu", tuple("abcde"), "categorical"), Knob("batch", tuple(range(1, 37))), Knob("cores", (1, 2, 4))]
    problem = Problem(Space(knobs), Objective(Expression("rps")))
    searcher, history = BayesianOptimisation(problem), History()
    for step in range(30):
        history = history.observe(17 * step, {"rps": 10.0 + (7 * step) % 11})
    spent = []
    for _ in range(5):
        start = time.thread_time()  # not of the clock: other processes may have the cores
        searcher.suggest(history, RNG(0))
        spent.append(time.thread_time() - start)
    assert min(spent) < 1.0  # About 0.15 s; the bound leaves room for a slower machine.
