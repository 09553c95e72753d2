"""Random services: of both families, repeatable, told by columns that mean the same everywhere."""

import numpy as np
import pytest

from cluster.gpus import CATALOGUE, FEATURE_NAMES
from raytune_infer.emulated_parts import UNKNOWN_KNOB, random_cards, random_language_model
from raytune_infer.encoding import encode
from raytune_infer.learning.emulated_services import random_batch_inference, random_generation, random_service
from searchers.quantities import ROLES, role

KNOWN = {
    *FEATURE_NAMES, "log2_gpus", "log2_max_batch_size", "log2_cpu_cores", "log2_gpu_share", "log2_precision_bits",
    "precision_exponent_bits",
}  # fmt: skip


@pytest.fixture(scope="module")
def services():
    rng = np.random.default_rng(0)
    return [random_service(rng, 60) for _ in range(60)]


def test_services_of_both_families_run_and_tell_their_facts(services):
    generation = {"parameters_billion", "active_parameters_billion", "input_tokens", "output_tokens"}
    batch = {"gflop_per_item", "parameters_million"}
    assert {frozenset(t.facts) for t in services} == {frozenset(generation), frozenset(batch)}
    for task in services:
        assert len({o.position for o in task.observed}) == len(task.observed) <= 60
        ran = [o.metrics for o in task.observed if o.metrics is not None]
        assert len(ran) >= min(8, len(task.observed))
        wanted = set(ROLES) if "input_tokens" in task.facts else {"rate", "latency"}
        for metrics in ran:
            assert {role(name) for name in metrics} == wanted
            assert all(np.isfinite(v) and v > 0 for v in metrics.values())


def test_all_columns_are_standard_but_those_of_the_unknown_knob(services):
    columns = {column for task in services for column in task.space.columns}
    assert {c for c in columns if "=" not in c} <= KNOWN
    unknown = [t for t in services if UNKNOWN_KNOB in {k.name for k in t.space.knobs}]
    assert 0.15 < len(unknown) / len(services) < 0.5
    assert any(o.metrics is None for t in services for o in t.observed)


@pytest.mark.parametrize("family", [random_generation, random_batch_inference])
def test_a_service_is_a_function_of_its_seed(family):
    one, two = (family(np.random.default_rng(7)) for _ in range(2))
    assert one.observed == two.observed and one.facts == two.facts
    assert np.array_equal(one.space.features, two.space.features)


def test_models_and_cards_can_be_built():
    rng = np.random.default_rng(1)
    models = [random_language_model(rng) for _ in range(200)]
    assert 0.25 < np.mean([m.experts > 1 for m in models]) < 0.55
    assert all(1 <= m.layers < 250 and m.kv_width <= m.width for m in models)
    figures = {
        name: {tuple(random_cards(rng, len(CATALOGUE))[name].features()) for _ in range(12)} for name in ("T4", "H200")
    }
    assert all(len(seen) > 2 for seen in figures.values())  # the catalogue's own, and cards like it


def test_counts_of_gpus_share_a_column():
    assert encode("num_gpus", (1, 2, 8)).features == ((0.0,), (1.0,), (3.0,))
    assert encode("num_gpus", (1, 2)).columns == encode("tensor_parallel", (1, 2)).columns == ("log2_gpus",)
