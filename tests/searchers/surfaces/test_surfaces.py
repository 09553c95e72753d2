"""Surfaces: what is learned from toy services whose law is known, and what the seam promises."""

import time
from typing import Any

import numpy as np
import pytest
import torch

from searchers.base import Observation, Task
from searchers.quantities import ROLES, role
from searchers.space import Knob, Space
from searchers.surfaces.belief import SurfaceModel, pretrained
from searchers.surfaces.families import Families
from searchers.surfaces.inputs import Inputs
from searchers.surfaces.tasks import inputs_of, kinds, shelve, studied
from searchers.surfaces.training import Training, residual_loss, train

BATCH = Knob("max_batch_size", tuple(2**i for i in range(8)))
CARD = Knob("card", ("small", "middle", "large"), "categorical", ("log2_speed",), ((0.0,), (1.0,), (3.0,)))
ENGINE = Knob("engine", ("a", "b"), "categorical")


def toy(rng: np.random.Generator, size: float | None = None, family: str = "text") -> Task:
    """rate = speed · batch^g; a batch larger than speed · 64 / size does not run. Levels are anything."""
    size = float(np.exp(rng.uniform(0, 3))) if size is None else size
    gain, level = 0.1 + 0.25 * np.log(size), np.exp(rng.normal(0, 3))
    knobs = [BATCH, CARD] if family == "text" else [Knob("cpu_cores", (1, 2, 4, 8)), BATCH]
    space = Space([*knobs, ENGINE] if rng.random() < 0.3 else knobs)
    observed = []
    for i in range(len(space)):
        config: dict[str, Any] = space[i]
        speed = 2.0 ** {"small": 0, "middle": 1, "large": 3}.get(config.get("card"), 0)
        batch = float(config["max_batch_size"])
        rate = level * speed * batch**gain * config.get("cpu_cores", 1) ** 0.5
        runs = batch <= speed * 64 / size or family != "text"
        observed.append(Observation(i, {"rps": rate, "p99_ms": 1e3 * batch / rate} if runs else None))
    facts = {"size": size} if family == "text" else {"weight": size, "depth": size**2}
    return Task(family, space, tuple(observed), facts)


@pytest.fixture(scope="module")
def model():
    rng = np.random.default_rng(0)
    tasks = [toy(rng, family="text" if i % 3 else "image") for i in range(90)]
    return train(tasks, Training(steps=300, latents=4, tasks_per_step=40, points_per_task=12), seed=0)


def test_a_service_never_seen_is_predicted_from_its_facts(model):
    for size in (1.5, 12.0):
        task = toy(np.random.default_rng(5), size)
        said = model.sample(task.space, task.facts, 64, np.random.default_rng(1))
        ran = np.array([o.metrics is not None for o in task.observed])
        for name in ("rps", "p99_ms"):
            truth = np.log([o.metrics[name] for o in task.observed if o.metrics])
            mean = said.log[role(name)].mean(0)[ran]
            assert np.sqrt(((mean - mean.mean() - truth + truth.mean()) ** 2).mean()) < 0.35
            assert np.corrcoef(mean, truth)[0, 1] > 0.9
        chance = 1 / (1 + np.exp(-said.runs.mean(0)))
        assert chance[ran].mean() > 0.85 and (ran.all() or chance[~ran].mean() < 0.5)


def test_facts_narrow_what_is_possible(model):
    space = Space([BATCH, CARD])
    spread = [
        model.sample(space, facts, 200, np.random.default_rng(0)).log["rate"].std(axis=0).mean()
        for facts in ({"size": 12.0}, {})
    ]
    assert spread[0] < 0.7 * spread[1]


def test_the_seam(model):
    space = Space([BATCH, CARD, ENGINE])
    one, two = (model.sample(space, {"size": 3.0, "unheard_of": -1.0}, 7, np.random.default_rng(3)) for _ in range(2))
    assert one.known == ("log2_max_batch_size", "log2_speed")
    assert set(one.log) == set(ROLES)
    for role_, log in one.log.items():
        assert log.shape == one.runs.shape == (7, len(space))
        assert np.abs(log.mean(axis=1)).max() < 1e-6
        assert np.array_equal(log, two.log[role_])
    # The engine says nothing, so configurations that differ by it alone are predicted alike.
    by_engine = one.log["rate"].reshape(7, -1, 2)
    assert np.allclose(by_engine[..., 0], by_engine[..., 1])
    assert model.sample(Space([ENGINE]), {}, 2, np.random.default_rng(0)).known == ()
    with pytest.raises(ValueError, match="'size': 0.*leave out"):
        model.sample(space, {"size": 0}, 2, np.random.default_rng(0))


def test_far_outside_of_what_was_trained_the_surface_ends(model):
    far = Space([Knob("max_batch_size", (2**7, 2**60, 2**70)), CARD])
    log = model.sample(far, {"size": 1e30}, 5, np.random.default_rng(0)).log["rate"]
    assert np.isfinite(log).all()
    at = [far.position({"max_batch_size": 2**k, "card": "small"}) for k in (60, 70)]
    assert np.allclose(log[:, at[0]], log[:, at[1]])


