import numpy as np
import pytest
import torch
from torch.func import grad, vmap

from searchers.baselines.ernest import fit
from searchers.morphling import maml
from searchers.morphling.maml import Tasks, adapt
from searchers.morphling.mlp import initial_weights, predict, squared_error

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
    with pytest.raises(ValueError, match="must have shape \\[2, 5, 1\\]"):
        Tasks(torch.zeros(2, 5, 3), torch.zeros(2, 5), ("a",))
    shared = Tasks(torch.arange(5.0)[:, None], torch.arange(10.0).view(2, 5), ("a",))
    x, y = shared.draw(3, 4, torch.Generator().manual_seed(0))
    assert x.shape == (3, 4, 1) and torch.equal(y % 5, x[..., 0])
    assert all(len(set(row.tolist())) == 4 for row in x[..., 0])


def test_the_outer_gradient_of_the_loss_is_the_finite_difference_through_the_adaptation():
    """Of `task_loss` itself, as it is trained by: a detached inner step would make MAML first order."""
    weights, mask = small(), torch.ones(2, 3, dtype=torch.float64)
    (x, y), (xq, yq) = batch(t=1)

    def loss(w):
        return maml.task_loss(w, (x[0], y[0]), (xq[0], yq[0]), mask, 0.3)

    exact, h = grad(loss)(weights), 1e-6
    adapted = adapt(weights, x[0], y[0], step_size=0.3, steps=2)
    first_order = grad(squared_error)(adapted, xq[0], yq[0], torch.ones(6))
    for name, i in (("w0", 0), ("w1", 7), ("w2", 2), ("b1", 3), ("b2", 0)):
        up, down = (dict(weights) for _ in range(2))
        for w, sign in ((up, 1), (down, -1)):
            w[name] = w[name].clone()
            w[name].view(-1)[i] += sign * h
        numeric = (loss(up) - loss(down)).item() / (2 * h)
        assert exact[name].flatten()[i].item() == pytest.approx(numeric, rel=1e-5, abs=1e-9)
    assert not torch.allclose(exact["b2"], first_order["b2"], rtol=0.05)


