"""What one trial implies of others: checked against every pair of a small space."""

import numpy as np
import pytest

from searchers.base import Observation
from searchers.meta.monotone import Monotone
from searchers.space import Knob, Space, Value

MEMORY = Knob("gpu_memory", (1, 2, 4), columns=("log2_gpu_memory_gib",), features=((0.0,), (1.0,), (2.0,)))
BATCH = Knob("max_batch_size", (1, 8), columns=("log2_max_batch_size",), features=((0.0,), (3.0,)))
CORES = Knob("cpu_cores", (1, 2), columns=("log2_cpu_cores",), features=((0.0,), (1.0,)))
KIND = Knob("kernel", ("a", "b"), "categorical")
SPACE = Space([MEMORY, BATCH, CORES, KIND])


def implied(*trials):
    """Names of what runs and what fails, as sets of configurations' values."""
    observed = [Observation(SPACE.position(config), metrics) for config, metrics in trials]
    return [
        {tuple(SPACE[i].values()) for i in np.flatnonzero(mask).tolist()} for mask in Monotone(SPACE).implied(observed)
    ]


def config(memory, batch, cores=1, kernel="a"):
    return {"gpu_memory": memory, "max_batch_size": batch, "cpu_cores": cores, "kernel": kernel}


def test_nothing_is_implied_by_nothing():
    assert implied() == [set(), set()]


@pytest.mark.parametrize("memory", [1, 2, 4])
@pytest.mark.parametrize("batch", [1, 8])
def test_a_failure_rules_out_what_has_no_more_and_needs_no_less(memory, batch):
    runs, fails = implied((config(memory, batch), None))
    assert not runs
    assert fails == {(m, b, c, "a") for m in (1, 2, 4) for b in (1, 8) for c in (1, 2) if m <= memory and b >= batch}


def test_what_ran_vouches_for_what_has_more_and_needs_less_even_where_it_broke_a_limit():
    runs, fails = implied((config(2, 8), {"rps": 3.0, "error_rate": 0.5}))
    assert runs == {(m, b, c, "a") for m in (2, 4) for b in (1, 8) for c in (1, 2)} and not fails


def test_trials_that_contradict_one_another_imply_nothing_where_they_do():
    runs, fails = implied((config(4, 1), None), (config(1, 8), {"rps": 1.0}))
    assert not runs and not fails


def of_column(column: str, *trials) -> list[list[Value]]:
    """Values of a knob of that column, 1, 2 or 4, that must run, and that cannot, by trials of it."""
    knob = Knob("k", (1, 2, 4), columns=(column,), features=((0.0,), (1.0,), (2.0,)))
    space = Space([knob])
    observed = [Observation(space.position({"k": value}), metrics) for value, metrics in trials]
    return [[space[i]["k"] for i in np.flatnonzero(mask).tolist()] for mask in Monotone(space).implied(observed)]


ALL = [1, 2, 4]


@pytest.mark.parametrize(
    ("column", "runs", "fails"),
    [
        # More of it never keeps one from running.
        ("log2_gpu_memory_gib", [2, 4], [1, 2]),
        ("log2_gpu_memory_cap_gib", [2, 4], [1, 2]),
        # More of it never helps one to run.
        ("log2_max_batch_size", [1, 2], [2, 4]),
        # It has no part in it.
        ("log2_cpu_cores", ALL, ALL),
        ("log2_threads", ALL, ALL),
        ("log2_batch_wait_ms_plus_1", ALL, ALL),
        # Of all others nobody knows.
        ("log2_gpu_share", [2], [2]),
        ("log2_gpus", [2], [2]),
        ("log2_gpu_bandwidth_gb_s", [2], [2]),
        ("log2_precision_bits", [2], [2]),
        ("log2_beams", [2], [2]),
    ],
)
def test_what_each_column_has_to_do_with_whether_a_configuration_runs(column, runs, fails):
    assert of_column(column, (2, {"rps": 1.0})) == [runs, []]
    assert of_column(column, (2, None)) == [[], fails]


def test_another_kernel_is_another_story():
    assert all(kernel == "b" for _, _, _, kernel in implied((config(4, 1, kernel="b"), None))[1])