def test_it_is_the_same_after_the_disk(model, tmp_path):
    path = tmp_path / "s.safetensors"
    model.save(path)
    again = SurfaceModel.load(path)
    space = Space([BATCH, CARD])
    a, b = (m.sample(space, {"size": 2.0}, 3, np.random.default_rng(0)) for m in (model, again))
    assert np.array_equal(a.runs, b.runs) and again.card == dict(model.card)
    from safetensors.torch import save_file

    save_file({"w": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="is not a surfaces file"):
        SurfaceModel.load(tmp_path / "other.safetensors")


def test_the_level_does_not_count():
    out = torch.randn(5, len(ROLES) + 1, generator=torch.Generator().manual_seed(0))
    log = out[:, :-1] + torch.tensor([3.0, -2.0, 0.0, 1.0])
    log[2:, 3] = torch.nan
    log[1:, 2] = torch.nan
    variance, _ = residual_loss(out, log, torch.ones(5))
    assert torch.allclose(variance, torch.zeros(4), atol=1e-9)
    log[:, 0] = out[:, 0] + torch.arange(5)
    variance, entropy = residual_loss(out, log, torch.tensor([1.0, 0.0, torch.nan, torch.nan, torch.nan]))
    assert variance[0] == pytest.approx(np.var(np.arange(5), ddof=1))
    by_hand = np.log1p(np.exp([-out[0, -1].item(), out[1, -1].item()])).mean()
    assert entropy.item() == pytest.approx(by_hand, rel=1e-5)


def test_families_by_facts_and_by_columns():
    rng = np.random.default_rng(0)
    tasks = [toy(rng, family="text" if i % 2 else "image") for i in range(40)]
    untold = Task("untold", tasks[1].space, tasks[1].observed)
    rows = [studied(task) for task in [*tasks, untold]]
    inputs = inputs_of(rows)
    assert inputs.facts == ("depth", "size", "weight")
    kind = kinds(shelve(rows, inputs, 8, rng))
    assert len(kind.facts) == 2 and kind.of[-1] == kind.of[1] != kind.of[0]


def test_missing_facts_follow_the_ones_given(model):
    families, image = model.families, int(model.families.facts.sum(axis=1).argmax())
    at = {name: i for i, name in enumerate(model.inputs.facts)}
    u = np.full(3, np.nan)
    u[at["weight"]] = 1.0
    draws = families.complete(u, image, np.random.default_rng(0).standard_normal((500, 3)))
    assert (draws[:, at["size"]] == 0).all() and (draws[:, at["weight"]] == 1).all()
    # depth is weight squared, so their standardised logarithms are the same.
    assert draws[:, at["depth"]].mean() == pytest.approx(1.0, abs=0.02)
    assert draws[:, at["depth"]].std() < 0.05


def test_of_metrics_of_one_role_the_one_that_most_have():
    space = Space([Knob("threads", (1, 2, 4))])
    rows = [{"error_rate": 0.0, "rps": 2.0}, {"error_rate": 0.1, "rps": 3.0}, None]
    row = studied(Task("t", space, tuple(Observation(i, m) for i, m in enumerate(rows)), {"x": float("nan")}))
    assert row.log[:, 0].tolist() == pytest.approx([np.log(2), np.log(3), np.nan], nan_ok=True)
    assert row.ran.tolist() == [True, True, False] and row.facts == {}


def test_bad_parts_are_refused(model):
    inputs = model.inputs
    with pytest.raises(ValueError, match="positive scale"):
        Inputs(("a",), np.zeros(1), np.zeros(1), (), np.zeros(0), np.zeros(0))
    wrong = Inputs(("a",), np.zeros(1), np.ones(1), inputs.facts, inputs.fact_mean, inputs.fact_scale)
    with pytest.raises(ValueError, match="the weights expect"):
        SurfaceModel(model.weights, wrong, model.families)
    f = model.families
    with pytest.raises(ValueError, match="latent_covariance"):
        Families(f.columns, f.facts, f.fact_mean, f.fact_covariance, f.latent_mean, f.latent_covariance[:, :1])


def test_the_shipped_ones_are_small_fast_and_sensible():
    model = pretrained()
    assert {"log2_gpus", "log2_max_batch_size", "log2_gpu_memory_gib"} <= set(model.inputs.columns)
    assert model.card["recipe"]["services"] > 1000 and "generation, rate" in model.card["held_out"]
    space = Space([Knob("max_batch_size", tuple(range(1, 136))), Knob("cpu_cores", (1, 2, 4, 8))])
    spent = []
    for _ in range(5):
        start = time.thread_time()  # not of the clock: other processes may have the cores
        said = model.sample(space, {"gflop_per_item": 8.0, "parameters_million": 25.0}, 64, np.random.default_rng(0))
        spent.append(time.thread_time() - start)
    assert min(spent) < 0.1  # 540 configurations; about 0.01 s, the bound leaves room for a slower machine
    rate = said.log["rate"].mean(0)
    cores = space.features[:, space.columns.index("log2_cpu_cores")]
    assert rate[cores == 3].mean() > rate[cores == 0].mean()  # more cores serve more
