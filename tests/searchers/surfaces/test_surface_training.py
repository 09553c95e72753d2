"""Training of surfaces on a few services of one law, and the model that comes of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from searchers.base import Observation, Task
from searchers.quantities import ROLES
from searchers.space import Knob, Space
from searchers.surfaces import net, training
from searchers.surfaces.belief import SurfaceModel
from searchers.surfaces.families import latent_mean
from searchers.surfaces.tasks import inputs_of, kinds, shelve, studied
from searchers.surfaces.training import Training, train

torch.set_num_threads(1)
RNG = np.random.default_rng


def service(rng) -> Task:
    size = float(np.exp(rng.uniform(0, 2)))
    space = Space([Knob("max_batch_size", (1, 2, 4, 8, 16))])
    rows = [{"rps": 5 * float(space[i]["max_batch_size"]) ** (0.3 * size)} for i in range(4)]
    return Task("s", space, tuple(Observation(i, m) for i, m in enumerate([*rows, None])), {"size": size})


SHORT = Training(steps=60, latents=2, tasks_per_step=16, points_per_task=5)


def test_training_lowers_the_loss_says_its_steps_and_depends_on_its_seed():
    rng, said = RNG(0), []
    services = [service(rng) for _ in range(12)]
    one = train(services, SHORT, 0, progress=lambda step, loss: said.append((step, loss)))
    assert [step for step, _ in said] == list(range(60))
    losses = [loss for _, loss in said]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])
    same, other = train(services, SHORT, 0), train(services, SHORT, 1)
    assert torch.equal(one.weights["x0"], same.weights["x0"]) and not torch.equal(
        one.weights["x0"], other.weights["x0"]
    )
    assert not any(value.requires_grad for value in one.weights.values())


def test_the_loss_is_a_mean_and_does_not_grow_with_how_many_are_drawn():
    rng, said = RNG(0), []
    services = [service(rng) for _ in range(12)]
    for tasks_per_step in (20, 200):
        once = replace(SHORT, steps=1, blur=0.0, tasks_per_step=tasks_per_step)
        train(services, once, 0, progress=lambda step, loss: said.append(loss))
    assert said[1] == pytest.approx(said[0], rel=0.5)


def test_a_task_of_no_weight_teaches_nothing():
    rng = RNG(0)
    services = [service(rng) for _ in range(4)]
    lie = Task(
        "lie", services[0].space, tuple(Observation(i, {"rps": 10.0 ** (4 - i)}) for i in range(5)), {"size": 3.0}
    )
    weights = np.array([1.0, 1.0, 1.0, 1.0, 0.0])
    said: dict[bool, list[float]] = {True: [], False: []}
    for lied in (True, False):
        told = weights if lied else None

        def progress(step, loss, to=said[lied]):
            to.append(loss)

        train([*services, lie], SHORT, 0, weights=told, progress=progress)
    assert np.mean(said[True][-10:]) < 0.5 * np.mean(said[False][-10:])


# Each task's own latents


def fitted(services: list[Task], asked: Training, seed: int = 0) -> tuple[dict[str, torch.Tensor], np.ndarray, float]:
    """Weights, every task's own latents, and the loss of the last step."""
    rows, losses = [studied(task) for task in services], [0.0]
    shelf = shelve(rows, inputs_of(rows), asked.points, RNG(0))
    weight = np.array([0.0, *[1.0] * (len(services) - 1)])  # the first is never drawn
    found = training._fit(shelf, kinds(shelf), weight, asked, seed, lambda step, loss: losses.append(loss))
    return *found, losses[-1]


def test_the_first_step_is_one_size_for_weights_and_another_for_each_task_that_was_drawn():
    services = [service(RNG(i)) for i in range(6)]
    asked = replace(SHORT, step_size=1e-3, latent_step_size=0.05)
    before, after = (fitted(services, replace(asked, steps=steps)) for steps in (0, 1))
    # Adam's first step is its step size along each coordinate, whatever the slope.
    for name in ("x1", "z0", "z1", "m0"):
        assert (after[0][name] - before[0][name]).abs().max().item() == pytest.approx(1e-3, rel=1e-2), name
    moved = np.abs(after[1] - before[1])
    assert moved[1:].max() == pytest.approx(0.05, rel=1e-2) and moved[1:].min() > 0.8 * 0.05 and not moved[0].any()


def test_what_is_a_tasks_own_costs_its_square():
    # They begin at a tenth of standard normal numbers: 400 squares of these are 4 in all.
    services = [service(RNG(i)) for i in range(6)]
    asked = replace(SHORT, steps=1, latents=400, blur=0.0)
    losses = {prior: fitted(services, replace(asked, prior=prior))[2] for prior in (0.0, 1.0, 10.0)}
    assert losses[1.0] - losses[0.0] == pytest.approx(4.0, rel=0.1)
    assert losses[10.0] - losses[0.0] == pytest.approx(10 * (losses[1.0] - losses[0.0]), rel=1e-4)


# The model


def test_draws_of_a_service_are_its_facts_mean_and_the_rest():
    model = train([service(RNG(i)) for i in range(6)], replace(SHORT, steps=2), 0)
    (g,) = range(len(model.families))
    rng = RNG(3)
    found = model.latents(("log2_max_batch_size",), {"size": 2.0}, 5, RNG(3))
    rng.choice(1, 5, p=[1.0])
    rng.standard_normal((5, 1))
    rest = rng.standard_normal((5, 2))
    u = model.inputs.of_facts({"size": 2.0})
    expected = model.mean_latents(u[None], g) + model.families.rest(g, rest)
    assert found == pytest.approx(expected) and found.std(axis=0).min() > 0
    by_net = latent_mean(model.weights, torch.from_numpy(u[None]).float(), torch.ones(1, 1)).numpy()
    assert model.mean_latents(u[None], 0) == pytest.approx(by_net)


def test_the_logit_is_as_it_is_and_logarithms_are_centred():
    model = train([service(RNG(i)) for i in range(6)], replace(SHORT, steps=2), 0)
    space = Space([Knob("max_batch_size", (1, 4, 64))])
    found = model.sample(space, {"size": 2.0}, 3, RNG(0))
    z = torch.from_numpy(model.latents(space.columns, {"size": 2.0}, 3, RNG(0))).float()
    x = torch.from_numpy(model.inputs.of_space(space.features, space.columns)).float()
    out = net.surface(model.weights, x, z).numpy().astype(float)
    assert found.runs == pytest.approx(out[..., -1])
    for i, role in enumerate(ROLES):
        assert found.log[role] == pytest.approx(out[..., i] - out[..., i].mean(axis=1, keepdims=True))


def test_a_file_keeps_every_part(tmp_path):
    trained = train([service(RNG(i)) for i in range(6)], replace(SHORT, steps=1), 0)
    model = replace(trained, card={"seed": 3})
    model.save(tmp_path / "m")
    again = SurfaceModel.load(tmp_path / "m")
    assert again.card == {"seed": 3} and again.inputs.columns == model.inputs.columns
    assert all(torch.equal(again.weights[name], value) for name, value in model.weights.items())
    for part in ("inputs", "families"):
        for name, value in vars(getattr(model, part)).items():
            assert np.array_equal(getattr(getattr(again, part), name), value)
