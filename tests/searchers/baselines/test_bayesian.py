"""What the sources' processes are fitted to, by hand, and who decides before anything counts."""

import numpy as np
import pytest
import torch

from searchers.base import History, Observation, Problem, Task
from searchers.baselines import bayesian
from searchers.baselines.bayesian import BayesianOptimisation, ResidualProcess, SourceMean, mean_of_sources
from searchers.baselines.expected_improvement import log_expected_improvement
from searchers.baselines.from_sources import rgpe, source_studies, vizier
from searchers.baselines.from_sources.source_studies import StandardisedSource, standardised
from searchers.baselines.from_sources.source_values import Source, log_values, sources_of, unit_cube
from searchers.baselines.gaussian_process import fit, prior_then_largest
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space

torch.set_num_threads(1)
RNG = np.random.default_rng
SPACE = Space([Knob("batch", (1, 2, 4, 8))])
GOAL = Objective(Expression("rps"))


def task(*rps: float | None) -> Task:
    rows = (Observation(i, None if r is None else {"rps": r}) for i, r in enumerate(rps))
    return Task("t", SPACE, tuple(rows))


def seen(*rps: tuple[int, float | None]) -> History:
    history = History()
    for position, r in rps:
        history = history.observe(position, None if r is None else {"rps": r})
    return history


def test_the_mean_of_sources_is_in_their_own_deviations_and_their_median_is_the_unit():
    e = np.e
    sources = (task(1.0, e**2), task(1.0, e**2, e**4), task(1.0, None, e**6), task(5.0, 5.0))
    found = mean_of_sources(Problem(SPACE, GOAL, sources=sources))
    assert found is not None
    root = np.sqrt(1.5)
    # Logarithms 0, 2; 0, 2, 4; 0, 0, 6 (what failed is as bad as the worst); the last differs in nothing.
    third = (np.array([0.0, 0.0, 6.0]) - 2) / np.sqrt(8)
    expected = np.array([(-1 - root + third[0]) / 3, (1 + 0 + third[1]) / 3, (root + third[2]) / 2])
    assert found.mean[:3] == pytest.approx(expected) and found.mean[3] == pytest.approx(expected.mean())
    assert found.unit == pytest.approx(np.median([1, np.sqrt(8 / 3), np.sqrt(8)]))
    assert mean_of_sources(Problem(SPACE, GOAL)) is None
    assert mean_of_sources(Problem(SPACE, GOAL, sources=(task(5.0, 5.0),))) is None


def test_the_residual_is_what_mean_and_level_leave_unexplained():
    prior = SourceMean(np.array([0.0, 1.0, 5.0]), 2.0)
    found = prior.residual([1, 2], np.exp([7.0, 11.0]))
    assert found == pytest.approx([(3.5 - 1) - 1.5, (5.5 - 5) - 1.5])


def test_studies_are_standardised_thinned_to_150_and_their_unit_is_the_median():
    def source(values):
        return Source(
            np.full(len(values), -1), np.arange(len(values), dtype=float)[:, None], np.array(values, dtype=float)
        )

    long = np.exp(np.linspace(0, 6, 400))
    studies, unit = standardised([source([1.0, np.e**2]), source([3.0, 3.0]), source(long)])
    assert len(studies) == 2 and sorted(studies[0].z) == pytest.approx([-1, 1])
    assert unit == pytest.approx(np.median([1, log_values(long).std()]))
    at = studies[1].x[:, 0].astype(int)
    assert len(set(at.tolist())) == source_studies.POINTS == 150
    standard = (log_values(long) - log_values(long).mean()) / log_values(long).std()
    assert studies[1].z == pytest.approx(standard[at])
    assert standardised([]) == ((), 1.0) and standardised([source([3.0, 3.0])]) == ((), 1.0)


def test_levels_are_mixes_of_every_third_study_of_at_most_300_points():
    studies = [StandardisedSource(np.full((150, 1), float(i)), np.full(150, float(i))) for i in range(7)]
    levels = vizier.grouped(studies)
    assert [sorted({int(v) for v in level.z}) for level in levels] == [[0, 3, 6], [1, 4], [2, 5]]
    assert [len(level.z) for level in levels] == [300, 300, 300]
    assert all((level.x[:, 0] == level.z).all() for level in levels)
    assert len(vizier.grouped(studies[:2])) == 2 and vizier.grouped([]) == []


