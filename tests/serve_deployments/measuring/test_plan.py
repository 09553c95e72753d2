"""Which plans make sense, and what they are unless told otherwise."""

from typing import Any

import pytest

from serve_deployments.load.arrivals import POISSON
from serve_deployments.measuring.plan import LoadPlan

SMALLEST: dict[str, Any] = dict(
    level_min_s=1e-9, level_max_s=1e-9, total_max_s=1e-9, precision=1e-9, rate_precision=1e-9, drain_s=0.0,
    start_concurrency=1, max_concurrency=1, max_in_flight=1,
)  # fmt: skip


def test_a_plan_is_what_the_documentation_says():
    plan = LoadPlan()
    assert (plan.precision, plan.rate_precision, plan.arrivals, plan.seed) == (0.05, 0.05, POISSON, 0)
    assert (plan.level_min_s, plan.level_max_s, plan.total_max_s, plan.drain_s) == (1.0, 10.0, 60.0, 2.0)
    assert (plan.start_concurrency, plan.max_concurrency, plan.max_in_flight) == (1, 512, 1024)


def test_the_smallest_plan_that_makes_sense_is_taken():
    LoadPlan(**SMALLEST)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"precision": 0}, "precision must be above 0, got 0"),
        ({"level_min_s": 0}, "level_min_s must be above 0, got 0"),
        ({"level_max_s": -1}, "level_max_s must be above 0, got -1"),
        ({"total_max_s": 0}, "total_max_s must be above 0, got 0"),
        ({"total_max_s": float("nan")}, "total_max_s must be above 0, got nan"),
        ({"rate_precision": 0}, "rate_precision must be above 0, got 0"),
        ({"start_concurrency": 0}, "start_concurrency must be 1 or more, got 0"),
        ({"max_in_flight": 0}, "max_in_flight must be 1 or more, got 0"),
        ({"drain_s": -0.1}, "drain_s must not be negative, got -0.1"),
        ({"start_concurrency": 3, "max_concurrency": 2}, "max_concurrency=2 is below start_concurrency=3"),
        ({"level_min_s": 2.0, "level_max_s": 1.0}, "level_min_s=2.0 s does not fit into level_max_s=1.0"),
    ],
)
def test_what_makes_no_sense_is_said(changes, said):
    with pytest.raises(ValueError, match=said):
        LoadPlan(**{**SMALLEST, **changes})


def test_a_peak_of_batches_starts_with_as_many_clients_as_fill_one():
    plan = LoadPlan(start_concurrency=4, max_concurrency=64)
    assert [plan.filling(batch).start_concurrency for batch in (1, 4, 16, 64, 100)] == [4, 4, 16, 64, 64]
