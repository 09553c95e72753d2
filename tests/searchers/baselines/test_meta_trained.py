"""Morphling's meta-model of a problem's sources: what it is trained on, by hand, and that training is what helps."""

import numpy as np
import pytest
import torch

from searchers.base import History, Observation, Problem, Task
from searchers.baselines.from_sources import meta_trained
from searchers.baselines.from_sources.meta_trained import meta_model_of_sources, morphling, tasks_of
from searchers.baselines.from_sources.source_values import sources_of
from searchers.morphling.morphling import PRICE_COLUMN, Morphling, inputs_of, pretrained
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space

torch.set_num_threads(1)
RNG = np.random.default_rng
SPACE = Space([Knob("batch", (1, 2, 4, 8)), Knob("fixed", (3,))])
PRICED = Objective(Expression("rps / usd_per_hour"))
USD = np.array([1.0, 2, 4, 8])


def task(space: Space, *rps: float, **more: float) -> Task:
    return Task("t", space, tuple(Observation(i, {"rps": r, **more}) for i, r in enumerate(rps)))


def test_tasks_are_fractions_of_each_sources_best_over_this_problems_inputs():
    elsewhere = task(Space([Knob("batch", (4, 16))]), 2.0, 8.0, usd_per_hour=1.0)
    problem = Problem(SPACE, PRICED, USD, sources=(task(SPACE, 1.0, 4, 12, 8), elsewhere))
    raw, columns = inputs_of(problem)
    tasks = tasks_of(sources_of(problem), raw, columns, problem)
    assert tasks.columns == (*SPACE.columns, PRICE_COLUMN) and tasks.y.shape == (2, 4)
    here = {(*row[:3], y) for row, y in zip(tasks.x[0].tolist(), tasks.y[0].tolist(), strict=True)}
    # Values per dollar 1, 2, 3 and 1, of which 3 is the best; log2 of batch, the constant, log2 of the relative price.
    expected = np.array(
        sorted((b, raw[0, 1], p, v) for b, p, v in [(0, -1.5, 1 / 3), (1, -0.5, 2 / 3), (2, 0.5, 1), (3, 1.5, 1 / 3)])
    )
    np.testing.assert_allclose(np.array(sorted(here)), expected, rtol=1e-5)
    # Each of the two configurations of another space occurs twice; its price column is at this space's mean.
    there = sorted(zip(tasks.x[1, :, 0].tolist(), tasks.x[1, :, 2].tolist(), tasks.y[1].tolist(), strict=True))
    np.testing.assert_allclose(there, [(2, 0, 0.25)] * 2 + [(4, 0, 1)] * 2, atol=1e-6)


def test_the_model_standardises_as_it_was_trained(monkeypatch):
    monkeypatch.setattr(meta_trained, "_EPISODES", 2)
    problem = Problem(SPACE, PRICED, USD, sources=(task(SPACE, 1.0, 4, 12, 8),))
    model = meta_model_of_sources(problem)
    assert model is not None and model.columns == (*SPACE.columns, PRICE_COLUMN)
    inputs, unknown = model.standardise(*inputs_of(problem))
    assert not unknown and inputs.mean(axis=0) == pytest.approx([0, 0, 0])
    assert inputs.std(axis=0) == pytest.approx([1, 0, 1])


def test_without_sources_the_shipped_model_searches():
    problem = Problem(SPACE, PRICED, USD)
    assert meta_model_of_sources(problem) is None
    ours, shipped = morphling(problem), Morphling(problem, pretrained())
    history = History().observe(0, {"rps": 2.0})
    assert ours.suggest(history, RNG(0)) == shipped.suggest(history, RNG(0))
    assert torch.equal(ours._weights["w1"], pretrained().weights["w1"])


def test_training_on_services_that_like_the_middle_starts_there(monkeypatch):
    monkeypatch.setattr(meta_trained, "_EPISODES", 150)
    space = Space([Knob("batch", tuple(2**i for i in range(9)))])
    sources = tuple(task(space, *(size * np.exp(-((np.arange(9) - 4) ** 2) / 4))) for size in (1.0, 3.0, 9.0))
    problem = Problem(space, Objective(Expression("rps")), sources=sources)
    assert morphling(problem).suggest(History(), RNG(0)) in (3, 4, 5)
