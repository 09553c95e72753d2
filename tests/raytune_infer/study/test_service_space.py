"""The space of a service on a cluster: what fits, what it costs, what a replica of it runs under."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cluster.inventory import Inventory, Node
from cluster.prices import load_prices
from raytune_infer.errors import NothingFits, SpecError
from raytune_infer.spec.demand import price
from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import parse_spec
from raytune_infer.study.space import service_space

BOOK = load_prices("morphling-2021")


def node(gpu: str | None, *, cores: int = 4, gib: float = 16.0) -> Node:
    return Node(
        node_id=str(gpu), hostname="host", cpu_cores=cores, memory_gib=32.0, gpu_type=gpu,
        gpus=0.0 if gpu is None else 1.0, gpu_memory_gib=0.0 if gpu is None else gib, ray_label=gpu,
    )  # fmt: skip


def space(knobs: str, *nodes: Node, goal: str = "rps / usd_per_hour"):
    model = '{build: "a:b", args: {size: 3}}'
    text = f"name: s\nmodel: {model}\nsamples: [x]\nobjective: {{maximize: {goal}}}\n{knobs}"
    spec = parse_spec(Document(text, "s.yaml"), folder=Path("."))
    return service_space(spec, Inventory(nodes), BOOK, emulated=False)


def test_what_fits_nowhere_is_left_out_with_the_reason():
    found = space("knobs: {cpu_cores: [2, 4, 8], gpu_type: [T4, V100], max_batch_size: [1, 2]}", node("T4"))
    assert len(found.problem.space) == 2 * 2
    reasons = {d.reason: d.count for d in found.dropped}
    assert sum(reasons.values()) == 12 - 4
    assert any("8 cores" in reason for reason in reasons)
    assert any("V100" in reason for reason in reasons)


def test_facts_are_part_of_the_problem():
    assert space("knobs: {cpu_cores: [2]}\nfacts: {gflop_per_item: 0.5}", node(None)).problem.facts == {
        "gflop_per_item": 0.5
    }


def test_the_search_is_told_which_limits_are_on_shares():
    limits = "knobs: {cpu_cores: [1, 2]}\nlimits: {error_rate: 0.01, p99_ms: 50}"
    assert space(limits, node(None)).problem.shares == {"error_rate"}


def test_nothing_fits():
    with pytest.raises(NothingFits, match="2 configurations: .*V100"):
        space("knobs: {cpu_cores: [1, 2], gpu_type: [V100]}", node("T4"))


def test_prices_are_the_papers():
    # Cost = core price x cores + GPU price x share; T4: 0.75 - 8 x 0.54 / 16 (SYSTEMS: Morphling, instances).
    found = space("knobs: {cpu_cores: [1, 4], gpu_type: [T4], gpu_share: [0.05, 0.4]}", node("T4")).problem
    core, t4 = 0.54 / 16, 0.75 - 8 * 0.54 / 16
    expected = [core * c["cpu_cores"] + t4 * c["gpu_share"] for c in (found.space[i] for i in range(4))]
    np.testing.assert_allclose(found.usd_per_hour, expected)


def test_a_missing_price_matters_only_to_an_objective_with_prices():
    knobs = "knobs: {gpu_type: [H100-SXM]}"
    with pytest.raises(SpecError, match="the objective needs prices: .*H100"):
        space(knobs, node("H100-SXM"))
    free = space(knobs, node("H100-SXM"), goal="rps").problem
    assert np.isnan(free.usd_per_hour).all()


def test_without_a_gpu_its_share_makes_no_difference():
    found = space("knobs: {gpu_type: [none, T4], gpu_share: [0.5, 1.0]}", node("T4"))
    configs = [found.problem.space[i] for i in range(len(found.problem.space))]
    assert len(configs) == 3
    on_cpu = found.resolver.settings(next(c for c in configs if c["gpu_type"] == "none"))
    assert (on_cpu.gpu_type, on_cpu.num_gpus, on_cpu.gpu_share) == (None, 0.0, 0.0)


def test_settings_carry_every_knob_to_where_it_acts():
    found = space(
        "knobs: {cpu_cores: [2], gpu_type: [T4], gpu_memory: [0.25], max_batch_size: [8], batch_wait_ms: [3], "
        "precision: [float16], DEBUG: {kind: env, values: [7]}, beams: {kind: args, values: [4]}}",
        node("T4"),
    )
    settings = found.resolver.settings(found.problem.space[0])
    assert (settings.cpu_cores, settings.max_batch_size, settings.batch_wait_ms) == (2, 8, 3)
    assert settings.gpu_memory_gib == pytest.approx(4.0)
    assert settings.num_gpus == 1
    assert settings.env == {"DEBUG": "7"}
    assert settings.args == {"size": 3, "beams": 4}
    options = settings.ray_actor_options
    assert options["num_cpus"] == 2
    assert options["label_selector"] == {"ray.io/accelerator-type": "T4"}
    assert options["runtime_env"]["env_vars"]["DEBUG"] == "7"


def test_a_share_of_the_gpu_is_set_before_cuda_starts():
    found = space("knobs: {gpu_type: [T4], gpu_share: [0.25]}", node("T4"))
    settings = found.resolver.settings(found.problem.space[0])
    assert settings.environment["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "25"


def settings_on(*nodes: Node, knobs: str = "gpu_type: [T4]"):
    """What the first configuration runs under."""
    found = space(f"knobs: {{{knobs}}}", *nodes)
    return found.resolver.settings(found.problem.space[0])


def test_memory_of_a_gpu_is_what_nvml_says_and_the_least_of_its_nodes():
    half = "gpu_type: [T4], gpu_memory: [0.5]"
    assert settings_on(node("T4", gib=14.6), knobs=half).gpu_memory_gib == pytest.approx(7.3)  # not 16, as printed
    both = [replace(node("T4", gib=gib), node_id=str(gib)) for gib in (14.6, 16.0)]  # one with ECC, one without
    for nodes in (both, both[::-1]):
        assert settings_on(*nodes, knobs=half).gpu_memory_gib == pytest.approx(7.3)
    assert settings_on(*both, node("V100", gib=4.0), knobs=half).gpu_memory_gib == pytest.approx(7.3)
    assert settings_on(node("T4", gib=0.0), both[0], knobs=half).gpu_memory_gib == pytest.approx(7.3)
    assert settings_on(node("T4", gib=0.0), knobs=half).gpu_memory_gib == pytest.approx(8.0)  # nobody tells


def test_cores_and_gpus_of_different_nodes_make_no_place():
    busy, roomy = node("T4", cores=0), node(None, cores=16)
    with pytest.raises(NothingFits, match="needs 1 core, but the largest T4 node has 0"):
        space("knobs: {cpu_cores: [1], gpu_type: [T4]}", busy, roomy)
    found = space(
        "knobs: {cpu_cores: [1, 8], gpu_type: [none, T4, V100]}", node("T4", cores=8), node("V100", cores=1), roomy
    )
    fits = {(c["cpu_cores"], c["gpu_type"]) for c in (found.problem.space[i] for i in range(len(found.problem.space)))}
    assert fits == {(1, "none"), (8, "none"), (1, "T4"), (8, "T4"), (1, "V100")}
    assert [(d.count, d.reason) for d in found.dropped] == [
        (1, "needs 8 cores, but the largest V100 node has 1; request fewer or add a larger node")
    ]


def test_the_larger_of_share_and_memory_is_what_is_paid_and_reserved():
    knobs = "cpu_cores: [2], gpu_type: [T4], gpu_share: [0.25], gpu_memory: [0.5]"
    found = space(f"knobs: {{{knobs}}}", node("T4"))
    core, t4 = 0.54 / 16, 0.75 - 8 * 0.54 / 16
    assert found.problem.usd_per_hour == pytest.approx([2 * core + 0.5 * t4])
    assert price({"cpu_cores": 2, "gpu_type": "T4"}, BOOK) == pytest.approx(2 * core + t4)  # a whole one
    assert price({"cpu_cores": 2, "gpu_type": "none", "gpu_share": 0.5}, BOOK) == pytest.approx(2 * core)
    assert price({"max_batch_size": 4}, BOOK) == pytest.approx(core)  # one core unless told otherwise


def test_memory_is_of_the_card_that_is_there():
    knobs = "knobs: {gpu_type: [L4, T4], gpu_memory: [0.25]}"
    found = space(knobs, node("L4", gib=22.0), node("T4", gib=15.0), goal="rps")
    configs = [found.problem.space[position] for position in range(2)]
    memory = {config["gpu_type"]: found.resolver.settings(config).gpu_memory_gib for config in configs}
    assert memory == {"L4": 5.5, "T4": 3.75}
    # A node that did not say how much it has: the data sheet does.
    unread = space("knobs: {gpu_type: [L4], gpu_memory: [0.5]}", node("L4", gib=0.0), goal="rps")
    assert unread.resolver.settings(unread.problem.space[0]).gpu_memory_gib == 12.0


def test_a_replica_pays_for_the_larger_of_its_shares_and_a_whole_card_where_it_asks_for_none():
    both = space("knobs: {gpu_type: [T4], gpu_share: [0.25], gpu_memory: [0.5]}", node("T4")).problem
    other = space("knobs: {gpu_type: [T4], gpu_share: [0.5], gpu_memory: [0.25]}", node("T4")).problem
    whole = space("knobs: {gpu_type: [T4]}", node("T4")).problem
    memory = space("knobs: {gpu_type: [T4], gpu_memory: [0.25]}", node("T4")).problem
    core, t4 = 0.54 / 16, 0.75 - 8 * 0.54 / 16
    assert both.usd_per_hour == pytest.approx([core + t4 / 2]) and other.usd_per_hour == pytest.approx([core + t4 / 2])
    assert whole.usd_per_hour == pytest.approx([core + t4])
    assert memory.usd_per_hour == pytest.approx([core + t4])  # it may compute on all of it
    cpu = space("knobs: {cpu_cores: [3]}", node(None)).problem
    assert cpu.usd_per_hour == pytest.approx([3 * core])


def test_a_share_of_compute_is_the_same_on_every_node_and_each_finds_out_how_to_enforce_it():
    knobs = "knobs: {gpu_type: [T4], gpu_share: [0.5]}"
    with_mps = replace(node("T4"), has_mps=True)
    found = [space(knobs, *nodes) for nodes in ((with_mps,), (with_mps, node("T4")), (node("T4"),))]
    settings = [each.resolver.settings(each.problem.space[0]) for each in found]
    assert {(each.gpu_share, each.gpu_memory_gib) for each in settings} == {(0.5, None)}
    assert settings[0] == settings[2]
    with pytest.raises(ValueError, match="no node has a V100"):
        space(knobs, node("T4")).resolver.settings({"gpu_type": "V100", "gpu_share": 0.5})


def test_where_a_configuration_is():
    found = space("knobs: {gpu_type: [none, T4], gpu_share: [0.5, 1.0], cpu_cores: [1, 8]}", node("T4"))
    assert [found.position(found.problem.space[i]) for i in range(3)] == [0, 1, 2] and len(found.problem.space) == 3
    on_cpu = {"gpu_type": "none", "cpu_cores": 1}
    # Without a GPU its share makes no difference, so both are one configuration.
    assert found.position({**on_cpu, "gpu_share": 1.0}) == found.position({**on_cpu, "gpu_share": 0.5}) is not None
    assert found.position({"gpu_type": "T4", "gpu_share": 0.5, "cpu_cores": 8}) is None
    # Eight configurations, four of them with too many cores (two without a GPU, two with), one the same as another.
    reasons = {d.reason: d.count for d in found.dropped}
    assert reasons.pop("without a GPU, its share and memory make no difference") == 1
    assert sum(reasons.values()) == 4 and all("needs 8 cores" in reason for reason in reasons)
    assert [d.count for d in found.dropped] == sorted((d.count for d in found.dropped), reverse=True)


def test_what_the_load_keeps_by_itself_is_told_to_the_searcher():
    limits = "knobs: {cpu_cores: [1]}\nlimits: {p99_ms: 9, usd_per_hour: 3}"
    problem = space(limits, node(None)).problem
    assert problem.kept == {"p99_ms"} and problem.objective.at_most == {"p99_ms": 9, "usd_per_hour": 3}
    assert problem.noise == 0.1
    at_the_peak = limits.replace("p99_ms: 9", "error_rate: 0.1") + "\nload: {find: peak}"
    assert space(at_the_peak, node(None)).problem.kept == frozenset()
