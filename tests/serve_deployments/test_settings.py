"""Settings: what a replica asks of Ray and of Serve."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_deployments.environment.serve_path import LOAD_ENVIRONMENT, REPLICA_ENVIRONMENT
from serve_deployments.settings import Settings

FAST = {
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": "2147483647",
}
"""What a replica's process has in its environment besides the user's."""


def test_ray_reserves_the_scarcer_of_compute_and_memory_and_all_where_compute_is_not_held_back():
    assert Settings().num_gpus == 0
    assert Settings(gpu_type="T4").num_gpus == 1
    assert Settings(gpu_type="T4", gpu_memory=0.25).num_gpus == 1
    assert Settings(gpu_type="T4", gpu_memory=0.25, gpu_share=0.5).num_gpus == 0.5
    assert Settings(gpu_type="T4", gpu_memory=0.5, gpu_share=0.25).num_gpus == 0.5


@given(
    st.fixed_dictionaries(
        {"cpu_cores": st.integers(1, 4), "max_batch_size": st.integers(1, 4), "threads": st.none() | st.integers(1, 4),
         "batch_wait_ms": st.integers(0, 4), "gpu_share": st.integers(0, 1), "gpu_memory": st.integers(0, 1),
         "gpu_memory_gib": st.none() | st.integers(1, 4)}
    )
)  # fmt: skip
def test_a_number_has_the_type_that_libraries_take_however_it_was_written(numbers: dict[str, Any]):
    """YAML and JSON read 1 and 1.0 as numbers of two types; torch takes one of them, and JSON tells them apart."""
    ones = Settings(gpu_type="T4", **numbers)
    fractions: dict[str, Any] = {name: v if v is None else float(v) for name, v in numbers.items()}
    others = Settings(gpu_type="T4", **fractions)
    assert ones.placement() == others.placement() and json.dumps(ones.as_dict()) == json.dumps(others.as_dict())
    kinds = {name: type(value) for name, value in ones.as_dict().items() if name in numbers and value is not None}
    whole = {"cpu_cores", "max_batch_size", "threads"}
    assert kinds == {name: int if name in whole else float for name in kinds}


@pytest.mark.parametrize("name", ["cpu_cores", "max_batch_size", "threads"])
def test_what_is_counted_is_whole(name):
    half: dict[str, Any] = {name: 1.5}
    with pytest.raises(ValueError, match=f"{name} must be a whole number, got 1.5"):
        Settings(**half)


@pytest.mark.parametrize(("max_batch_size", "let_in"), [(1, 1024), (64, 1024), (512, 1024), (513, 1026), (4096, 8192)])
def test_serve_lets_in_a_thousand_or_one_batch_running_and_one_forming(max_batch_size, let_in):
    assert Settings(max_batch_size=max_batch_size).max_ongoing_requests == let_in


def test_what_ray_is_asked_for_is_what_was_set():
    assert Settings(cpu_cores=3).ray_actor_options == {"num_cpus": 3, "runtime_env": {"env_vars": FAST}}
    labelled = Settings(gpu_type="T4", gpu_share=0.5, node_labels={"gpu": "T4"}, env={"A": "1"}).ray_actor_options
    assert labelled == {
        "num_cpus": 1, "num_gpus": 0.5, "label_selector": {"gpu": "T4"},
        "runtime_env": {"env_vars": {**FAST, "A": "1", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "50"}},
    }  # fmt: skip


def test_the_users_environment_comes_before_ours():
    for name in FAST:
        assert Settings(env={name: "other"}).environment == {**FAST, name: "other"}


@pytest.mark.parametrize(
    ("settings", "percentage"),
    [
        (Settings(), None),
        (Settings(gpu_type="T4"), None),
        (Settings(gpu_type="T4", gpu_share=1.0), None),
        (Settings(gpu_type="T4", gpu_share=0.125), "12.5"),
    ],
)
def test_a_share_of_compute_is_told_to_mps_in_per_cent(settings, percentage):
    assert settings.environment.get("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE") == percentage


def test_memory_of_a_gpu_is_told_to_mps_which_caps_all_of_a_process():
    """One GPU is seen, number 0; in whole MiB."""
    settings = Settings(gpu_type="T4", gpu_memory=0.25, gpu_memory_gib=3.6875)
    assert settings.environment["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] == "0=3776M"
    for other in (Settings(), Settings(gpu_type="T4"), Settings(gpu_type="T4", gpu_share=0.5)):
        assert "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT" not in other.environment


def test_the_fast_path_is_what_serve_reads():
    """And gRPC reads which addresses need no proxy: all, for who sends load; a model keeps its own."""
    assert LOAD_ENVIRONMENT == {
        "RAYTUNE_INFER_LOAD": "1",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": "2147483647",
        "no_grpc_proxy": "0.0.0.0/0,::/0",
    }
    assert REPLICA_ENVIRONMENT == FAST
    ours = {"no_grpc_proxy", "RAYTUNE_INFER_LOAD"}
    [serve] = importlib.util.find_spec("ray").submodule_search_locations
    constants = Path(serve, "serve", "_private", "constants.py").read_text(encoding="utf-8")
    assert [name for name in {*LOAD_ENVIRONMENT, *FAST} - ours if f'"{name}"' not in constants] == []


FIRST = Settings(cpu_cores=2, gpu_type="T4", gpu_share=0.5, args={"size": 1, "beams": 2})


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"max_batch_size": 8}, True),
        ({"batch_wait_ms": 3.0}, True),
        ({"threads": 1}, True),
        ({"precision": "bfloat16"}, True),
        ({"args": {"size": 1, "beams": 4}}, True),  # which the model can change itself
        ({"args": {"size": 2, "beams": 2}}, False),
        ({"max_batch_size": 600}, False),  # Serve has to let more in, and cannot change that in place
        ({"gpu_memory": 0.25}, False),  # only new allocations would be held to it
        ({"gpu_memory_gib": 4.0}, False),
        ({"cpu_cores": 1}, False),
        ({"gpu_type": "L4"}, False),
        ({"gpu_share": 0.25}, False),
        ({"node_labels": {"a": "b"}}, False),
        ({"env": {"A": "1"}}, False),
        ({"emulated": True}, False),
    ],
)  # fmt: skip
def test_what_needs_another_process_and_what_does_not(changes, same):
    other = Settings(**{**FIRST.as_dict(), **changes})
    assert (FIRST.placement({"beams"}) == other.placement({"beams"})) is same
    assert (FIRST.placement() == other.placement()) is (same and "args" not in changes)


def test_a_dictionary_is_the_way_back():
    settings = Settings(cpu_cores=2, gpu_type="T4", gpu_memory=0.5, env={"A": "1"}, args={"n": [1]})
    assert Settings.of(settings.as_dict()) == settings
    assert Settings.of(json.loads(json.dumps(settings.as_dict()))) == settings
    # What an earlier version wrote, which asked the driver whether MPS ran.
    assert Settings.of({**settings.as_dict(), "mps": True}) == settings
    with pytest.raises(TypeError, match="gpu_shared"):
        Settings.of({**settings.as_dict(), "gpu_shared": 0.5})


@pytest.mark.parametrize(
    "wrong",
    [
        {"cpu_cores": 0},
        {"max_batch_size": 0},
        {"batch_wait_ms": -1},
        {"gpu_type": "T4", "gpu_share": 2},
        {"gpu_type": "T4", "gpu_share": -0.1},
        {"gpu_type": "T4", "gpu_memory": 1.1},
        {"gpu_type": "T4", "gpu_memory": -0.1},
        {"gpu_type": "T4", "gpu_memory": float("nan")},
        {"gpu_type": "T4", "gpu_share": float("nan")},
        {"gpu_share": 0.5},
        {"gpu_memory": 0.5},
    ],  # fmt: skip
)
def test_values_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)) if len(wrong) == 1 else "gpu_share"):
        Settings(**wrong)


def test_values_at_the_edge_are_taken():
    edge = Settings(cpu_cores=1, max_batch_size=1, batch_wait_ms=0, gpu_type="T4", gpu_share=1, gpu_memory=1)
    assert edge.num_gpus == 1
