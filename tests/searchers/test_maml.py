import numpy as np
import pytest
import torch
from torch.func import grad, vmap

from searchers import maml
from searchers.baselines.ernest import fit
from searchers.maml import Tasks, adapt
from searchers.meta_model import MetaModel
from searchers.mlp import initial_weights, predict, squared_error

torch.set_num_threads(1)


def small(d=3, hidden=5, dtype=torch.float64, seed=0):
    return initial_weights(d, torch.Generator().manual_seed(seed), hidden=hidden, dtype=dtype)


def batch(t=4, k=3, q=6, d=3, seed=1):
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.rand(*shape, generator=g, dtype=torch.float64)

    return (draw(t, k, d), draw(t, k)), (draw(t, q, d), draw(t, q))


def test_meta_gradient_is_the_finite_difference():
    weights, mask = small(), torch.tril(torch.ones(3, 3, dtype=torch.float64))
    (x, y), (xq, yq) = batch()

    def objective(w):
        # No unit here: it is held constant in the gradient, which a finite difference would not do.
        def one(x, y, xq, yq):
            return squared_error(adapt(w, x, y, step_size=0.1, steps=3, mask=mask), xq, yq, torch.ones(6))

        return vmap(one)(x, y, xq, yq).mean()

    exact, h = grad(objective)(weights), 1e-6
    for name, value in weights.items():
        flat = value.flatten()
        for i in (0, len(flat) // 2, len(flat) - 1):
            step = torch.zeros_like(flat)
            step[i] = h
            up, down = ({**weights, name: (flat + s * step).view_as(value)} for s in (1, -1))
            numeric = (objective(up) - objective(down)) / (2 * h)
            assert exact[name].flatten()[i].item() == pytest.approx(numeric.item(), rel=1e-5, abs=1e-9)


def test_second_order_differs_from_first_order():
    weights = small()
    (x, y), (xq, yq) = batch(t=1)

    def through(w):
        return squared_error(adapt(w, x[0], y[0], step_size=0.1, steps=1), xq[0], yq[0], torch.ones(6))

    adapted = adapt(weights, x[0], y[0], step_size=0.1, steps=1)
    first_order = grad(squared_error)(adapted, xq[0], yq[0], torch.ones(6))
    assert not torch.allclose(grad(through)(weights)["w1"], first_order["w1"], rtol=1e-3)


def test_vmap_over_tasks_equals_a_loop():
    weights, mask = small(), torch.tril(torch.ones(3, 3, dtype=torch.float64))
    seen, asked = batch()
    together = vmap(maml.task_loss, in_dims=(None, 0, 0, None, None, None))(
        weights, seen, asked, mask, 0.1, maml.unit_of
    )
    alone = [
        maml.task_loss(weights, (seen[0][i], seen[1][i]), (asked[0][i], asked[1][i]), mask, 0.1, maml.unit_of)
        for i in range(4)
    ]
    assert torch.allclose(together, torch.stack(alone), rtol=1e-12)


def test_adapt_is_gradient_descent_by_hand_and_masks_points():
    weights = small()
    (x, y), _ = batch(t=1)
    one = adapt(weights, x[0], y[0], step_size=0.1, steps=1, mask=torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64))
    free = {name: value.clone().requires_grad_() for name, value in weights.items()}
    (((predict(free, x[0]) - y[0]) ** 2)[[0, 2]].mean()).backward()
    for name, value in free.items():
        assert torch.allclose(one[name], (value - 0.1 * value.grad).detach())
    nothing = adapt(weights, x[0], y[0], step_size=0.1, steps=2, mask=torch.zeros(3, dtype=torch.float64))
    assert all(torch.equal(nothing[name], weights[name]) for name in weights)


def test_unit_of_recovers_the_best_value():
    fractions = torch.tensor([0.5, 1.0, 0.2, 0.7])
    values = 40 * fractions
    assert maml.unit_of(fractions, values) == pytest.approx(40)
    values[3] = 0  # A failure says nothing of the unit.
    assert maml.unit_of(fractions, values) == pytest.approx(40)
    assert maml.unit_of(torch.tensor([2.0, 3.0]), torch.tensor([5.0, 9.0])) == 9  # Never below the best seen.
    assert maml.unit_of(fractions, torch.zeros(4)) == 1


