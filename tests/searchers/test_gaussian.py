"""Exact conditioning against the formula written out, and samples against their own mean and covariance."""

import numpy as np
import pytest
from scipy.stats import multivariate_t

from searchers.gaussian import SCALE_WEIGHT, Gaussian

N = 6


def belief(floating=False) -> Gaussian:
    rng = np.random.default_rng(0)
    half = rng.standard_normal((N, N))
    return Gaussian(rng.standard_normal(N), half @ half.T + 0.1 * np.eye(N), 0.04, floating)


AT, Y = np.array([4, 1]), np.array([2.0, -1.0])


def by_hand(prior: Gaussian) -> tuple[np.ndarray, np.ndarray]:
    gram = prior.covariance[np.ix_(AT, AT)] + prior.noise * np.eye(2)
    gain = prior.covariance[:, AT] @ np.linalg.inv(gram)
    return prior.mean + gain @ (Y - prior.mean[AT]), prior.covariance - gain @ prior.covariance[AT]


def test_mean_and_variance_are_those_of_conditioning():
    prior = belief()
    posterior = prior.given(AT, Y)
    mean, covariance = by_hand(prior)
    assert posterior.mean == pytest.approx(mean)
    assert posterior.variance == pytest.approx(posterior.scale * np.diag(covariance))


def test_log_density_is_that_of_a_student_t():
    prior = belief()
    gram = prior.covariance[np.ix_(AT, AT)] + prior.noise * np.eye(2)
    expected = multivariate_t(prior.mean[AT], gram, df=SCALE_WEIGHT).logpdf(Y)
    assert prior.given(AT, Y).log_density == pytest.approx(expected)


def test_surprises_widen_and_confirmations_narrow():
    prior = belief()
    assert prior.given(AT, prior.mean[AT]).scale < 1 < prior.given(AT, prior.mean[AT] + 30).scale


def test_samples_have_the_posteriors_mean_and_covariance():
    prior = belief()
    posterior = prior.given(AT, Y)
    rng = np.random.default_rng(1)
    drawn = posterior.samples(prior.deviations(40_000, rng), rng.standard_normal((40_000, 2)))
    mean, covariance = by_hand(prior)
    assert drawn.mean(axis=0) == pytest.approx(mean, abs=0.08)
    assert np.cov(drawn.T) == pytest.approx(posterior.scale * covariance, rel=0.05, abs=0.25)


def test_nothing_measured_changes_nothing():
    prior = belief(floating=True)
    posterior = prior.given(np.empty(0, dtype=int), np.empty(0))
    assert np.array_equal(posterior.mean, prior.mean) and posterior.scale == 1 and posterior.log_density == 0
    assert posterior.variance == pytest.approx(np.diag(prior.covariance))


def test_a_floating_level_follows_the_measurements_whatever_their_unit():
    prior = belief(floating=True)
    posterior, moved = prior.given(AT, Y), prior.given(AT, Y + 7)
    assert moved.mean == pytest.approx(posterior.mean + 7)
    assert moved.log_density == pytest.approx(posterior.log_density)
