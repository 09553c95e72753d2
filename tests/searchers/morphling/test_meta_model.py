"""What a meta-model carries beside its weights."""

import numpy as np
import pytest
import torch

from searchers.morphling.maml import adapt
from searchers.morphling.meta_model import MetaModel
from searchers.morphling.mlp import initial_weights, predict

torch.set_num_threads(1)


def small(d):
    return initial_weights(d, torch.Generator().manual_seed(0), hidden=5, dtype=torch.float64)


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


def test_standardised_columns_are_where_their_names_say_whatever_their_order():
    model = MetaModel(small(3), ("a", "b", "c"), np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 5.0]), 0.05)
    features = np.array([[7.0, 10.0, 3.0]])
    inputs, unknown = model.standardise(features, ("c", "b", "a"))
    assert unknown == () and inputs.tolist() == [[1.0, 2.0, 0.8]]
    assert model.weights_for(0)["w0"].shape == (3, 5)
    assert not model.weights_for(2)["w0"][3:].any() and torch.equal(model.weights_for(2)["w0"][:3], model.weights["w0"])


def test_a_file_without_a_model_names_the_command(tmp_path):
    with pytest.raises(ValueError, match="is not a meta-model file.*meta-train --model morphling"):
        MetaModel.load(tmp_path / "nothing")
