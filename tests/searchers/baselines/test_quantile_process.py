"""The process of normal scores: prediction by hand, where it starts, and that it follows what was measured."""

import numpy as np
import torch

from searchers.base import History, Problem
from searchers.baselines.bayesian import BayesianOptimisation
from searchers.baselines.expected_improvement import log_expected_improvement
from searchers.baselines.from_sources.quantile_process import QuantileProcess
from searchers.baselines.from_sources.quantile_transfer import normal_scores
from searchers.baselines.gaussian_process import fit
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space

torch.set_num_threads(1)
RNG = np.random.default_rng
SPACE = Space([Knob("batch", tuple(range(1, 17)))])
PROBLEM = Problem(SPACE, Objective(Expression("rps")))


def taught(mean: np.ndarray, std: np.ndarray) -> QuantileProcess:
    searcher = QuantileProcess(PROBLEM)
    searcher._usual = (mean, std)
    return searcher


def test_what_is_measured_is_the_largest_expected_improvement_of_residuals_in_the_sources_unit():
    mean, std = np.linspace(-1, 1, 16), np.linspace(0.5, 2, 16)
    at, rps = [15, 3, 8], [2.0, 9.0, 4.0]
    history = History()
    for position, value in zip(at, rps, strict=True):
        history = history.observe(position, {"rps": value})
    x = np.log2(np.arange(1, 17.0))[:, None] / 4
    z = normal_scores(np.array(rps))
    residual, spread = fit(x[at], (z - mean[at]) / std[at], spread=1.0).predict(x)
    scores = log_expected_improvement(mean + std * residual, std * spread, z.max())
    scores[at] = -np.inf
    assert taught(mean, std).suggest(history, RNG(0)) == np.argmax(scores)


def test_it_starts_where_the_sources_are_best_and_goes_on_there_while_nothing_counts():
    searcher = taught(np.linspace(-1, 1, 16), np.ones(16))
    assert searcher.suggest(History(), RNG(0)) == 15
    assert searcher.suggest(History().observe(15, None), RNG(0)) == 14


def test_without_sources_it_is_bo():
    history = History()
    for position in (1, 4, 7, 11, 14):
        history = history.observe(position, {"rps": 1.0 + position % 5})
    for each in (History(), history):
        expected = BayesianOptimisation(PROBLEM).suggest(each, RNG(0))
        assert QuantileProcess(PROBLEM).suggest(each, RNG(0)) == expected
