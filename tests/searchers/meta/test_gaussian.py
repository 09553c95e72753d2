"""Exact conditioning against the formula written out, and samples against their own mean and covariance."""

import numpy as np
import pytest
from scipy.stats import multivariate_t

from searchers.meta.gaussian import SCALE_WEIGHT, Gaussian

N = 6

NONE = np.empty((0, 0))
"""Coefficients of a prior without directions."""


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
    drawn = posterior.samples(prior.deviations(40_000, rng, NONE), rng.standard_normal((40_000, 2)))
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


def test_stated_widths_cover_what_was_left_out_as_often_as_they_say():
    """Truths drawn from the prior, three noisy measurements of each, and intervals for the other three."""
    prior, rng = belief(), np.random.default_rng(2)
    truths = prior.mean + rng.standard_normal((1500, N)) @ np.linalg.cholesky(prior.covariance).T
    at, rest = np.array([0, 2, 5]), np.array([1, 3, 4])
    inside: dict[float, list] = {0.674: [], 1.645: []}
    for truth in truths:
        posterior = prior.given(at, truth[at] + np.sqrt(prior.noise) * rng.standard_normal(3))
        z = np.abs(truth - posterior.mean)[rest] / np.sqrt(posterior.variance[rest])
        for bound, found in inside.items():
            found.append(np.mean(z < bound))
    # 4500 numbers, of which three a truth: a standard error of 0.01. The scale is estimated too, so tails are wider.
    assert np.mean(inside[0.674]) == pytest.approx(0.5, abs=0.05)
    assert np.mean(inside[1.645]) == pytest.approx(0.9, abs=0.05)


def test_samples_spread_as_widely_as_the_variance_says_and_no_two_are_alike():
    prior = belief()
    posterior, rng = prior.given(AT, Y), np.random.default_rng(3)
    drawn = posterior.samples(prior.deviations(4000, rng, NONE), rng.standard_normal((4000, 2)))
    assert drawn.dtype == np.float32 and len(np.unique(drawn[:, 0])) > 3900
    # A variance is known to √(2/4000) of itself, and 0.15 is more than six times that.
    assert drawn.var(axis=0) == pytest.approx(posterior.variance, rel=0.15)
    other = prior.deviations(4000, np.random.default_rng(4), NONE)
    assert not np.array_equal(other, prior.deviations(4000, np.random.default_rng(5), NONE))


def test_the_scale_weighs_surprise_against_five_measurements_of_the_prior():
    prior = belief()
    gram = prior.covariance[np.ix_(AT, AT)] + prior.noise * np.eye(2)
    error = Y - prior.mean[AT]
    expected = (5 + error @ np.linalg.inv(gram) @ error) / (5 + 2)
    assert prior.given(AT, Y).scale == pytest.approx(expected) and SCALE_WEIGHT == 5


def test_a_floating_level_is_the_mean_error_and_a_fixed_one_is_not():
    prior = belief(floating=True)
    level = (Y - prior.mean[AT]).mean()
    fixed = Gaussian(prior.mean + level, prior.covariance, prior.noise).given(AT, Y)
    assert prior.given(AT, Y).mean == pytest.approx(fixed.mean)
    assert prior.given(AT, Y).log_density == pytest.approx(fixed.log_density)


def test_a_covariance_without_full_rank_has_samples_too():
    flat = Gaussian(np.zeros(4), np.ones((4, 4)), 0.01)
    drawn = flat.deviations(500, np.random.default_rng(0), NONE)
    assert np.isfinite(drawn).all() and np.ptp(drawn, axis=1).max() < 0.01 and drawn.std() > 0.8
    assert (flat.given(np.array([0]), np.array([1.0])).variance > 0).all()
