import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from searchers.base import History, Problem
from searchers.morphling.maml import unit_of
from searchers.morphling.meta_model import MetaModel
from searchers.morphling.mlp import initial_weights, predict
from searchers.morphling.morphling import PRICE_COLUMN, Morphling, inputs_of, pretrained
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space
from tests.searched import roofline_problem

torch.set_num_threads(1)
SPACE = Space([Knob("cpu_cores", tuple(range(1, 11))), Knob("max_batch_size", tuple(range(1, 11)))])
PROBLEM = Problem(SPACE, Objective(Expression("rps"), at_most={"p99_ms": 100}))
RNG = np.random.default_rng


def model(seed=0) -> MetaModel:
    weights = initial_weights(2, torch.Generator().manual_seed(seed), dtype=torch.float64)
    weights = {**weights, "b2": torch.tensor([0.5], dtype=torch.float64)}
    return MetaModel(weights, SPACE.columns, SPACE.features.mean(0), SPACE.features.std(0), 0.05)


def algorithm_2(trained: MetaModel, history: History, delta: float) -> int:
    """The paper's pseudocode line by line, with gradients by autograd and no shared code but the network."""
    x = torch.from_numpy((SPACE.features - trained.mean) / trained.scale)
    theta = dict(trained.weights)
    values = torch.tensor([PROBLEM.value(o) or 0.0 for o in history.observed], dtype=torch.float64)
    measured = [o.position for o in history.observed]
    y = values / unit_of(predict(theta, x)[measured], values) if measured else values
    for k in range(len(measured) + 1):
        free = {name: w.clone().requires_grad_() for name, w in theta.items()}
        theta_next = theta
        if k:
            ((predict(free, x[measured[:k]]) - y[:k]) ** 2).mean().backward()
            theta_next = {name: (w - trained.step_size * w.grad).detach() for name, w in free.items()}
        confidence = (predict(theta, x) - predict(theta_next, x)).abs()
        acquisition = predict(theta, x) + delta * confidence
        theta = theta_next
    acquisition[list(history.taken)] = -torch.inf
    return int(acquisition.argmax())


@pytest.mark.parametrize("delta", [0.0, 0.5, 3.0])
def test_is_algorithm_2(delta):
    trained, history = model(), History()
    for step, metrics in enumerate([{"rps": 5.0, "p99_ms": 1}, None, {"rps": 9.0, "p99_ms": 1},
                                    {"rps": 99.0, "p99_ms": 300}, {"rps": 2.0, "p99_ms": 1}]):  # fmt: skip
        position = Morphling(PROBLEM, trained, delta=delta).suggest(history, RNG(step))
        assert position == algorithm_2(trained, history, delta)
        history = history.observe(position, metrics)


def test_first_suggestion_is_the_meta_models_favourite_and_pending_ones_are_skipped():
    trained = model()
    x = torch.from_numpy((SPACE.features - trained.mean) / trained.scale)
    favourite = int(predict(trained.weights, x).argmax())
    searcher, history = Morphling(PROBLEM, trained), History()
    assert searcher.suggest(history, RNG(0)) == favourite
    assert searcher.suggest(history.await_(favourite), RNG(0)) != favourite


def test_unknown_columns_have_no_influence_at_first_and_some_after_learning():
    space = Space([*SPACE.knobs, Knob("unheard_of", (1, 2, 4))])
    problem = Problem(space, PROBLEM.objective)
    searcher = Morphling(problem, model())
    # Three configurations differ in the unknown knob only and tie; chance decides among them.
    first = {searcher.suggest(History(), RNG(seed)) for seed in range(20)}
    assert len(first) == 3 and len({space[p]["cpu_cores"] for p in first}) == 1
    start = min(first)
    history = History().observe(start, {"rps": 1.0, "p99_ms": 1}).observe(start + 1, {"rps": 9.0, "p99_ms": 1})
    before, after = searcher._predictions(history)
    assert np.ptp(before.reshape(-1, 3), axis=1).max() < np.ptp(after.reshape(-1, 3), axis=1).max()


def test_price_is_an_input_only_if_the_goal_names_it():
    with_price, _ = roofline_problem()
    raw, columns = inputs_of(with_price)
    assert columns[-1] == PRICE_COLUMN and raw[:, -1].mean() == pytest.approx(0, abs=1e-12)
    without, _ = roofline_problem(Objective(Expression("rps")))
    assert PRICE_COLUMN not in inputs_of(without)[1]
    unpriced = Problem(with_price.space, with_price.objective)
    assert PRICE_COLUMN not in inputs_of(unpriced)[1]
    for unknown in (math.nan, 0.0):
        usd = with_price.usd_per_hour.copy()
        usd[3] = unknown
        assert PRICE_COLUMN not in inputs_of(replace(with_price, usd_per_hour=usd))[1]


def test_shipped_model_loads_and_says_what_it_is():
    shipped = pretrained()
    assert {"log2_cpu_cores", "log2_max_batch_size", "log2_gpu_memory_gib", PRICE_COLUMN} <= set(shipped.columns)
    assert {"data", "date", "recipe"} <= set(shipped.card)


def test_suggests_over_a_thousand_configurations_in_hundredths_of_a_second():
    knobs = [Knob("cpu_cores", tuple(range(1, 11))), Knob("max_batch_size", tuple(range(1, 101)))]
    problem = Problem(Space(knobs), Objective(Expression("rps")))
    searcher, history = Morphling(problem), History()
    for step in range(10):
        history = history.observe(97 * step, {"rps": 1.0 + step})
    searcher.suggest(history, RNG(0))
    spent = []
    for _ in range(5):
        start = time.thread_time()  # not of the clock: other processes may have the cores
        searcher.suggest(history, RNG(0))
        spent.append(time.thread_time() - start)
    assert min(spent) < 0.1  # About 0.01 s; the bound leaves room for a slower machine.


def test_a_trial_that_runs_lowers_what_is_expected_around_it():
    searcher = Morphling(PROBLEM, model())
    first = searcher.suggest(History(), RNG(0))
    alone, _ = searcher._predictions(History())
    before, after = searcher._predictions(History().await_(first))
    assert np.array_equal(before, alone)
    assert after[first] < before[first]
