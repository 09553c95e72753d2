"""What is reported: percentiles by definition, and JSON there and back."""

import base64
import json
import math
from dataclasses import MISSING, fields, replace
from typing import Any

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from serve_deployments.measurement import (
    LATENCIES,
    METRICS,
    PERCENTILES,
    Latencies,
    Load,
    Measurement,
    interval_of,
)
from serve_deployments.usage import Batch, Usage


def level(**changes):
    load = Load(
        mode="open", concurrency=None, requested_rps=10.0, achieved_rps=9.5, duration_s=2.0, completed=19, errors=1,
        error_rate=0.05, latencies=Latencies.of([0.1, 0.2, 0.3]), steady=True, overloaded=False,
        client_cpu_share=0.1, client_lag_ms=0.5, client_limited=False, warmup_s=0.4, started_at=1e9, ended_at=1e9 + 3,
    )  # fmt: skip
    return replace(load, **changes)


@given(st.lists(st.floats(1e-5, 100), min_size=1, max_size=300))
def test_percentile_is_the_smallest_latency_that_p_percent_do_not_exceed(latencies_s):
    found = Latencies.of(latencies_s)
    ordered = sorted(latencies_s)
    for name, percent in PERCENTILES.items():
        exact = next(x for i, x in enumerate(ordered, 1) if i * 100 >= percent * len(ordered) - 1e-6)
        assert getattr(found, name) == pytest.approx(exact * 1e3, rel=1.5e-3, abs=2e-3)
    assert found.max_ms == pytest.approx(ordered[-1] * 1e3)
    assert found.mean_ms == pytest.approx(math.fsum(ordered) / len(ordered) * 1e3)


def test_p99_of_fifty_requests_is_the_largest():
    assert Latencies.of([0.01] * 49 + [5.0]).p99_ms == pytest.approx(5000, rel=1e-3)
    assert Latencies.of([0.01] * 99 + [5.0]).p99_ms == pytest.approx(10, rel=1e-3)


def test_histogram_can_be_read_elsewhere_and_merged():
    text = Latencies.of([0.1] * 7 + [0.4] * 3).histogram
    base64.b64decode(text, validate=True)
    histogram = HdrHistogram.decode(text)
    histogram.add(HdrHistogram.decode(Latencies.of([0.8] * 10).histogram))
    assert histogram.get_total_count() == 20
    assert histogram.get_value_at_percentile(25) == pytest.approx(100_000, rel=1e-3)


def test_latencies_beyond_the_histogram_are_kept_at_its_end():
    assert Latencies.of([7200.0]).p99_ms == pytest.approx(3_600_000, rel=1e-3)
    assert Latencies.of([0.0]).p50_ms == pytest.approx(0.001)


def test_metrics_are_those_declared_and_only_what_was_measured():
    assert tuple(level().metrics) == METRICS
    assert level().metrics["rps"] == 9.5
    nothing = level(latencies=Latencies.of([]), completed=0, achieved_rps=0.0, error_rate=1.0).metrics
    assert nothing == {"rps": 0.0, "error_rate": 1.0}
    assert not set(LATENCIES) & set(nothing)


@pytest.mark.parametrize("latencies_s", [[], [0.1, 0.25]])
def test_json_there_and_back(latencies_s):
    measurement = Measurement(
        method="highest_rate",
        loads=(level(latencies=Latencies.of(latencies_s)), level(mode="closed", concurrency=4, requested_rps=None)),
        reported=1,
        found=True,
        client_limited=False,
        seconds=7.5,
        reason="the limit is between 9 and 10 requests/s",
    )
    table = json.loads(json.dumps(measurement.as_dict(), allow_nan=False))
    assert Measurement.from_dict(table) == measurement
    assert table["metrics"] == measurement.metrics
    assert table["loads"][0]["p99_ms"] == measurement.loads[0].latencies.p99_ms


USAGE: dict[str, Any] = {
    "seconds": 3.0, "batches": {1: 2, 4: 5}, "busy_s": 1.5, "cpu_s": 2.5, "gpu_busy_s": 0.5, "gpu_seen_s": 1.0,
    "memory_bytes": 1000, "gpu_memory_bytes": 2000, "queue": 3, "queue_most": 4, "others_s": 0.25, "cores_s": 6.0,
    "recent": (Batch(1, 0.125), Batch(4, 0.25)),
}  # fmt: skip
LEVEL: dict[str, Any] = {
    "mode": "closed", "concurrency": 4, "requested_rps": 12.5, "achieved_rps": 9.5, "duration_s": 2.0,
    "completed": 19, "errors": 1, "error_rate": 0.05, "latencies": Latencies.of([0.1, 0.2, 0.3]), "steady": True,
    "overloaded": True, "client_cpu_share": 0.1, "client_lag_ms": 0.5, "client_limited": True, "warmup_s": 0.4,
    "started_at": 1e9, "ended_at": 1e9 + 3, "rate_low_rps": 9.0, "rate_high_rps": 10.0, "usage": Usage(**USAGE),
    "senders": 3,
}  # fmt: skip
MEASURED: dict[str, Any] = {
    "method": "highest_rate", "loads": (Load(**LEVEL), Load(**LEVEL)), "reported": 1, "found": True,
    "client_limited": True, "seconds": 7.5, "reason": "the limit is near", "apart": False, "ended_early": True,
    "estimate": {"rps": 8.5, "p99_ms": 40.0}, "rate_low_rps": 8.0, "rate_high_rps": 9.0,
}  # fmt: skip


