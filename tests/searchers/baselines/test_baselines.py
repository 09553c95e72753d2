"""The searchers that ours is compared with: each by hand on a small space, beside the contract of all."""

import hyperopt
import numpy as np
import optuna
import pytest
import torch
from hyperopt import tpe as hyperopts
from scipy.special import erf

from searchers.base import History, Observation, Problem, Task
from searchers.baselines import ernest, optuna_samplers
from searchers.baselines.constraint_values import MEASURED, figures_and_constraints
from searchers.baselines.ernest import Ernest
from searchers.baselines.from_sources import finetune, quantile_transfer
from searchers.baselines.from_sources.finetune import FineTuning, pretrained_on_sources
from searchers.baselines.from_sources.portfolio import Portfolio
from searchers.baselines.from_sources.quantile_transfer import QuantileTransfer, usual_scores
from searchers.baselines.nearest import nearest_free
from searchers.baselines.optuna_samplers import optuna_gp, optuna_tpe
from searchers.baselines.random_search import RandomSearch
from searchers.baselines.tpe import Hyperopt
from searchers.morphling.maml import unit_of
from searchers.morphling.mlp import initial_weights, predict
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space

torch.set_num_threads(1)
RNG = np.random.default_rng
SPACE = Space([Knob("batch", (1, 2, 4, 8, 16)), Knob("engine", ("x", "y", "z"), "categorical")])
N = len(SPACE)
PROBLEM = Problem(SPACE, Objective(Expression("rps"), at_most={"p99_ms": 100}))


def law(position: int, size: float = 1.0):
    """Larger batches serve more, engine y the most; the largest on z does not run."""
    config = SPACE[position]
    if config == {"batch": 16, "engine": "z"}:
        return None
    gain = {"x": 1.0, "y": 2.0, "z": 0.5}[str(config["engine"])]
    return {"rps": gain * float(config["batch"]) ** 0.5 / size, "p99_ms": 1.0}


def task(size: float) -> Task:
    return Task(f"size {size}", SPACE, tuple(Observation(i, law(i, size)) for i in range(N)))


TAUGHT = Problem(SPACE, PROBLEM.objective, sources=(task(1.0), task(3.0)))
BEST = SPACE.position({"batch": 16, "engine": "y"})


def observed(*positions: int) -> History:
    history = History()
    for position in positions:
        history = history.observe(position, law(position))
    return history


def test_random_search_draws_every_free_configuration_alike():
    history = observed(0, 1).await_(2)
    found = [RandomSearch(PROBLEM).suggest(history, RNG(seed)) for seed in range(1200)]
    # 100 each of 12; 5 standard deviations are 48.
    assert set(found) == set(range(3, N)) and max(abs(found.count(i) - 100) for i in range(3, N)) < 48


# Portfolio


def test_a_portfolio_without_sources_is_random_and_with_them_takes_the_best_mean_first():
    assert len({Portfolio(PROBLEM).suggest(History(), RNG(seed)) for seed in range(80)}) > 10
    searcher, history, tried = Portfolio(TAUGHT), History(), []
    for step in range(N):
        position = searcher.suggest(history, RNG(step))
        assert position is not None
        tried.append(position)
        history = history.observe(position, None)
    values = [(law(i) or {"rps": 0.0})["rps"] for i in range(N)]
    assert tried[0] == BEST and [values[i] for i in tried] == sorted(values, reverse=True)


# Ernest


def test_ernests_network_fits_what_was_measured():
    x = torch.linspace(-1, 1, 12)[:, None]
    y = torch.sin(3 * x[:, 0])
    fitted = ernest.fit(x, y, steps=200, step_size=0.01, generator=torch.Generator().manual_seed(0))
    assert ((predict(fitted, x) - y) ** 2).mean() < 0.01 and not fitted["w0"].requires_grad
    start = initial_weights(1, torch.Generator().manual_seed(0))
    unfitted = ernest.fit(x, y, steps=0, step_size=0.01, generator=torch.Generator().manual_seed(0))
    assert torch.equal(unfitted["w1"], start["w1"])
    one = ernest.fit(x, y, steps=1, step_size=0.01, generator=torch.Generator().manual_seed(0))
    moved = (one["w1"] - start["w1"]).abs()
    assert moved.max().item() == pytest.approx(0.01, rel=0.01)  # Adam's first step


