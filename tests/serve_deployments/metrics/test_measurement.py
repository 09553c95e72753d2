"""What a load test says of itself, by the levels behind it."""

from dataclasses import replace

import pytest

from serve_deployments.metrics.measurement import Measurement
from serve_deployments.resources.usage import Usage
from tests.levels import a_level


def measured(*levels, **more):
    return Measurement("highest_rate", levels, 0, True, False, 1.0, "", **more)


def test_nothing_found_still_reports_a_level():
    measurement = replace(measured(a_level(10.0)), found=False, reason="too slow")
    assert measurement.best is None and measurement.metrics["p50_ms"] == pytest.approx(200, rel=1e-3)


def test_what_others_had_of_the_cores_is_that_of_all_levels():
    def told(*used):
        return measured(*(a_level(10.0, usage=usage) for usage in used)).others_share

    assert told(Usage(others_s=1.0, cores_s=4.0), None, Usage(others_s=2.0, cores_s=2.0)) == 0.5
    assert told(None) is None and told(Usage(seconds=3.0)) is None


def test_a_measurement_is_as_steady_as_its_reported_level():
    levels = (a_level(10.0), a_level(10.0, steady=False))
    measurement = measured(*levels)
    assert measurement.steady and measurement.best is levels[0]
    assert not replace(measurement, reported=1).steady
    for wrong in (-1, 2):
        with pytest.raises(ValueError, match=f"an index into the 2 levels, got {wrong}"):
            replace(measurement, reported=wrong)


def test_its_interval_is_known_by_both_its_ends_alone():
    measurement = measured(a_level(10.0), rate_low_rps=8.0, rate_high_rps=12.0)
    assert measurement.interval_rps == (8.0, 12.0) and replace(measurement, rate_low_rps=None).interval_rps is None


@pytest.mark.parametrize("ends", [(8.0, 9.9), (10.1, 12.0)])
def test_a_rate_outside_its_interval_is_refused(ends):
    low, high = ends
    with pytest.raises(ValueError, match=r"an interval of 0 or more around the rate 10\.0 is needed, got \("):
        measured(a_level(10.0), rate_low_rps=low, rate_high_rps=high)
    assert measured(a_level(10.0), rate_low_rps=low, rate_high_rps=high, estimate={"rps": (low + high) / 2})


def test_an_estimate_stands_for_the_level():
    assert measured(a_level(10.0), estimate={"rps": 3.0}).metrics == {"rps": 3.0}
    plain = measured(a_level(10.0))
    assert plain.metrics == plain.levels[0].metrics
    assert plain.apart and not plain.ended_early  # unless told otherwise
