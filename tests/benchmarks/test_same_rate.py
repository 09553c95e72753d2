"""What the benchmarks of the highest rate say of measurements that are made up."""

from typing import Any

import pytest

from benchmarks.measuring.same_rate import holding, table
from benchmarks.measuring.stalls import CONFIGURATIONS, at_random
from benchmarks.replica.services import SERVICES
from serve_deployments.metrics.measurement import Measurement
from tests.levels import a_level


def measured(rate_rps: float, low: float, high: float) -> Any:
    level = a_level(rate_rps, latency_s=[0.05])
    return Measurement(
        "highest_rate", (level,), 0, True, False, 10.0, "", estimate={"rps": rate_rps}, rate_low_rps=low,
        rate_high_rps=high,
    )  # fmt: skip


def test_an_interval_should_hold_the_mean_of_the_other_measurements():
    assert holding([measured(100.0, 90.0, 110.0), measured(105.0, 101.0, 110.0), measured(100.0, 50.0, 103.0)]) == 2
    # The mean of the others, geometric: 200 of 100 and 400.
    assert holding([measured(100.0, 99.0, 101.0), measured(400.0, 399.0, 401.0), measured(200.0, 199.0, 201.0)]) == 1
    assert holding([measured(100.0, 1.0, 1000.0)]) == 0


def test_a_service_is_told_to_vary_too_much_or_to_be_certain_without_reason():
    service = SERVICES["sleeping-40"]()
    alike = table([service], {service.name: [measured(100.0, 90.0, 110.0)] * 10})
    assert "| 0.0% |" in alike and "10 of 10" in alike and "**no**" not in alike
    apart = table([service], {service.name: [measured(rate, rate, rate) for rate in (100.0, 120.0)]})
    assert apart.count("**no**") == 2


def test_stalls_are_as_frequent_as_asked_and_never_overlap():
    stalls = at_random(1, 4000.0, 4.0, 0.3)
    assert len(stalls) == pytest.approx(4000 / 4.3, rel=0.1) and {length for _, length in stalls} == {0.3}
    assert all(b[0] >= a[0] + 0.3 for a, b in zip(stalls, stalls[1:], strict=False))
    assert at_random(2, 4000.0, 4.0, 0.3) != stalls


def test_configurations_differ_in_their_batches_under_one_limit():
    assert [server.batch for server in CONFIGURATIONS] == [1, 2, 4, 8, 16]
    assert [server.limit_ms for server in CONFIGURATIONS] == pytest.approx([100.0] * 5)