def test_ernest_is_random_ten_times_and_then_every_fifth_time():
    searcher, nine, ten = Ernest(PROBLEM), observed(*range(9)), observed(*range(10))
    free = set(range(10, N))
    assert {searcher.suggest(nine, RNG(seed)) for seed in range(60)} == {9} | free
    searcher = Ernest(PROBLEM, random_share=0.0)
    # Of the free ones the first on y, batch 16, is predicted to be best by nearly every fit.
    found = [searcher.suggest(ten, RNG(seed)) for seed in range(8)]
    assert found.count(BEST) >= 7
    assert len({Ernest(PROBLEM, random_share=1.0).suggest(ten, RNG(seed)) for seed in range(60)}) == len(free)


def test_ernests_share_of_random_ones_is_a_fifth(monkeypatch):
    asked = []

    def fit(x, y, **_):
        asked.append((x, y))
        return initial_weights(x.shape[1], torch.Generator())

    monkeypatch.setattr(ernest, "fit", fit)
    searcher, ten = Ernest(PROBLEM), observed(*range(10))
    for seed in range(400):
        searcher.suggest(ten, RNG(seed))
    assert 0.74 < len(asked) / 400 < 0.86  # three standard deviations of a share of 0.8
    x, y = asked[0]
    features = (SPACE.features - SPACE.features.mean(axis=0)) / SPACE.features.std(axis=0)
    np.testing.assert_allclose(x.numpy(), features[:10], rtol=1e-5)
    values = np.array([law(i)["rps"] for i in range(10)])
    np.testing.assert_allclose(y.numpy(), values / values.max(), rtol=1e-6)
    nothing = History()
    for position in range(10):
        nothing = nothing.observe(position, None)
    before = len(asked)
    searcher.suggest(nothing, RNG(1))
    assert len(asked) == before  # nothing counts: at random


# Fine-tuning


def test_pretraining_predicts_each_sources_values_as_fractions_of_its_best():
    weights = pretrained_on_sources(TAUGHT)
    assert weights is not None and pretrained_on_sources(PROBLEM) is None
    searcher = FineTuning(TAUGHT)
    values = np.array([(law(i) or {"rps": 0.0})["rps"] for i in range(N)])
    np.testing.assert_allclose(predict(weights, searcher._x).numpy(), values / values.max(), atol=0.06)
    assert searcher.suggest(History(), RNG(0)) == BEST


def test_fine_tuning_is_by_all_that_was_measured_in_its_estimated_unit(monkeypatch):
    asked = []

    def trained(weights, x, y, **options):
        asked.append((weights, x, y, options))
        return weights

    monkeypatch.setattr(finetune, "trained", trained)
    searcher = FineTuning(TAUGHT)
    searcher.suggest(observed(3, 7, 14), RNG(0))
    ((weights, x, y, options),) = asked
    values = torch.tensor([law(3)["rps"], law(7)["rps"], 0.0])
    assert torch.equal(x, searcher._x[[3, 7, 14]])
    assert torch.allclose(y, values / unit_of(predict(weights, x), values))
    assert options["steps"] == 50 and options["step_size"] == 0.001


