"""The network against numpy."""

import numpy as np
import pytest
import torch

from searchers.morphling.mlp import HIDDEN, initial_weights, predict, squared_error

torch.set_num_threads(1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_predict_is_two_hidden_layers_of_relu():
    weights = initial_weights(3, generator(), hidden=4, dtype=torch.float64)
    weights = {name: w + 0.1 if name[0] == "b" else w for name, w in weights.items()}
    x = np.random.default_rng(0).normal(size=(5, 3))
    w = {name: value.numpy() for name, value in weights.items()}
    hidden = np.maximum(0, np.maximum(0, x @ w["w0"] + w["b0"]) @ w["w1"] + w["b1"])
    assert predict(weights, torch.from_numpy(x)).numpy() == pytest.approx((hidden @ w["w2"] + w["b2"])[:, 0])


def test_weights_have_the_variance_of_he_and_the_last_layer_a_hundredth_of_it():
    weights = initial_weights(50, generator())
    shapes = {
        "w0": (50, HIDDEN),
        "w1": (HIDDEN, HIDDEN),
        "w2": (HIDDEN, 1),
        "b0": (HIDDEN,),
        "b1": (HIDDEN,),
        "b2": (1,),
    }
    assert {name: tuple(value.shape) for name, value in weights.items()} == shapes
    assert HIDDEN == 128 and all(not weights[name].any() for name in ("b0", "b1", "b2"))
    # A standard deviation from m numbers is known to 1/√(2m) of itself: 128 numbers at least, four times that.
    assert weights["w0"].std().item() == pytest.approx((2 / 50) ** 0.5, rel=0.05)
    assert weights["w1"].std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.05)
    assert weights["w2"].std().item() == pytest.approx(0.1 * (2 / 128) ** 0.5, rel=0.25)


def test_another_seed_gives_other_weights_and_the_same_one_the_same():
    one, same, other = (initial_weights(2, generator(seed))["w1"] for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert initial_weights(0, generator())["w0"].shape == (0, HIDDEN)
    assert initial_weights(2, generator(), dtype=torch.float64)["b0"].dtype == torch.float64


def test_the_error_is_the_mean_over_the_points_that_count():
    weights = initial_weights(1, generator())
    x, y = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([5.0, 7.0, 9.0])
    by_hand = ((predict(weights, x) - y) ** 2).tolist()
    assert squared_error(weights, x, y, torch.ones(3)).item() == pytest.approx(sum(by_hand) / 3)
    assert squared_error(weights, x, y, torch.tensor([1.0, 0.0, 1.0])).item() == pytest.approx(
        (by_hand[0] + by_hand[2]) / 2
    )
    assert squared_error(weights, x, y, torch.zeros(3)).item() == 0
