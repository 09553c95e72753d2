"""The table of metrics, how a time is distributed, and what a level says of both."""

import base64
import math
from dataclasses import replace

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from serve_deployments.metrics.distribution import Distribution
from serve_deployments.metrics.level_result import interval_around, interval_of
from serve_deployments.metrics.metric_table import (
    LATENCY,
    METRICS,
    PERCENTILES,
    REQUEST_TIMES,
    STATISTICS,
    RequestTime,
    add,
    add_rate,
    add_share,
    metric_of,
    percent_of,
)
from tests.levels import a_level, a_request, events, requests


@pytest.mark.parametrize(
    ("name", "percent"),
    [*PERCENTILES.items(), ("p97_ms", 97), ("p5_ms", 5), ("p9995_ms", 99.95), ("p100_ms", None), ("p0_ms", None),
     ("p990_ms", None), ("p_ms", None), ("rps", None), ("p99", None)],
)  # fmt: skip
def test_the_name_of_a_percentile(name, percent):
    assert percent_of(name) == percent
    if name != "rps":
        assert (metric_of(name) is not None) == (percent is not None)


def test_what_each_metric_is():
    ours = ["rps", *STATISTICS, "error_rate"]
    assert list(METRICS)[: len(ours)] == ours
    assert [name for name in ours if not METRICS[name].is_limited_above] == ["rps"]
    assert [METRICS[name].unit for name in ("rps", "p99_ms", "error_rate")] == ["requests/s", "ms", ""]
    shares = {name: METRICS[name].share_above for name in ("p50_ms", "p999_ms", "max_ms", "mean_ms", "rps")}
    assert shares == {"p50_ms": 0.5, "p999_ms": pytest.approx(0.001), "max_ms": 0, "mean_ms": None, "rps": None}
    assert {name for name in ours if METRICS[name].is_tail} == {"p95_ms", "p99_ms", "p999_ms", "max_ms"}
    assert {name for name in ours if METRICS[name].is_sojourn} == set(STATISTICS)
    assert metric_of("p97_ms").share_above == pytest.approx(0.03) and metric_of("speed") is None


@pytest.fixture
def tables():
    """The tables as they were, whatever is added."""
    metrics, times = dict(METRICS), dict(REQUEST_TIMES)
    yield
    METRICS.clear()
    METRICS.update(metrics)
    REQUEST_TIMES.clear()
    REQUEST_TIMES.update(times)


def test_a_time_brings_all_its_metrics_and_none_twice(tables):
    add(RequestTime("wait", "wait_", "time from due to sent", lambda one: one.sent_s - one.due_s))
    assert list(METRICS)[-len(STATISTICS) :] == [f"wait_{statistic}" for statistic in STATISTICS]
    metric = metric_of("wait_p97_ms")
    assert (metric.statistic, metric.unit, metric.meaning) == ("p97_ms", "ms", "p97 of the time from due to sent")
    assert not metric.is_sojourn and metric.time is REQUEST_TIMES["wait"]
    for time in (RequestTime("wait", "other_", "", LATENCY.of), RequestTime("other", "wait_", "", LATENCY.of)):
        with pytest.raises(ValueError, match="already in use: wait.*; choose another name and prefix for the time"):
            add(time)
    assert "other" not in REQUEST_TIMES and "other_p50_ms" not in METRICS


def test_a_share_is_of_the_requests_that_say_and_an_amount_is_per_second(tables):
    add_share("slow_share", "share above 0.3 s", lambda one: one.latency_s > 0.3)
    add_rate("output_per_s", "tokens/s", "tokens per second", lambda one: one.size_out)
    slow, output = METRICS["slow_share"], METRICS["output_per_s"]
    assert (slow.better, slow.is_share, slow.is_limited_above) == ("lower", True, True)
    assert (output.better, output.is_share, output.is_limited_above) == ("higher", False, False)
    answered = replace(requests([0.25, 0.5, 0.75, 0.1]), size_out=np.array([10.0, math.nan, 20.0, 30.0]))
    assert slow.count(answered, 2.0) == 0.5 and output.count(answered, 2.0) == 30.0
    assert math.isnan(output.count(requests([0.25]), 2.0))  # nobody says how much that was
    for again in ("slow_share", "p99_ms"):
        with pytest.raises(ValueError, match=f"already in use: {again}; choose another name for the metric"):
            add_share(again, "", lambda one: one.failed)


