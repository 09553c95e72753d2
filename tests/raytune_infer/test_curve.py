"""A level read from its record: every percentile that the histogram has, and what older records leave out."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raytune_infer.ranking.curve import Level, in_order, percent_of
from serve_deployments.measurement import PERCENTILES, Latencies, Load
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


def test_a_level_is_read_figure_by_figure():
    level = Level.of(load(steady=False, client_limited=True))
    assert (level.mode, level.asked, level.rps, level.completed) == ("open", 10.0, 9.5, 95)
    assert (level.steady, level.client_limited, level.overloaded, level.reported) == (False, True, False, None)
    assert level.metrics["rps"] == 9.5 and level.metrics["error_rate"] == 0.05
    closed = load(mode="closed", concurrency=4, requested_rps=None, overloaded=True)
    assert (Level.of(closed).asked, Level.of(closed).overloaded, Level.of(closed).fell_behind) == (4.0, True, False)
    # What a level is said to reach is its estimate where it has one.
    assert Level.of({**load(), "rate_rps": 9.8}).rps == Level.of({**load(), "rate_rps": 9.8}).metrics["rps"] == 9.8
    older = {k: v for k, v in load().items() if k not in ("completed", "histogram", "rate_rps")}
    assert (Level.of(older).completed, Level.of(older).histogram, Level.of(older).rps) == (0, None, 9.5)


def test_both_ends_of_an_interval_are_needed():
    assert Level.of({**load(), "rate_low_rps": 9.0}).interval_rps is None
    assert Level.of({**load(), "rate_high_rps": 9.0}).interval_rps is None


def test_answers_above_a_limit_are_counted_and_those_at_it_are_not():
    level = Level.of(load([0.050] * 7 + [0.100] * 2 + [0.400]))
    assert [level.above(ms) for ms in (10, 60, 200, 500)] == [10, 3, 1, 0]
    assert level.above(level.value("p98_ms") + 1e-6) == 0  # the end of the step of the histogram that it is in
    assert Level("open", 1, 1, {}).above(10) is None


def test_a_percentile_that_was_recorded_counts_before_the_histogram():
    level = Level.of({**load(), "p99_ms": 7.0})
    assert level.value("p99_ms") == 7.0 and level.value("p98_ms") > 100
    assert level.with_metrics(["p98_ms", "speed"]) == {**level.metrics, "p98_ms": level.value("p98_ms")}
    assert Level("open", 1, 1, {}).value("p98_ms") is None


def test_what_may_be_missing_before_a_level_fell_behind_are_5_percent_and_a_deviation():
    def fell_behind(due, missing, **more):
        return Level.of(
            load(overloaded=True, requested_rps=due / 10, completed=due - missing - 5, errors=5, **more)
        ).fell_behind

    # Of 400: 20 + 20; of 10,000: 500 + 100. An error is an answer.
    assert [fell_behind(400, missing) for missing in (40, 41)] == [False, True]
    assert [fell_behind(10_000, missing) for missing in (600, 601)] == [False, True]


def test_the_lower_of_two_in_the_middle_stands_for_both():
    levels = [Level("open", 10, rps, {}) for rps in (12, 9, 11, 10)]
    assert in_order(levels, "open")[0].rps == 10 and in_order(levels, "closed") == ()
    assert in_order(levels[:1], "open")[0].rps == 12
    assert in_order(levels[:2], "open")[0].rps == 9