def test_training_goes_in_batches_of_256_at_random():
    x = torch.linspace(-1, 1, 600)[:, None]
    start = initial_weights(1, torch.Generator().manual_seed(0))
    one, same, other = (
        finetune.trained(start, x, x[:, 0], steps=3, step_size=0.01, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(one["w1"], same["w1"]) and not torch.equal(one["w1"], other["w1"])
    fitted = finetune.trained(start, x, x[:, 0], steps=60, step_size=0.01, generator=torch.Generator().manual_seed(0))
    assert ((predict(fitted, x) - x[:, 0]) ** 2).mean() < 0.01
    assert not start["w0"].requires_grad and finetune._BATCH == 256


def test_without_sources_fine_tuning_is_ernest():
    ten = observed(*range(10))
    assert [FineTuning(PROBLEM).suggest(ten, RNG(s)) for s in range(3)] == [
        Ernest(PROBLEM).suggest(ten, RNG(s)) for s in range(3)
    ]


# Quantile transfer


def test_the_usual_scores_are_the_sources_normal_scores_with_their_spread():
    usual = usual_scores(TAUGHT)
    assert usual is not None and usual_scores(PROBLEM) is None
    mean, std = usual
    scores = quantile_transfer.normal_scores(np.array([(law(i) or {"rps": 0.0})["rps"] for i in range(N)]))
    assert np.corrcoef(mean, scores)[0, 1] > 0.85 and np.argmax(mean) == BEST
    assert (std >= 0.01).all() and std.mean() < 0.4  # both sources rank alike


def test_normal_scores_are_cut_off_where_liu_et_al_do():
    def phi(z):
        return (1 + erf(z / np.sqrt(2))) / 2

    for m in (4, 50):
        cut = 1 / (4 * m**0.25 * np.sqrt(np.pi * np.log(m)))
        scores = quantile_transfer.normal_scores(np.arange(m) + 1.0)
        np.testing.assert_allclose(phi(scores), np.clip((np.arange(m) + 1) / m, cut, 1 - cut), rtol=1e-6)


def test_what_is_suggested_is_the_largest_of_a_sample():
    searcher = QuantileTransfer(TAUGHT)
    searcher._mean, searcher._std = np.linspace(0, 1, N), np.full(N, 1e-9)
    assert searcher.suggest(observed(N - 1), RNG(0)) == N - 2
    searcher._mean, searcher._std = np.zeros(N), np.where(np.arange(N) == 4, 5.0, 0.01)
    share = np.mean([searcher.suggest(History(), RNG(seed)) == 4 for seed in range(200)])
    assert 0.35 < share < 0.65  # half of the widest one's samples are above all others'
    assert len({QuantileTransfer(PROBLEM).suggest(History(), RNG(seed)) for seed in range(80)}) > 10


# Hyperopt and Optuna


def test_hyperopt_hears_ranks_and_minus_the_value_and_says_ranks(monkeypatch):
    heard, real = [], hyperopts.suggest

    def suggest(ids, domain, trials, seed, **options):
        heard.append((ids, trials, seed, options))
        return real(ids, domain, trials, seed, **options)

    monkeypatch.setattr("searchers.baselines.tpe.tpe.suggest", suggest)
    searcher, history = Hyperopt(PROBLEM), observed(4, 14, 9)
    searcher.suggest(history, RNG(0))
    ((ids, trials, seed, options),) = heard
    assert ids == [3] and options["n_startup_jobs"] == 3 and seed == RNG(0).integers(2**31)
    assert trials.losses() == [-law(4)["rps"], 0.0, -law(9)["rps"]]
    assert {t["state"] for t in trials.trials} == {hyperopt.JOB_STATE_DONE} and trials.tids == [0, 1, 2]
    ranks = SPACE.ranks[[4, 14, 9]]
    assert trials.vals == {"0:batch": ranks[:, 0].tolist(), "1:engine": ranks[:, 1].tolist()}
    assert trials.idxs == {"0:batch": [0, 1, 2], "1:engine": [0, 1, 2]}


def test_every_rank_of_every_knob_is_as_likely_in_hyperopts_random_phase():
    searcher = Hyperopt(PROBLEM)
    wanted = np.array([searcher._suggested(History(), seed) for seed in range(400)])
    for column, values in ((0, 5), (1, 3)):
        counts = np.bincount(wanted[:, column], minlength=values)
        # 5 standard deviations of a binomial count.
        assert len(counts) == values and np.abs(counts - 400 / values).max() < 5 * np.sqrt(400 / values)


def test_hyperopt_and_optuna_end_where_all_is_taken():
    history = History(pending=frozenset(range(N)))
    for make in (Hyperopt, optuna_tpe, optuna_gp):
        assert make(PROBLEM).suggest(history, RNG(0)) is None


def test_hyperopt_turns_to_what_was_good():
    history = observed(*(i for i in range(N) if i != BEST))
    for _ in range(8):
        history = history.observe(BEST, law(BEST))
    wanted = [Hyperopt(PROBLEM)._suggested(history, seed) for seed in range(20)]
    assert np.mean([w[1] == 1 for w in wanted]) > 0.5 and np.mean([w[0] for w in wanted]) > 2.5


def test_optuna_hears_ranks_log_values_and_constraints_and_its_wish_is_measured(monkeypatch):
    seeds = []

    class Wishes(optuna.samplers.BaseSampler):
        def infer_relative_search_space(self, study, trial):
            return {}

        def sample_relative(self, study, trial, search_space):
            return {}

        def sample_independent(self, study, trial, name, distribution):
            self.study = study
            return {"batch": 4, "engine": 1}[name]

    sampler = Wishes()

    def make(seed):
        seeds.append(seed)
        return sampler

    found = optuna_samplers.Optuna(PROBLEM, make).suggest(observed(4, 14, 9), RNG(0))
    assert found == BEST and seeds == [RNG(0).integers(2**31)]
    trials = sampler.study.get_trials()[:3]
    assert sampler.study.direction == optuna.study.StudyDirection.MAXIMIZE
    figures, constraints = figures_and_constraints(PROBLEM, observed(4, 14, 9))
    assert [t.value for t in trials] == figures.tolist() and [t.constraints for t in trials] == list(constraints)
    assert [t.constraints[MEASURED] for t in trials] == [-1, 1, -1]
    assert [tuple(t.params.values()) for t in trials] == [tuple(SPACE.ranks[i]) for i in (4, 14, 9)]
    batch, engine = trials[0].distributions.values()
    assert (batch.low, batch.high) == (0, 4) and engine.choices == (0, 1, 2)


def test_optunas_samplers_are_those_that_they_are_called_and_differ_by_seed():
    assert isinstance(optuna_tpe(PROBLEM)._sampler(0), optuna.samplers.TPESampler)
    assert isinstance(optuna_gp(PROBLEM)._sampler(0), optuna.samplers.GPSampler)
    for make in (optuna_tpe, optuna_gp):
        found = [make(PROBLEM).suggest(History(), RNG(seed)) for seed in (*range(30), 0)]
        assert len(set(found)) > 5 and found[0] == found[-1]


def test_optunas_process_decides_after_five_and_knows_what_breaks_the_limit():
    """Engine y is best but breaks the limit everywhere; x keeps it: what is suggested next is not on y."""
    history = History()
    for position in (0, 1, 4, 7, 3, 2):
        slow = SPACE[position]["engine"] == "y"
        history = history.observe(position, {**(law(position) or {}), "p99_ms": 900.0 if slow else 20.0})
    wished = [SPACE[optuna_gp(PROBLEM).suggest(history, RNG(seed))]["engine"] for seed in range(4)]
    assert "y" not in wished
    random = {optuna_gp(PROBLEM).suggest(observed(0, 1, 4, 7), RNG(seed)) for seed in range(25)}
    assert len(random) > 6


# The nearest free one


def test_the_nearest_free_one_is_the_nearest_by_a_search_through_all():
    space = Space(
        [Knob("a", (1, 2, 3)), Knob("b", ("x", "y", "z"), "categorical"), Knob("c", (7,)), Knob("d", (1, 2, 4, 8))]
    )
    rng = RNG(0)
    for _ in range(60):
        wanted = np.array([rng.integers(len(knob.values)) for knob in space.knobs])
        history = History(pending=frozenset(rng.choice(len(space), 25, replace=False).tolist()))

        def apart(position, wanted=wanted):
            total = 0.0
            for knob, rank, want in zip(space.knobs, space.ranks[position], wanted, strict=True):
                far = abs(int(rank) - int(want))
                total += (4 if far else 0) if knob.kind == "categorical" else far / max(1, len(knob.values) - 1)
            return total

        free = [i for i in range(len(space)) if i not in history.taken]
        least = min(map(apart, free))
        assert apart(nearest_free(space, wanted, history, rng)) == pytest.approx(least)