def test_a_latency_is_from_when_a_request_was_due_and_a_failure_has_none():
    np.testing.assert_array_equal(LATENCY.of(requests([0.25, math.nan, 0.5])), [0.25, math.nan, 0.5])
    late = events([]).requests()
    assert len(late) == 0 and LATENCY.of(late).size == 0
    three = requests([0.1, 0.2, 0.3])
    assert three.last(2).latency_s.tolist() == [0.2, 0.3] and len(three.last(0)) == 3


def test_a_record_is_as_much_earlier_in_each_of_its_times():
    record = a_request(10.0, 0.5, first_s=9.75, parts=3, size_in=7.0, size_out=9.0)
    earlier = record.earlier(4.0)
    assert (earlier.due_s, earlier.sent_s, earlier.first_s, earlier.last_s) == (5.5, 5.5, 5.75, 6.0)
    assert earlier[3] is None and earlier[5:] == record[5:] == (3, 7.0, 9.0, None, ())


@settings(deadline=None)
@given(st.lists(st.floats(1e-5, 100), min_size=1, max_size=300))
def test_percentile_is_the_smallest_time_that_p_percent_do_not_exceed(times_s):
    found = Distribution.of(times_s)
    ordered = sorted(times_s)
    for name, percent in {**PERCENTILES, "p1_ms": 1, "p97_ms": 97}.items():
        exact = next(x for i, x in enumerate(ordered, 1) if i * 100 >= percent * len(ordered) - 1e-6)
        assert found.value(name) == pytest.approx(exact * 1e3, rel=1.5e-3, abs=2e-3)
    assert found.value("max_ms") == pytest.approx(ordered[-1] * 1e3)
    assert found.value("mean_ms") == pytest.approx(math.fsum(ordered) / len(ordered) * 1e3)


def test_p99_of_fifty_requests_is_the_largest():
    assert Distribution.of([0.01] * 49 + [5.0]).value("p99_ms") == pytest.approx(5000, rel=1e-3)
    assert Distribution.of([0.01] * 99 + [5.0]).value("p99_ms") == pytest.approx(10, rel=1e-3)


def test_a_histogram_can_be_read_elsewhere_and_merged():
    text = Distribution.of([0.1] * 7 + [0.4] * 3).histogram
    base64.b64decode(text, validate=True)
    histogram = HdrHistogram.decode(text)
    histogram.add(HdrHistogram.decode(Distribution.of([0.8] * 10).histogram))
    assert histogram.get_total_count() == 20
    assert histogram.get_value_at_percentile(25) == pytest.approx(100_000, rel=1e-3)


def test_times_beyond_the_histogram_are_kept_at_its_ends():
    assert Distribution.of([7200.0]).value("p99_ms") == pytest.approx(3_600_000, rel=1e-3)
    assert Distribution.of([3599.0, 7200.0]).value("p50_ms") == pytest.approx(3_599_000, rel=1e-3)
    assert Distribution.of([0.0]).value("p50_ms") == pytest.approx(0.001)
    assert Distribution.of([2e-6, 2e-6, 1.0]).value("p50_ms") == pytest.approx(0.002)
    assert Distribution.of([12.3456e-3]).value("p50_ms") == pytest.approx(12.3456, rel=1e-3)


def test_of_nothing_there_is_no_value():
    nothing = Distribution.of([])
    assert nothing.values == {} and nothing.value("p99_ms") is None and nothing.value("p97_ms") is None
    assert nothing.count_above(1.0) == 0 and Distribution().count_above(1.0) is None
    assert (
        list(Distribution.of([0.1]).values) == list(STATISTICS)
        and Distribution({"p99_ms": 7.0}).value("p98_ms") is None
    )