def test_the_first_outer_step_goes_down_the_second_order_gradient():
    """Adam's first step is its step size times the gradient's sign: here that of the finite difference."""
    weights = {name: w.float() for name, w in small().items()}
    (x, y), _ = batch(t=1, k=9)
    tasks = Tasks(x.float(), y.float(), ("a", "b", "c"))

    def ordered(theta, x, y, generator):
        return x[:, :6], y[:, :6]

    losses = []
    trained = maml.meta_train(
        tasks, weights, step_size=0.2, meta_step_size=0.01, shots=3, episodes=1, order=ordered,
        generator=torch.Generator().manual_seed(4), tasks_per_episode=1, points_asked=3,
        progress=lambda episode, loss: losses.append((episode, loss)),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(4)
    torch.randint(1, (1,), generator=generator)  # which schedule
    xs, ys = (a[0, :6] for a in tasks.draw(1, 6, generator))

    def loss(w):
        adapted = adapt(w, xs[:3], ys[:3], step_size=0.2, steps=1)
        return ((predict(adapted, xs) - ys) ** 2).mean()

    assert losses == [(0, pytest.approx(loss(weights).item(), rel=1e-5))]
    for name, gradient in grad(loss)(weights).items():
        clear = gradient.abs() > 1e-6
        assert torch.allclose((trained[name] - weights[name])[clear], -0.01 * gradient.sign()[clear], rtol=1e-2)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")  # the optimizer rightly took no step
def test_an_episode_that_diverges_changes_nothing_and_two_seeds_train_differently():
    tasks = sinusoids(20, torch.Generator().manual_seed(0))
    start = initial_weights(1, torch.Generator().manual_seed(0))

    def train(seed, **more):
        options = {"step_size": 0.1, "meta_step_size": 1e-2, "shots": 5, "episodes": 3} | more
        generator = torch.Generator().manual_seed(seed)
        return maml.meta_train(tasks, start, generator=generator, tasks_per_episode=4, points_asked=8, **options)

    diverged = train(0, step_size=1e30, schedules=[torch.ones(4, 5)])
    assert all(torch.equal(diverged[name], start[name]) for name in start)
    one, same, other = train(0), train(0), train(1)
    assert torch.equal(one["w1"], same["w1"]) and not torch.equal(one["w1"], other["w1"])
    assert not torch.equal(one["w1"], start["w1"]) and not one["w1"].requires_grad


def test_points_as_searched_go_from_greedy_to_random():
    weights = {**small(d=1, hidden=4), "w0": torch.ones(1, 4, dtype=torch.float64), "b2": torch.zeros(1).double()}
    weights |= {"w1": torch.eye(4, dtype=torch.float64), "w2": torch.full((4, 1), 0.25, dtype=torch.float64)}
    x = torch.linspace(0, 1, 12, dtype=torch.float64)[torch.randperm(12, generator=torch.Generator().manual_seed(0))]
    assert torch.allclose(predict(weights, x[:, None]), x)  # the network says x itself
    xs, ys = maml.as_searched(
        weights, x.expand(400, 12)[..., None], (10 + x).expand(400, 12), torch.Generator().manual_seed(1)
    )
    assert torch.allclose(ys, 10 + xs[..., 0])  # values stay with their points
    assert torch.allclose(xs[..., 0].sort(dim=1).values, x.sort().values.expand(400, 12))
    downhill = (xs[:, :-1, 0] > xs[:, 1:, 0]).double().mean(dim=1)
    assert downhill.max() == 1 and downhill.min() < 0.6 and 0.6 < downhill.mean() < 0.9
    drawn = maml.as_drawn(weights, xs, ys, torch.Generator())
    assert drawn[0] is xs and drawn[1] is ys


def test_the_unit_is_least_squares_over_what_counts_and_predictions_are_at_least_a_fifth():
    predicted, values = torch.tensor([0.5, 0.4, -3.0, 0.9]), torch.tensor([3.0, 1.0, 2.0, 0.0])
    by_hand = (0.5 * 3 + 0.4 * 1 + 0.2 * 2) / (0.25 + 0.16 + 0.04)
    assert maml.unit_of(predicted, values).item() == pytest.approx(by_hand)
    assert maml.unit_of(predicted, torch.tensor([9.0, 1.0, 2.0, 0.0])).item() == pytest.approx(5.3 / 0.45)
    assert maml.known_unit(predicted, values) == 1


def test_a_loss_in_an_unknown_unit_is_in_the_values_own():
    weights, mask = small(), torch.ones(2, 3, dtype=torch.float64)
    (x, y), (xq, yq) = batch(t=1)
    found = maml.task_loss(weights, (x[0], 40 * y[0]), (xq[0], 40 * yq[0]), mask, 0.1, maml.unit_of)
    unit = maml.unit_of(predict(weights, x[0]), 40 * y[0])
    adapted = adapt(weights, x[0], 40 * y[0] / unit, step_size=0.1, steps=2)
    assert found.item() == pytest.approx(((unit * predict(adapted, xq[0]) - 40 * yq[0]) ** 2).mean().item())


def test_each_step_sees_the_points_of_its_own_row():
    weights = small()
    (x, y), _ = batch(t=1)
    found = adapt(weights, x[0], y[0], step_size=0.1, steps=3, mask=torch.tril(torch.ones(3, 3, dtype=torch.float64)))
    theta = dict(weights)
    for seen in (1, 2, 3):
        theta = adapt(theta, x[0, :seen], y[0, :seen], step_size=0.1, steps=1)
    assert all(torch.allclose(found[name], theta[name]) for name in weights)


def test_tasks_are_drawn_at_random_points_without_repetition_and_features_stay_with_values():
    x = torch.arange(30.0).view(3, 10, 1)
    tasks = Tasks(x, 100 + x[..., 0], ("a",))
    xs, ys = tasks.draw(200, 6, torch.Generator().manual_seed(0))
    assert xs.shape == (200, 6, 1) and torch.equal(ys, 100 + xs[..., 0])
    assert all(len(set(row)) == 6 and len({int(v) // 10 for v in row}) == 1 for row in xs[..., 0].tolist())
    assert {int(row[0]) // 10 for row in xs[..., 0].tolist()} == {0, 1, 2}
    assert tasks.draw(2, 99, torch.Generator())[0].shape == (2, 10, 1)