@pytest.mark.parametrize(("made_of", "values"), [(Usage, USAGE), (Load, LEVEL), (Measurement, MEASURED)])
def test_every_field_comes_back_from_json(made_of, values):
    """Each has another value than it would have unless it was told, so that one which is dropped is missed."""
    assert set(values) == {field.name for field in fields(made_of)}
    unless_told = {field.name: field.default for field in fields(made_of) if field.default is not MISSING}
    assert all(values[name] != default for name, default in unless_told.items())
    one = made_of(**values)
    assert made_of.from_dict(json.loads(json.dumps(one.as_dict(), allow_nan=False))) == one


@pytest.mark.parametrize(("made_of", "values"), [(Load, LEVEL), (Measurement, MEASURED)])
def test_records_of_an_earlier_revision_are_read_without_what_they_did_not_have(made_of, values):
    for name in [field.name for field in fields(made_of) if field.default is not MISSING]:
        table = made_of(**values).as_dict()
        del table[name]
        told = {key: value for key, value in values.items() if key != name}
        assert made_of.from_dict(table) == made_of(**told), name


def test_what_was_stored_before_there_were_intervals_can_be_read():
    measurement = Measurement("highest_rate", (level(rate_low_rps=9.0, rate_high_rps=10.0),), 0, True, False, 1.0, "")
    table = measurement.as_dict()
    for name in ("rate_low_rps", "rate_high_rps", "ended_early"):
        table.pop(name)
        table["loads"][0].pop(name, None)
    read = Measurement.from_dict(table)
    assert read.loads[0].rate_low_rps is None and not read.ended_early
    assert replace(read, loads=measurement.loads) == measurement


def test_a_level_that_kept_up_stands_for_the_rate_that_was_asked_for():
    assert level(achieved_rps=8.0).metrics["rps"] == pytest.approx(10 * 0.95)
    assert level(achieved_rps=8.0, overloaded=True).metrics["rps"] == 8.0
    assert level(achieved_rps=8.0, mode="closed", requested_rps=None).metrics["rps"] == 8.0


def test_nothing_found_still_reports_a_level():
    measurement = Measurement("highest_rate", (level(),), 0, False, False, 1.0, "too slow")
    assert measurement.best is None and measurement.metrics["p50_ms"] == pytest.approx(200, rel=1e-3)
    with pytest.raises(ValueError, match="level 1"):
        replace(measurement, reported=1)


def test_what_others_had_of_the_cores_is_that_of_all_levels():
    def measured(*used):
        loads = tuple(level(usage=usage) for usage in used)
        return Measurement("highest_rate", loads, 0, True, False, 1.0, "")

    told = measured(Usage(others_s=1.0, cores_s=4.0), None, Usage(others_s=2.0, cores_s=2.0))
    assert told.others_share == 0.5
    assert measured(None).others_share is None and measured(Usage(seconds=3.0)).others_share is None


def test_a_level_claims_no_rate_above_its_own_interval_and_none_that_failed():
    assert level(rate_high_rps=9.2).rate_rps == 9.2  # 10 were asked for, 5 % failed
    assert level(rate_high_rps=9.7).rate_rps == pytest.approx(9.5)
    assert level(requested_rps=20.0, error_rate=0.25).rate_rps == pytest.approx(15)
    assert level(overloaded=True, rate_high_rps=9.2).rate_rps == 9.5


def test_warm_up_of_a_measurement_is_that_of_all_levels_and_it_is_as_steady_as_the_reported_one():
    loads = (level(warmup_s=0.5), level(warmup_s=1.5, steady=False))
    measurement = Measurement("highest_rate", loads, 0, True, False, 1.0, "")
    assert measurement.warmup_s == 2.0 and measurement.steady and measurement.best is loads[0]
    assert not replace(measurement, reported=1).steady
    for wrong in (-1, 2):
        with pytest.raises(ValueError, match=f"level {wrong} is reported, there are 2"):
            replace(measurement, reported=wrong)


def test_an_interval_is_known_by_both_its_ends_alone():
    assert interval_of(1.0, 2.0) == (1.0, 2.0) and interval_of(0.0, 2.0) == (0.0, 2.0)
    assert interval_of(None, 2.0) is None and interval_of(1.0, None) is None
    measurement = Measurement("peak_rate", (level(),), 0, True, False, 1.0, "", rate_low_rps=8.0, rate_high_rps=9.0)
    assert measurement.interval_rps == (8.0, 9.0) and replace(measurement, rate_low_rps=None).interval_rps is None


def test_an_estimate_stands_for_the_level():
    measurement = Measurement("highest_rate", (level(),), 0, True, False, 1.0, "", estimate={"rps": 3.0})
    assert measurement.metrics == {"rps": 3.0}
    assert measurement.apart and not measurement.ended_early  # unless told otherwise
    read = Measurement.from_dict(json.loads(json.dumps(measurement.as_dict())))
    assert read == measurement


def test_what_a_replica_did_comes_back_from_json():
    told = level(usage=Usage(seconds=3.0, batches={4: 2}, busy_s=1.0), senders=3)
    table = json.loads(json.dumps(told.as_dict(), allow_nan=False))
    assert Load.from_dict(table) == told and table["rate_rps"] == told.rate_rps
    assert level().senders == 1 and level().usage is None


def test_a_latency_of_an_hour_and_one_of_a_microsecond_are_exact():
    assert Latencies.of([3600.0]).p50_ms == pytest.approx(3_600_000, rel=1e-3)
    assert Latencies.of([3599.0, 7200.0]).p50_ms == pytest.approx(3_599_000, rel=1e-3)
    assert Latencies.of([2e-6, 2e-6, 1.0]).p50_ms == pytest.approx(0.002)
    assert Latencies.of([12.3456e-3]).p50_ms == pytest.approx(12.3456, rel=1e-3)
    assert Latencies.of([]).known == {} and list(Latencies.of([0.1]).known) == list(LATENCIES)