def test_times_above_a_limit_are_counted_and_those_at_it_are_not():
    level = a_level(10.0, latency_s=[0.050] * 7 + [0.100] * 2 + [0.400])
    assert [level.above("p99_ms", ms) for ms in (10, 60, 200, 500)] == [10, 3, 1, 0]
    assert (
        level.above("p99_ms", level.value("p98_ms") + 1e-6) == 0
    )  # the end of the step of the histogram that it is in
    assert level.above("error_rate", 0.1) is None and level.above("speed", 0.1) is None


def test_a_level_reports_what_was_measured():
    level = a_level(10.0, rate_rps=9.5, error_rate=0.05)
    assert tuple(level.metrics) == ("rps", *STATISTICS, "error_rate")  # nothing of parts, which nobody saw
    assert level.metrics["rps"] == level.value("rps") == 9.5
    assert level.value("error_rate") == 0.05 and level.value("speed") is None
    nothing = a_level(10.0, latency_s=[], rate_rps=0.0, error_rate=1.0)
    assert nothing.metrics == nothing.with_metrics(["p97_ms", "p99_ms"]) == {"rps": 0.0, "error_rate": 1.0}


def test_what_was_asked_of_a_level_is_its_clients_or_its_rate():
    assert a_level(10.0).asked == 10.0 and a_level(clients=4).asked == 4.0
    with pytest.raises(ValueError, match="a closed level has a concurrency"):
        a_level(None, mode="closed")
    with pytest.raises(ValueError, match="an open one a requested rate"):
        a_level(clients=3, mode="open")


def test_an_interval_is_known_by_both_its_ends_alone():
    assert interval_of(1.0, 2.0) == (1.0, 2.0) and interval_of(0.0, 2.0) == (0.0, 2.0)
    assert interval_of(None, 2.0) is None and interval_of(1.0, None) is None
    assert a_level(10.0, rate_low_rps=9.0, rate_high_rps=11.0).interval_rps == (9.0, 11.0)
    assert a_level(10.0, rate_low_rps=9.0).interval_rps is None
    # As earlier versions stored some: the rate is not in it.
    assert a_level(10.0, rate_low_rps=10.5, rate_high_rps=11.0).interval_rps is None
    assert interval_around(10.0, 9.0, 11.0) == (9.0, 11.0) and interval_around(10.0, 9.0, None) is None
    assert interval_around(10.0, 9.0, 9.9) is interval_around(math.nan, 9.0, 11.0) is None


@pytest.mark.parametrize("count", [1000, 2000, 5000])
def test_a_percentile_that_falls_on_a_rank_is_that_rank_and_not_the_next(count):
    """Of 1,000 requests the 999th is p999, though 0.999 x 1000 is a little more in floating point."""
    of = Distribution.of([1.0] * (count - count // 1000) + [9.0] * (count // 1000))
    assert of.value("p999_ms") == pytest.approx(1000, rel=1e-3) and of.value("max_ms") == 9000
    assert of.count_above(5000.0) == count // 1000 and of.count_above(500.0) == count


def test_percentiles_and_counts_are_those_of_the_histogram_library():
    times_s = [0.0, *np.random.default_rng(0).lognormal(-4, 3, 300).tolist()]
    of = Distribution.of(times_s)
    recorded = HdrHistogram.decode(of.histogram)
    for percent in (1, 37, 50, 99):
        rank = math.ceil(percent / 100 * len(times_s))
        assert of.value(f"p{percent}_ms") == recorded.get_value_at_percentile(100 * rank / len(times_s)) / 1e3
    steps = [(step.value_iterated_to, step.count_at_value_iterated_to) for step in recorded.get_recorded_iterator()]
    for at_ms in (0.0, 5e-4, 1e-3, 17.0, of.value("p50_ms"), of.value("p99_ms"), 4e6, math.inf):
        assert of.count_above(at_ms) == sum(count for end_us, count in steps if end_us > 1e3 * at_ms)


def test_no_percentile_is_above_the_maximum():
    """A bucket of the histogram ends a thousandth above the times in it: a p99 limit of 50 ms is kept by 50 ms."""
    of = Distribution.of([0.05] * 1000)
    assert {of.value(name) for name in (*PERCENTILES, "p97_ms", "max_ms")} == {50.0}
    assert of.count_above(50.0) == 0 and of.count_above(49.0) == 1000
