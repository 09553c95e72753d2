"""Parts of the surfaces by hand: inputs, families, network, tasks as arrays, and what training makes of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from searchers.base import Observation, Task
from searchers.quantities import ROLES
from searchers.space import Knob, Space
from searchers.surfaces import net, tasks, training
from searchers.surfaces.families import Families, family_probabilities, latent_mean
from searchers.surfaces.inputs import Inputs, is_quantity
from searchers.surfaces.tasks import Kinds, Shelf, inputs_of, kinds, shelve, studied

torch.set_num_threads(1)
RNG = np.random.default_rng

INPUTS = Inputs(
    ("a", "b"), np.array([1.0, 2.0]), np.array([2.0, 0.5]), ("f", "g"), np.array([0.0, 1.0]), np.array([1.0, 2.0])
)


# Inputs


def test_columns_are_found_by_name_standardised_and_said_to_be_there():
    found = INPUTS.of_space(np.array([[5.0, 9.0], [1.0, 9.0]]), ("a", "elsewhere"))
    assert found.tolist() == [[2, 0, 1, 0], [0, 0, 1, 0]]
    assert INPUTS.of_space(np.array([[2.5, 3.0]]), ("b", "a")).tolist() == [[1, 1, 1, 1]]
    assert INPUTS.known(("b", "c", "a")) == ("b", "a")


def test_inputs_end_four_standard_deviations_out():
    assert INPUTS.of_space(np.array([[99.0, -99.0]]), ("a", "b")).tolist() == [[4, -4, 1, 1]]
    assert INPUTS.of_facts({"f": 1e30, "g": 1e-30}).tolist() == [4, -4]


def test_facts_are_standardised_logarithms_and_nan_where_missing():
    found = INPUTS.of_facts({"g": float(np.e**2), "elsewhere": -5.0})
    assert np.isnan(found[0]) and found[1] == pytest.approx(0.5)
    for bad in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="facts must be positive numbers"):
            INPUTS.of_facts({"f": bad})


@pytest.mark.parametrize("change", [{"mean": np.zeros(1)}, {"scale": np.ones(3)}, {"scale": np.array([1.0, 0.0])},
                                    {"fact_mean": np.zeros(3)}, {"fact_scale": np.array([-1.0, 1.0])}])  # fmt: skip
def test_inputs_that_do_not_match_are_refused(change):
    with pytest.raises(ValueError, match="2 inputs needs one mean and one positive scale"):
        replace(INPUTS, **change)


def test_one_value_of_a_knob_that_nobody_knows_is_no_quantity():
    assert is_quantity("log2_gpus") and not is_quantity("engine=vllm")


# Families


def families() -> Families:
    return Families(
        np.array([[1.0, 0.0], [0.5, 1.0]]), np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]),
        np.array([[1.0, 2.0, 0.0], [0.0, -1.0, 0.0]]),
        np.array([[[1.0, 0.6, 0], [0.6, 0.5, 0], [0, 0, 0]], [[0, 0, 0], [0, 2.0, 0], [0, 0, 0]]]),
        np.array([[0.0, 1.0], [5.0, 6.0]]), np.array([[[4.0, 1.0], [1.0, 2.0]], np.eye(2)]),
    )  # fmt: skip


def test_families_are_told_by_naive_bayes():
    nothing, first = np.array([True, False]), np.array([0.5, np.nan, np.nan])
    # Shares are kept from 0 and 1 by 0.02. Columns: .98 · .98 against .5 · .02; the fact: .98 against .02.
    one, other = 0.98 * 0.98 * 0.98, 0.5 * 0.02 * 0.02
    found = families().probabilities(nothing, first)
    assert found == pytest.approx([one / (one + other), other / (one + other)])
    unknown = family_probabilities(families().columns, families().facts, np.array([True, True]), np.full(3, np.nan))
    one, other = 0.98 * 0.02, 0.5 * 0.98
    assert unknown == pytest.approx([one / (one + other), other / (one + other)])
    assert len(families()) == 2


def test_missing_facts_are_conditioned_on_the_given_ones():
    u = np.array([3.0, np.nan, np.nan])
    noise = RNG(0).standard_normal((20_000, 3))
    found = families().complete(u, 0, noise)
    assert (found[:, 0] == 3).all() and (found[:, 2] == 0).all()
    # Mean 2 + .6 / 1 · (3 - 1), variance .5 - .6².
    assert found[:, 1].mean() == pytest.approx(3.2, abs=0.01)
    assert found[:, 1].var() == pytest.approx(0.14, rel=0.05)
    assert families().complete(u, 0, np.zeros((1, 3)))[0] == pytest.approx([3, 3.2, 0], abs=1e-4)


def test_with_no_fact_given_all_are_drawn_and_a_fact_that_the_family_lacks_is_0():
    found = families().complete(np.full(3, np.nan), 0, RNG(0).standard_normal((40_000, 3)))
    assert found[:, :2].mean(axis=0) == pytest.approx([1, 2], abs=0.02)
    assert np.cov(found[:, :2].T) == pytest.approx(np.array([[1, 0.6], [0.6, 0.5]]), abs=0.03)
    assert (families().complete(np.array([7.0, 1.0, 7.0]), 1, np.zeros((1, 3))) == [[0, 1, 0]]).all()


def test_what_facts_do_not_tell_has_the_familys_mean_and_covariance():
    found = families().rest(0, RNG(0).standard_normal((40_000, 2)))
    assert found.mean(axis=0) == pytest.approx([0, 1], abs=0.05)
    assert np.cov(found.T) == pytest.approx(np.array([[4, 1], [1, 2]]), abs=0.1)
    assert families().rest(1, np.zeros((1, 2)))[0] == pytest.approx([5, 6])


@pytest.mark.parametrize("name", ["columns", "fact_mean", "fact_covariance", "latent_mean", "latent_covariance"])
def test_families_that_do_not_match_are_refused(name):
    with pytest.raises(ValueError, match="of 2 families must have shape"):
        replace(families(), **{name: getattr(families(), name)[:1]})


# The network


def silu(x):
    return x / (1 + np.exp(-x))


def test_the_surface_is_trunk_times_branch():
    weights = net.initial_weights(3, 2, torch.Generator().manual_seed(0), hidden=5, shapes=4)
    w = {name: value.numpy().astype(float) for name, value in weights.items()}
    x, z = RNG(0).normal(size=(6, 3)), RNG(1).normal(size=(2, 2))
    phi = x
    for layer in ("x0", "x1", "x2"):
        phi = silu(phi @ w[layer] + w[f"{layer}.bias"])
    outputs = len(ROLES) + 1
    for m in range(2):
        c = (silu(z[m] @ w["z0"] + w["z0.bias"]) @ w["z1"] + w["z1.bias"]).reshape(4, outputs)
        expected = np.array([[sum(phi[i, k] * (c[k, r] / 2 + w["base"][k, r]) for k in range(4)) + w["base.bias"][r]
                              for r in range(outputs)] for i in range(6)])  # fmt: skip
        found = net.surface(weights, torch.from_numpy(x).float(), torch.from_numpy(z).float())[m]
        assert found.numpy() == pytest.approx(expected, abs=1e-5)


def test_network_weights_fill_what_lecun_says():
    weights = net.initial_weights(30, 12, torch.Generator().manual_seed(0))
    fan_in = {"x0": 30, "x1": 128, "x2": 128, "z0": 12, "z1": 128, "base": 64}
    assert (
        weights["z1"].shape == (128, 64 * 5) and weights["base"].shape == (64, 5) and weights["x2"].shape == (128, 64)
    )
    for name, n in fan_in.items():
        for value in (weights[name], weights[f"{name}.bias"]):
            assert value.abs().max().item() <= n**-0.5
        assert weights[name].abs().max().item() > 0.9 * n**-0.5
        assert abs(weights[name].mean().item()) < 0.1 * n**-0.5 and weights[name].std().item() == pytest.approx(
            n**-0.5 / 3**0.5, rel=0.1
        )
    assert set(weights) == {*fan_in, *(f"{name}.bias" for name in fan_in)}
    other = net.initial_weights(30, 12, torch.Generator().manual_seed(1))
    assert not torch.equal(other["x1"], weights["x1"])
    assert net.initial_weights(0, 12, torch.Generator())["x0"].shape == (0, 128)
    assert net.initial_weights(1, 12, torch.Generator().manual_seed(0))["x0"].abs().max().item() > 0.9


def test_the_mean_of_latents_is_a_small_network_of_facts_and_family():
    weights = training._initial_mean(3, 2, torch.Generator().manual_seed(0))
    w = {name: value.numpy() for name, value in weights.items()}
    u, family = torch.tensor([[0.5, -1.0]]), torch.tensor([[1.0]])
    hidden = silu(np.array([0.5, -1.0, 1.0]) @ w["m0"] + w["m0.bias"])
    assert latent_mean(weights, u, family).numpy()[0] == pytest.approx(hidden @ w["m1"] + w["m1.bias"], abs=1e-6)
    assert weights["m0"].shape == (3, 32) and weights["m1"].shape == (32, 2)
    for name, n in (("m0", 3), ("m0.bias", 3), ("m1", 32), ("m1.bias", 32)):
        assert weights[name].abs().max().item() <= n**-0.5
    assert weights["m0"].min() < -0.4 and weights["m0"].max() > 0.4


# Tasks as arrays

SPACE = Space([Knob("threads", (1, 2, 4)), Knob("engine", ("a", "b"), "categorical")])


def a_task(facts=None) -> Task:
    rows = [{"rps": np.e, "p99_ms": 1.0, "ttft_ms": np.e**2, "usd_per_hour": 5.0}, None, {"rps": -1.0, "rate": 2.0},
            {"rps": 1.0, "wait_ms": 3.0}]  # fmt: skip
    observed = tuple(Observation(p, m) for p, m in zip((4, 1, 0, 5), rows, strict=True))
    return Task("t", SPACE, observed, {"size": 2.0, "bad": 0.0, "worse": np.inf} if facts is None else facts)


def test_a_task_as_numbers():
    row = studied(a_task())
    assert row.columns == ("log2_threads",) and row.features.tolist() == [[2], [0], [0], [2]]
    nan = np.nan
    expected = [[1, 0, 2, nan], [nan] * 4, [nan] * 4, [0, nan, nan, nan]]
    np.testing.assert_allclose(row.log, np.array(expected, dtype=float))  # rps has two values, rate one; p99 came first
    assert row.ran.tolist() == [True, False, True, True] and row.facts == {"size": 2.0}


def test_a_task_of_nothing_has_nothing():
    row = studied(Task("t", SPACE, (Observation(0, None),)))
    assert np.isnan(row.log).all() and row.ran.tolist() == [False] and row.facts == {}


def test_inputs_are_the_union_and_its_moments():
    other = Space([Knob("batch", (1, 16))])
    rows = [studied(a_task({"size": 1.0})), studied(Task("o", other, (Observation(0, None), Observation(1, None)))),
            studied(a_task({"size": np.e**2, "depth": 3.0}))]  # fmt: skip
    inputs = inputs_of(rows)
    assert inputs.columns == ("log2_batch", "log2_threads") and inputs.facts == ("depth", "size")
    assert inputs.mean == pytest.approx([2, 1]) and inputs.scale == pytest.approx([2, 1])
    assert inputs.fact_mean == pytest.approx([np.log(3), 1]) and inputs.fact_scale == pytest.approx([1, 1])


def test_tasks_on_a_shelf_keep_their_rows_together():
    rows = [studied(a_task()), studied(Task("o", SPACE, (Observation(2, {"rps": 7.0}),), {"depth": 2.0}))]
    inputs = inputs_of(rows)
    shelf = shelve(rows, inputs, 3, RNG(0))
    assert shelf.x.shape == (2, 3, 2) and shelf.log.shape == (2, 3, 4) and shelf.ran.shape == (2, 3)
    assert shelf.has.tolist() == [[True], [True]]
    np.testing.assert_array_equal(np.isnan(shelf.u), [[True, False], [False, True]])  # depth, size
    x = inputs.of_space(rows[0].features, rows[0].columns)
    whole = [(*x[i], *np.nan_to_num(rows[0].log[i], nan=-9), rows[0].ran[i]) for i in range(4)]
    for i in range(3):
        kept = (*shelf.x[0, i], *np.nan_to_num(shelf.log[0, i], nan=-9), shelf.ran[0, i])
        assert any(np.allclose(kept, each) for each in whole)
    assert shelf.ran[1, 0] == 1 and np.isnan(shelf.ran[1, 1:]).all() and np.isnan(shelf.log[1, 1:]).all()
    assert shelf.log[1, 0, 0] == pytest.approx(np.log(7.0)) and not shelf.x[1, 1:].any()


def shelf_of_facts(u: np.ndarray, has: np.ndarray) -> Shelf:
    t = len(u)
    return Shelf(np.zeros((t, 1, 4)), np.zeros((t, 1, 4)), np.ones((t, 1)), u, has)


def test_sets_of_facts_that_one_task_in_twenty_has_are_families_with_their_moments():
    nan = np.nan
    u = np.array([[0.1 * i, 0.2 * i, nan] for i in range(30)] + [[nan, nan, 1.0]] * 9 + [[nan, 3.0, nan]]
                 + [[nan, nan, nan]] * 5)  # fmt: skip
    has = np.array([[True, False]] * 30 + [[False, True]] * 9 + [[True, False]] + [[False, True]] * 5)
    found = kinds(shelf_of_facts(u, has))
    assert found.facts.tolist() == [[1, 1, 0], [0, 0, 1]]
    assert found.columns.tolist() == [[1, 0], [0, 1]]
    # One task of its own kind joins the likeliest family by its columns and facts, as do those that told nothing.
    assert found.of.tolist() == [0] * 30 + [1] * 9 + [0] + [1] * 5
    assert found.fact_mean[0] == pytest.approx([1.45, 2.9, 0]) and found.fact_mean[1].tolist() == [0, 0, 1]
    expected = np.cov(u[:30, :2].T, ddof=0)
    assert found.fact_covariance[0][:2, :2] == pytest.approx(expected)
    assert not found.fact_covariance[0][2].any() and not found.fact_covariance[1].any()


def test_where_no_set_of_facts_is_frequent_the_most_frequent_is_the_family():
    found = kinds(shelf_of_facts(np.full((3, 2), np.nan), np.array([[True, True]] * 3)))
    assert found.facts.tolist() == [[0, 0]] and found.of.tolist() == [0, 0, 0]
    assert not found.fact_mean.any() and not found.fact_covariance.any() and tasks._LEAST_SHARE == 0.05


# Training


def test_moments_of_latents_are_weighted_and_by_family():
    own = np.array([[0.0, 0.0], [4.0, 0.0], [7.0, 9.0]])
    kind = Kinds(np.array([0, 0, 1]), np.zeros((2, 1)), np.zeros((2, 1)), np.zeros((2, 1)), np.zeros((2, 1, 1)))
    mean, covariance = training._latent_moments(own, kind, np.array([3.0, 1.0, 1.0]))
    assert mean.tolist() == [[1, 0], [7, 9]]
    assert covariance[0].tolist() == [[3, 0], [0, 0]] and not covariance[1].any()


def test_missing_facts_in_training_are_the_familys_conditional_mean():
    kind = Kinds(
        np.array([0, 1]), families().columns, families().facts, families().fact_mean, families().fact_covariance
    )
    u = np.array([[3.0, np.nan, np.nan], [np.nan, np.nan, np.nan]])
    facts, family = training._facts_and_families(shelf_of_facts(u, np.ones((2, 2), dtype=bool)), kind)
    assert facts == pytest.approx(np.array([[3, 3.2, 0], [0, -1, 0]]), abs=1e-4)
    assert family.tolist() == [[1, 0], [0, 1]]
