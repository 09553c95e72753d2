"""Which points are wanted: those that knobs reach, from coarse to fine, and none that is known."""

import pytest

from cluster.inventory import Inventory, Node
from raytune_infer.operators.curve_plan import LEAST_S, coarse_to_fine, operators_of, plan_of, resources_among
from raytune_infer.operators.profiling import profile_service
from raytune_infer.spec.service import Service
from raytune_infer.spec.service_spec import load_spec
from raytune_infer.study.connection.curves_on_cluster import _settings_of
from tests.cluster.operators.curves.test_lookup import point
from tests.raytune_infer.operators.a_model import write

KNOBS = "max_batch_size: [4, 1, 16], precision: [float32, bfloat16], cpu_cores: [1, 2]"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    return Service(load_spec(write(tmp_path_factory.mktemp("service"), "conv", samples="images.npy", knobs=KNOBS)))


@pytest.fixture(scope="module")
def profile(service):
    return profile_service(service)


@pytest.mark.parametrize(
    ("values", "order"),
    [([1], [1]), ([1, 2], [1, 2]), ([1, 2, 4, 8, 16], [1, 16, 4, 2, 8]), (list(range(7)), [0, 6, 3, 1, 4, 2, 5])],
)
def test_values_come_from_coarse_to_fine(values, order):
    assert coarse_to_fine(values) == order


def test_all_that_the_knobs_reach_and_that_was_profiled(service, profile):
    found = resources_among(service.spec, profile)
    assert {(r.batch, r.precision, r.cpu_cores, r.threads) for r in found} == {
        (batch, precision, cores, cores)
        for batch in (1, 2, 4, 16) for precision in ("float32", "bfloat16") for cores in (1, 2)
    }  # fmt: skip
    assert [r.batch for r in found[:8]] == [1] * 4 + [16] * 4


def test_operators_have_most_of_the_time_and_no_views(profile):
    found = operators_of(profile)
    times = [profile.classes[each].time_s for each in found]
    assert times == sorted(times, reverse=True)
    assert {"conv2d", "dense"} <= {each.kind for each in found}
    assert "aten::view" not in {each.name for each in found}


def test_what_is_known_is_not_measured_again_and_time_bounds_the_rest(service, profile):
    operators, resources = operators_of(profile), resources_among(service.spec, profile)
    whole = plan_of(operators, resources, [], seconds=1e6)
    assert len(whole.jobs) == len(operators) * len(resources) and whole.left_out == whole.known == 0
    assert whole.jobs[0].operator == operators[0]
    known = [point(job.operator, job.resources.batch, 1.0) for job in whole.jobs]  # one core, float32
    rest = plan_of(operators, resources, known, seconds=1e6)
    assert rest.known == len(operators) * 4 and len(rest.jobs) + rest.known == len(whole.jobs)
    assert all((job.resources.cpu_cores, job.resources.precision) != (1, "float32") for job in rest.jobs)
    short = plan_of(operators, resources, [], seconds=10 * LEAST_S)
    assert short.jobs == whole.jobs[:10] and short.left_out == len(whole.jobs) - 10


def test_a_cluster_with_gpus_has_a_kind_of_node_for_each_part_of_a_card(tmp_path, profile):
    knobs = "max_batch_size: [4], gpu_type: [none, T4], gpu_share: [0.5, 1.0], gpu_memory: [0.5], cpu_cores: [1, 8]"
    spec = load_spec(write(tmp_path, "conv", samples="images.npy", knobs=knobs))
    nodes = Inventory((
        Node("a", "host-a", 4, 16.0, "T4", 1, 15.0, ray_label="T4"), Node("b", "host-b", 8, 16.0),
    ))  # fmt: skip
    settings_of = _settings_of(spec, nodes)
    found = {each: settings_of(each) for each in resources_among(spec, profile)}
    fitting = {each: settings for each, settings in found.items() if not isinstance(settings, str)}
    assert {(r.gpu_type, r.gpu_share, r.cpu_cores) for r in fitting} == {
        (None, 0.0, 1), (None, 0.0, 8), ("T4", 0.5, 1), ("T4", 1.0, 1),
    }  # fmt: skip
    on_card = next(settings for each, settings in fitting.items() if each.gpu_share == 0.5)
    assert (on_card.num_gpus, on_card.gpu_memory_gib) == (0.5, 7.5)
    assert on_card.node_labels == {"ray.io/accelerator-type": "T4"}
    assert any("needs 8 cores" in why for why in found.values() if isinstance(why, str))