def test_the_stack_of_three_levels_is_what_each_explains_of_what_those_below_left():
    knob = Knob("batch", tuple(range(1, 13)))
    space = Space([knob])

    def of(name: str, positions: range, power: float) -> Task:
        return Task(name, space, tuple(Observation(i, {"rps": (i + 1.0) ** power + i % 3}) for i in positions))

    sources = (of("a", range(12), 0.5), of("b", range(0, 12, 2), 0.9), of("c", range(1, 12, 4), 1.5))
    taught = Problem(space, GOAL, sources=sources)
    stack = vizier.stack_of_sources(taught)
    studies, unit = standardised(sources_of(taught))
    one, two, three = vizier.grouped(studies)
    assert [len(level.z) for level in (one, two, three)] == [12, 6, 3]
    x = unit_cube(taught, space.features)
    first = fit(one.x, one.z)
    second = fit(two.x, two.z - first.predict(two.x)[0])
    third = fit(three.x, three.z - first.predict(three.x)[0] - second.predict(three.x)[0])
    (mean_1, std_1), (mean_2, std_2), (mean_3, std_3) = (process.predict(x) for process in (first, second, third))
    # Of 6 points on 12 the upper level has a third of the say in how far off they may be, of 3 on 6 too.
    lower = std_2 ** (1 / 3) * std_1 ** (2 / 3)
    np.testing.assert_allclose(stack.prior.mean, mean_1 + mean_2 + mean_3, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(stack.std, std_3 ** (1 / 3) * lower ** (2 / 3), rtol=1e-6)
    assert stack.points == 3 and stack.prior.unit == unit
    assert vizier.stack_of_sources(Problem(space, GOAL)) is None


def test_before_anything_counts_the_prior_decides_and_then_the_scores():
    problem, prior = Problem(SPACE, GOAL), np.array([0.0, 3.0, 2.0, 1.0])
    asked = []

    def scores(values):
        asked.append(values.tolist())
        return np.array([9.0, 0.0, 0.0, 5.0])

    def suggest(history):
        return prior_then_largest(problem, prior, scores, history, RNG(0))

    assert suggest(History()) == 1 and suggest(seen((1, None))) == 2 and not asked
    assert suggest(seen((1, None), (0, 4.0))) == 3 and asked == [[0.0, 4.0]]
    everything = seen((0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0))
    assert suggest(everything) is None and len(asked) == 1


def test_five_random_ones_come_first_and_then_the_largest_expected_improvement():
    space = Space([Knob("batch", tuple(range(1, 25)))])
    problem = Problem(space, GOAL)
    four = seen(*((i, 1.0 + i) for i in (3, 9, 15, 20)))
    assert len({BayesianOptimisation(problem).suggest(four, RNG(seed)) for seed in range(60)}) > 15
    history = four.observe(6, {"rps": 2.0})
    x = np.log2(np.arange(1, 25.0))[:, None] / np.log2(24)
    y = np.log([4.0, 10.0, 16.0, 21.0, 2.0])
    scores = log_expected_improvement(*fit(x[[3, 9, 15, 20, 6]], y).predict(x), y.max())
    scores[[3, 9, 15, 20, 6]] = -np.inf
    assert BayesianOptimisation(problem).suggest(history, RNG(0)) == np.argmax(scores)
    assert len({BayesianOptimisation(problem, random_first=6).suggest(history, RNG(s)) for s in range(60)}) > 15


def test_the_residual_process_starts_at_the_sources_best_and_without_any_is_bo():
    taught = Problem(SPACE, GOAL, sources=(task(1.0, 9.0, 4.0, 2.0), task(2.0, 8.0, 7.0, 1.0)))
    searcher = ResidualProcess(taught)
    assert [searcher.suggest(seen(*((p, None) for p in failed)), RNG(0)) for failed in ((), (1,), (1, 2))][:2] == [1, 2]
    alone, bo = ResidualProcess(Problem(SPACE, GOAL)), BayesianOptimisation(Problem(SPACE, GOAL))
    assert [alone.suggest(History(), RNG(s)) for s in range(9)] == [bo.suggest(History(), RNG(s)) for s in range(9)]
    assert isinstance(alone, bayesian.ResidualProcess) and rgpe.SAMPLES == 256


def test_vizier_without_sources_is_bo():
    alone, history = Problem(SPACE, GOAL), seen((0, 1.0), (2, 3.0))
    for seed in range(3):
        expected = BayesianOptimisation(alone).suggest(history, RNG(seed))
        assert vizier.Vizier(alone).suggest(history, RNG(seed)) == expected and expected in (1, 3)
