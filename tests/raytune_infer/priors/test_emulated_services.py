"""Random services: of both families, repeatable, told by columns that mean the same everywhere."""

from dataclasses import replace

import numpy as np
import pytest

from cluster.catalogue import CATALOGUE
from cluster.emulated import profiles
from cluster.emulated.generation import LanguageModel, serve
from cluster.emulated.roofline import ModelProfile
from cluster.gpus import FEATURE_NAMES
from raytune_infer.priors import emulated_services
from raytune_infer.priors.emulated_parts import UNKNOWN_KNOB, random_cards, random_language_model
from raytune_infer.priors.emulated_services import random_batch_inference, random_generation, random_service
from raytune_infer.spec.standard_knobs import encode
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


def test_a_service_has_none_but_the_gpus_that_it_may_have():
    given = [gpu for gpu in CATALOGUE if gpu.name in {"T4", "H200"}]
    for family in (random_generation, random_batch_inference, random_service):
        tasks = [family(np.random.default_rng(seed), 20, given) for seed in range(12)]
        types = [set(knob.values) for task in tasks for knob in task.space.knobs if knob.name == "gpu_type"]
        assert set.union(*types) - {"none"} == {"T4", "H200"}


def test_models_and_cards_can_be_built():
    rng = np.random.default_rng(1)
    models = [random_language_model(rng) for _ in range(200)]
    assert 0.25 < np.mean([m.experts > 1 for m in models]) < 0.55
    assert all(1 <= m.layers < 250 and m.kv_width <= m.width for m in models)
    figures = {
        name: {tuple(random_cards(rng, CATALOGUE, len(CATALOGUE))[name].features()) for _ in range(12)}
        for name in ("T4", "H200")
    }
    assert all(len(seen) > 2 for seen in figures.values())  # the catalogue's own, and cards like it


def test_counts_of_gpus_share_a_column():
    assert encode("num_gpus", (1, 2, 8)).features == ((0.0,), (1.0,), (3.0,))
    assert encode("num_gpus", (1, 2)).columns == encode("tensor_parallel", (1, 2)).columns == ("log2_gpus",)


def test_a_mixture_of_experts_tells_what_it_has_and_what_a_token_uses_and_what_it_is_asked(monkeypatch):
    """In the units in which a service.yaml tells them, and of what its numbers were made."""
    model = LanguageModel(
        parameters=400e9, active_parameters=17e9, layers=48, width=5120, kv_width=1024, experts=128, experts_per_token=1
    )
    asked: list[tuple] = []

    def served(of, card, *, input_tokens, output_tokens, **how):
        asked.append((of, input_tokens, output_tokens))
        return serve(of, card, input_tokens=input_tokens, output_tokens=output_tokens, **how)

    monkeypatch.setattr(emulated_services, "random_language_model", lambda rng: model)
    monkeypatch.setattr(emulated_services, "serve", served)
    facts = random_generation(np.random.default_rng(1), 20).facts
    [(of, input_tokens, output_tokens)] = set(asked)
    assert of is model and input_tokens != output_tokens
    assert facts == {
        "parameters_billion": 400.0, "active_parameters_billion": 17.0,
        "input_tokens": input_tokens, "output_tokens": output_tokens,
    }  # fmt: skip
    assert 16 <= input_tokens <= 8192 and 8 <= output_tokens <= 2048 and input_tokens == int(input_tokens)


@pytest.mark.parametrize("seed", range(4))  # of both kinds of random models
def test_a_model_of_batches_tells_its_parameters_and_its_work_for_an_item(monkeypatch, seed):
    """Four bytes a parameter, as in float32, whatever its precisions."""
    bert = profiles.profile("bert-base")
    made: dict[str, ModelProfile] = {"profile": bert}
    monkeypatch.setattr(emulated_services, "random_profiles", lambda rng, count: [made["profile"]])
    monkeypatch.setattr(emulated_services, "random_architecture", lambda rng: made["profile"])

    def facts():
        return random_batch_inference(np.random.default_rng(seed), 20).facts

    # BERT base has 110 million parameters (Devlin et al. 2019).
    assert facts()["parameters_million"] == pytest.approx(110, rel=0.02)
    assert facts()["gflop_per_item"] == pytest.approx(bert.flops / 1e9)
    made["profile"] = replace(bert, flops=3e9, weight_bytes=100e6)
    assert facts() == {"gflop_per_item": pytest.approx(3.0), "parameters_million": pytest.approx(25.0)}


def test_cards_like_real_ones_have_each_figure_off_by_a_factor_of_its_own():
    """ln of the factors: standard deviation 0.25, no two figures together; in half of the services the real ones."""
    rng, real, factors = np.random.default_rng(2), {gpu.name: gpu for gpu in CATALOGUE}, []
    changed = 0
    for _ in range(800):
        [(name, card)] = random_cards(rng, CATALOGUE, 1).items()
        assert card.name == name and card.peak_flops.keys() == real[name].peak_flops.keys()
        if card == real[name]:
            continue
        changed += 1
        ratios = [card.memory_gib / real[name].memory_gib, card.bandwidth_gb_s / real[name].bandwidth_gb_s]
        ratios += [peak / real[name].peak_flops[precision] for precision, peak in card.peak_flops.items()]
        assert len({round(ratio, 9) for ratio in ratios}) == len(ratios) >= 3
        factors.append(np.log(ratios[:3]))
    assert 340 <= changed <= 460
    # Four standard errors of four hundred: of 0.25 ± 0.009, of 0 ± 0.0125, and of correlations ± 0.05.
    assert np.std(factors, axis=0) == pytest.approx([0.25] * 3, abs=0.036)
    assert np.mean(factors, axis=0) == pytest.approx([0.0] * 3, abs=0.05)
    assert np.corrcoef(factors, rowvar=False) == pytest.approx(np.eye(3), abs=0.2)
