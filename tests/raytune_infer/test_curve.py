"""A level read from its record: every percentile that the histogram has, and what older records leave out."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytune_infer.recommending.curve import Level, in_order, percent_of
from serve_deployments.measuring.measurement import PERCENTILES, Latencies, Load
from serve_deployments.usage import Usage


def load(latencies_s=(0.1, 0.2, 0.3), **changes):
    values = {
        "mode": "open", "concurrency": None, "requested_rps": 10.0, "achieved_rps": 9.5, "duration_s": 10.0,
        "completed": 95, "errors": 5, "error_rate": 0.05, "latencies": Latencies.of(latencies_s), "steady": True,
        "overloaded": False, "client_cpu_share": 0.1, "client_lag_ms": 0.5, "client_limited": False,
        "warmup_s": 0.4, "started_at": 1e9, "ended_at": 1e9 + 3,
    }  # fmt: skip
    return Load(**{**values, **changes}).as_dict()


@pytest.mark.parametrize(
    ("name", "percent"),
    [*PERCENTILES.items(), ("p97_ms", 97), ("p5_ms", 5), ("p9995_ms", 99.95), ("p100_ms", None), ("p0_ms", None),
     ("p990_ms", None), ("p_ms", None), ("rps", None), ("p99", None)],
)  # fmt: skip
def test_the_name_of_a_percentile(name, percent):
    assert percent_of(name) == percent


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(1e-4, 100), min_size=1, max_size=200), st.sampled_from([1, 30, 97, 99]))
def test_any_percentile_is_the_smallest_latency_that_so_many_do_not_exceed(latencies_s, percent):
    exact = sorted(latencies_s)[math.ceil(percent / 100 * len(latencies_s) - 1e-9) - 1]
    found = Level.of(load(latencies_s)).value(f"p{percent}_ms")
    assert found == pytest.approx(exact * 1e3, rel=1.5e-3, abs=2e-3)


def test_recorded_percentiles_and_the_histograms_are_the_same():
    table = load([0.001 * i for i in range(1, 400)])
    without = Level.of({k: v for k, v in table.items() if k not in PERCENTILES})
    assert {name: without.value(name) for name in PERCENTILES} == {name: table[name] for name in PERCENTILES}


def test_what_was_not_measured_has_no_value():
    unanswered = Level.of(load([], completed=0))
    assert unanswered.value("p99_ms") is None and unanswered.value("p97_ms") is None
    assert Level.of(load()).value("speed") is None
    assert set(unanswered.with_metrics(["p99_ms", "error_rate"])) == {"rps", "error_rate"}


def test_what_newer_records_have_is_read_and_older_ones_are_still_read():
    assert (Level.of(load()).interval_rps, Level.of(load()).usage) == (None, None)
    usage = Usage(seconds=4.0, busy_s=3.0, batches={8: 2})
    newer = {**load(), "rate_low_rps": 9.0, "rate_high_rps": 10.0, "usage": usage.as_dict(), "unheard_of": 1}
    assert (Level.of(newer).interval_rps, Level.of(newer).usage) == ((9.0, 10.0), usage)


def test_an_overloaded_level_fell_behind_only_if_its_answers_did():
    # 100 due; 5 % and a standard deviation of 10 may be missing.
    assert not Level.of(load(overloaded=True, completed=80)).fell_behind
    assert Level.of(load(overloaded=True, completed=75)).fell_behind
    assert not Level.of(load(overloaded=True, completed=75, warmup_s=0.0)).fell_behind
    assert not Level.of(load(overloaded=False, completed=75)).fell_behind


def test_levels_come_in_the_order_of_what_was_asked_and_the_middle_stands_for_those_alike():
    levels = [Level("open", asked, rps, {}) for asked, rps in ((20, 19), (10, 9), (10, 11), (10, 10), (20, 18))]
    assert [level.rps for level in in_order([*levels, Level("closed", 1, 5, {})], "open")] == [10, 18]
