"""How long the baselines train: stored trajectories train for less, as choices after long training differ by CPU."""

from typing import Any

import numpy as np
import torch

from searchers.base import Observation, Problem, Task
from searchers.baselines import gaussian_process
from searchers.baselines.from_sources import finetune, meta_trained, quantile_transfer
from searchers.baselines.from_sources.finetune import pretrained_on_sources
from searchers.morphling.mlp import initial_weights
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space

torch.set_num_threads(1)
SPACE = Space([Knob("batch", (1, 2, 4))])


def test_fine_tuning_begins_with_a_thousand_steps_on_all_sources(monkeypatch):
    asked: list[Any] = []

    def trained(weights, x, y, **options):
        asked.append((x.tolist(), y.tolist(), options["steps"], options["step_size"]))
        return weights

    monkeypatch.setattr(finetune, "trained", trained)
    sources = (
        Task("a", SPACE, (Observation(0, {"rps": 2.0}), Observation(2, {"rps": 8.0}))),
        Task("b", SPACE, (Observation(1, {"rps": 5.0}),)),
    )
    assert pretrained_on_sources(Problem(SPACE, Objective(Expression("rps")), sources=sources)) is not None
    assert asked == [([[0.0], [1.0], [0.5]], [0.25, 1.0, 1.0], 1000, 0.003)]


def test_morphlings_meta_model_is_trained_by_400_episodes_of_all_points_up_to_20(monkeypatch):
    asked: list[Any] = []

    def trained(tasks, **options):
        asked.append({name: value for name, value in options.items() if name != "generator"})
        return initial_weights(len(tasks.columns), options["generator"])

    monkeypatch.setattr(meta_trained, "meta_train_for_search", trained)
    sources = (Task("a", SPACE, (Observation(0, {"rps": 2.0}), Observation(2, {"rps": 8.0}))),)
    model = meta_trained.meta_model_of_sources(Problem(SPACE, Objective(Expression("rps")), sources=sources))
    assert asked == [{"step_size": 0.01, "meta_step_size": 0.003, "shots": 2, "episodes": 400, "tasks_per_episode": 16}]
    assert model is not None and model.step_size == 0.01


def test_usual_scores_are_trained_by_200_steps_of_each_of_three_sizes(monkeypatch):
    trained: list[tuple[float, int]] = []

    class Counts:
        def __init__(self, parameters, lr):
            self.lr, self.steps = lr, 0

        def zero_grad(self):
            self.steps += 1

        def step(self):
            if self.steps == 1:
                trained.append((self.lr, 0))
            trained[-1] = (self.lr, self.steps)

    monkeypatch.setattr(torch.optim, "Adam", Counts)
    quantile_transfer._fitted(torch.zeros(4, 1), torch.zeros(4))
    assert trained == [(0.01, 200), (0.001, 200), (0.0001, 200)]


def test_a_process_is_fitted_by_forty_steps_of_a_line_search(monkeypatch):
    asked = []
    monkeypatch.setattr(gaussian_process, "fit_gpytorch_mll_scipy", lambda _, options: asked.append(options))
    gaussian_process.fit(np.array([[0.0], [1.0]]), np.array([1.0, 2.0]))
    assert asked == [{"maxiter": 40}]
