import math
from typing import Any

import numpy as np
import pytest

from cluster.emulated import profiles, roofline
from cluster.gpu_names.gpu_names import find
from cluster.gpus import FEATURE_NAMES
from cluster.prices import load_prices
from raytune_infer.priors.emulated_tasks import PAPER_KNOBS, emulate, random_architecture, random_table
from raytune_infer.priors.morphling_recipe import MorphlingRecipe, synthetic_tasks, train_morphling
from raytune_infer.spec.standard_knobs import encode
from searchers.morphling.meta_model import MetaModel
from searchers.objective import Expression, Objective
from searchers.space import Space

BOOK = load_prices("morphling-2021")
RPS_PER_USD = Objective(Expression("rps / usd_per_hour"))


def test_a_share_of_gpu_memory_is_gigabytes():
    space = Space([encode("gpu_type", ("T4", "V100")), encode("gpu_memory", (0.25, 1.0))])
    assert space.columns == FEATURE_NAMES
    at = space.features[space.position({"gpu_type": "T4", "gpu_memory": 0.25}), 0]
    assert 2**at == pytest.approx(find("T4").memory_gib / 4)


def test_encodings_and_what_a_change_costs():
    assert encode("batch_wait_ms", (0, 3)).features == ((0.0,), (2.0,))
    assert encode("precision", ("bfloat16", "int8")).features == ((4.0, 8.0), (3.0, 0.0))
    assert encode("threads", (1, 2)).columns == ("log2_threads",)
    assert encode("compile", (True, False)).columns == ("compile=True", "compile=False")
    in_place = {n for n in ("max_batch_size", "cpu_cores", "threads") if encode(n, (1, 2)).changes == "in place"}
    assert in_place == {"max_batch_size", "threads"}
    with pytest.raises(ValueError, match="precision.*'fp4'"):
        encode("precision", ("fp4",))
    with pytest.raises(ValueError, match="'cpu_cores' needs"):
        encode("cpu_cores", (0, 1))


def test_the_papers_space_by_hand():
    bert = profiles.profile("bert-base")
    table = emulate(bert, PAPER_KNOBS, RPS_PER_USD, BOOK)
    assert len(table.metrics) == 720
    at = table.problem.space.position({"cpu_cores": 2, "gpu_type": "T4", "gpu_memory": 0.1, "max_batch_size": 8})
    assert table.problem.usd_per_hour[at] == pytest.approx(2 * 0.03375 + 0.48)
    seconds = roofline.service_time_s(bert, find("T4"), batch=8, cpu_cores=2)
    assert table.metrics[at] == pytest.approx({"rps": 8 / seconds, "p99_ms": 2000 * seconds})
    for i, metrics in enumerate(table.metrics):
        config: dict[str, Any] = table.problem.space[i]
        gib = find(config["gpu_type"]).memory_gib * config["gpu_memory"]
        assert (metrics is not None) == (roofline.memory_gib(bert, batch=config["max_batch_size"]) <= gib)
    assert table.values().max() > 0 and (table.values() == 0).any()


def test_a_share_of_compute_is_slower_and_paid_for():
    knobs: dict[str, tuple] = {"gpu_type": ("T4",), "gpu_share": (0.5, 1.0), "gpu_memory": (0.25,)}
    table = emulate(profiles.profile("resnet-50"), knobs, RPS_PER_USD, BOOK)
    half, whole = (table.metrics[table.problem.space.position({"gpu_type": "T4", "gpu_memory": 0.25, "gpu_share": s})]
                   for s in (0.5, 1.0))  # fmt: skip
    assert half["rps"] < whole["rps"]
    assert table.problem.usd_per_hour.tolist() == pytest.approx([0.03375 + 0.24, 0.03375 + 0.48])


def test_random_tables_are_solvable_and_repeatable():
    for seed in range(20):
        one, two = (random_table(np.random.default_rng(seed), [BOOK]) for _ in range(2))
        assert np.array_equal(one.values(), two.values()) and one.values().max() > 0
        assert math.isfinite(random_architecture(np.random.default_rng(seed)).flops)


def test_tasks_are_standardised_and_a_training_writes_model_and_card(tmp_path):
    tasks, mean, scale = synthetic_tasks(MorphlingRecipe(tasks=40, points=16))
    assert tasks.x.shape == (40, 16, len(tasks.columns)) and mean.shape == scale.shape
    assert tasks.y.min() >= 0 and tasks.y.max() == 1 and tasks.x.mean((0, 1)).abs().max() < 1e-5

    small = MorphlingRecipe(tasks=20, points=40, episodes=3, shots=3, tasks_per_episode=4, seed=1)
    seen: list[int] = []
    model = train_morphling(tmp_path / "m.safetensors", small, progress=lambda i, _: seen.append(i))
    assert seen == [0, 1, 2]
    again = MetaModel.load(tmp_path / "m.safetensors")
    assert again.columns == model.columns and again.card["recipe"]["seed"] == 1
    card = (tmp_path / "m.md").read_text()
    assert "not on measurements" in card and "`log2_cpu_cores`" in card and "| episodes | 3 |" in card


def test_where_a_search_ends_up_is_learned_from_most():
    """All points from the best tenth of each service, or none of them chosen for being good."""
    good, any_of_them = (
        synthetic_tasks(MorphlingRecipe(tasks=8, points=24, good_share=share))[0].y for share in (1.0, 0.0)
    )
    assert good.min(dim=1).values.mean() > any_of_them.mean() and good.mean() > 0.6
    assert any_of_them.min(dim=1).values.mean() < 0.3
