"""Settings: what a replica asks of Ray and of Serve."""

import pytest

from serve_deployments.serve_path import REPLICA_ENVIRONMENT
from serve_deployments.settings import Settings


def test_ray_reserves_the_scarcer_of_compute_and_memory():
    assert Settings().num_gpus == 0
    assert Settings(gpu_type="T4").num_gpus == 1
    assert Settings(gpu_type="T4", gpu_memory=0.25).num_gpus == 0.25
    assert Settings(gpu_type="T4", gpu_memory=0.25, gpu_share=0.5).num_gpus == 0.5


def test_serve_lets_in_one_batch_running_and_one_forming_and_a_queue():
    assert Settings(max_batch_size=64).max_ongoing_requests >= 128
    assert Settings().max_ongoing_requests >= 32


def test_the_users_environment_comes_before_ours():
    name, ours = next(iter(REPLICA_ENVIRONMENT.items()))
    assert Settings().ray_actor_options["runtime_env"]["env_vars"][name] == ours
    assert Settings(env={name: "other"}).environment[name] == "other"


def test_a_dictionary_is_the_way_back():
    settings = Settings(cpu_cores=2, gpu_type="T4", gpu_memory=0.5, env={"A": "1"}, args={"n": [1]})
    assert Settings(**settings.as_dict()) == settings


@pytest.mark.parametrize(
    "wrong",
    [
        {"cpu_cores": 0},
        {"max_batch_size": 0},
        {"batch_wait_ms": -1},
        {"gpu_type": "T4", "gpu_share": 2},
        {"gpu_share": 0.5},
    ],  # fmt: skip
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)) if len(wrong) == 1 else "gpu_share"):
        Settings(**wrong)