def sinusoids(t, generator):
    """Finn et al. 2017, section 5.1: amplitude 0.1-5, phase 0-π, x from -5 to 5; here raised above 0."""
    amplitude = 0.1 + 4.9 * torch.rand(t, 1, generator=generator)
    phase = torch.pi * torch.rand(t, 1, generator=generator)
    x = 10 * torch.rand(t, 80, generator=generator) - 5
    y = (1 + amplitude * torch.sin(x - phase) / 5) / 2
    return Tasks((x / 5)[..., None], y / y.amax(dim=1, keepdim=True), ("x",))


def test_adaptation_beats_training_from_scratch_on_sinusoids():
    g = torch.Generator().manual_seed(0)
    losses = []
    weights = maml.meta_train(
        sinusoids(500, g), initial_weights(1, g), step_size=0.1, meta_step_size=2e-3, shots=10, episodes=300,
        generator=g, progress=lambda episode, loss: losses.append(loss),
        schedules=[torch.ones(3, 10)], tasks_per_episode=16, points_asked=40,
    )  # fmt: skip
    assert np.mean(losses[-50:]) < 0.5 * np.mean(losses[:50])
    before, adapted, scratch = [], [], []
    tests = sinusoids(20, g)
    for x, y in zip(tests.x, tests.y, strict=True):
        seen, asked, every = (x[:10], y[:10]), (x[10:], y[10:]), torch.ones(70)
        before.append(squared_error(weights, *asked, every).item())
        theta = adapt(weights, *seen, step_size=0.1, steps=3)
        adapted.append(squared_error(theta, *asked, every).item())
        scratch.append(squared_error(fit(*seen, steps=3, step_size=0.01, generator=g), *asked, every).item())
    assert np.mean(adapted) < 0.7 * np.mean(before)
    assert np.mean(adapted) < 0.3 * np.mean(scratch)


def test_tasks_refuse_shapes_that_do_not_match():
    with pytest.raises(ValueError, match="2 tasks of 5 points and 1 columns"):
        Tasks(torch.zeros(2, 5, 3), torch.zeros(2, 5), ("a",))
    shared = Tasks(torch.arange(5.0)[:, None], torch.arange(10.0).view(2, 5), ("a",))
    x, y = shared.draw(3, 4, torch.Generator().manual_seed(0))
    assert x.shape == (3, 4, 1) and torch.equal(y % 5, x[..., 0])
    assert all(len(set(row.tolist())) == 4 for row in x[..., 0])


def test_meta_model_survives_the_file_bit_by_bit(tmp_path):
    model = MetaModel(small(2), ("b", "a"), np.array([1.0, 2.0]), np.array([3.0, 4.0]), 0.05, {"seed": 7})
    model.save(tmp_path / "m.safetensors")
    again = MetaModel.load(tmp_path / "m.safetensors")
    assert (again.columns, again.step_size, again.card) == (model.columns, 0.05, {"seed": 7})
    assert np.array_equal(again.mean, model.mean) and np.array_equal(again.scale, model.scale)
    assert all(torch.equal(again.weights[name], model.weights[name]) for name in model.weights)


def test_columns_are_matched_by_name():
    model = MetaModel(small(2), ("b", "a"), np.array([1.0, 2.0]), np.array([3.0, 4.0]), 0.05)
    features = np.array([[6.0, 10.0, 5.0], [10.0, 30.0, 5.0]])
    inputs, unknown = model.standardise(features, ("a", "new", "constant"))
    assert unknown == ("new", "constant")
    # b is missing, so 0; a is (6-2)/4 and (10-2)/4; new is standardised over the space.
    assert inputs.tolist() == [[0, 1, -1, 0], [0, 2, 1, 0]]
    weights = model.weights_for(len(unknown))
    x = torch.from_numpy(inputs)
    assert torch.equal(predict(weights, x), predict(model.weights, x[:, :2]))
    moved = adapt(weights, x, torch.tensor([0.0, 1.0], dtype=torch.float64), step_size=0.1, steps=1)
    assert moved["w0"][2].abs().sum() > 0


def test_meta_model_refuses_what_does_not_match(tmp_path):
    with pytest.raises(ValueError, match="1 columns"):
        MetaModel(small(2), ("a",), np.zeros(1), np.ones(1), 0.1)
    with pytest.raises(ValueError, match="positive scale"):
        MetaModel(small(1), ("a",), np.zeros(1), np.zeros(1), 0.1)
