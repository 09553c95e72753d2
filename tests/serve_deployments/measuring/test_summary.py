"""What is reported of a level, by records of which every number is known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from serve_deployments.measuring.statistics.interval import MeanEstimate
from serve_deployments.measuring.stopping_rules import LevelStatus
from serve_deployments.measuring.summary import LevelRun, client_limited, rate_of, summarise
from serve_deployments.metrics.metric_table import METRICS, Metric
from serve_deployments.resources.usage import Usage
from tests.levels import a_request, events

OPEN = LevelRun("open", None, 10.0, 1e9, 1e9 + 4)
CLOSED = LevelRun("closed", 4, None, 1e9, 1e9 + 4)


def record():
    """Ten requests, one a second; number 3, 6 and 9 failed; number n took n x 10 ms."""
    latency_s = [math.nan if n % 3 == 0 else n / 100 for n in range(1, 11)]
    made = events([float(n) for n in range(1, 11)], latency_s, start_s=0.5)
    for n in range(11):
        made.read_cpu(float(n), 0.25 * n)
    return made


def test_warm_up_and_failures_are_no_part_of_rates_and_latencies():
    whole = record()
    found = summarise(
        OPEN, whole, LevelStatus(whole.span(2), MeanEstimate(0.6, 0.1, 6), sure=True), [9.0], until_s=12.0
    )
    # Of numbers 3 to 10, three failed and five were answered in 8 s.
    assert (found.completed, found.errors, found.error_rate) == (5, 3, 3 / 8)
    assert found.duration_s == 8.0 and found.achieved_rps == 5 / 8 and found.warmup_s == 1.5
    assert found.value("max_ms") == pytest.approx(100) and found.value("mean_ms") == pytest.approx(340 / 5)
    assert (found.mode, found.concurrency, found.requested_rps) == ("open", None, 10.0)
    assert (found.started_at, found.ended_at) == (1e9, 1e9 + 4)
    assert found.steady and not found.overloaded and found.client_cpu_share == pytest.approx(0.25)
    assert (found.rate_low_rps, found.rate_high_rps) == pytest.approx((0.6 - 0.25706, 0.6 + 0.25706), rel=1e-4)


def test_shares_and_amounts_of_the_table_are_those_of_the_measured_requests(monkeypatch):
    counted = {
        "slow_share": Metric("slow_share", "", "lower", "above 45 ms", counted=lambda one: one.latency_s > 0.045),
        "parts_per_s": Metric("parts_per_s", "parts/s", "higher", "parts", counted=lambda one: one.parts),
        "output_per_s": Metric("output_per_s", "tokens/s", "higher", "tokens", counted=lambda one: one.size_out),
    }
    for name, metric in counted.items():
        monkeypatch.setitem(METRICS, name, metric)
    whole = record()
    found = summarise(OPEN, whole, LevelStatus(whole.span(2), None), [], until_s=12.0)
    # Of numbers 3 to 10, in 8 s, 5, 7, 8 and 10 took more; nobody says how large the answers were.
    assert found.counts == {"slow_share": 4 / 8, "parts_per_s": 1.0}
    assert found.metrics["slow_share"] == 0.5 and found.value("output_per_s") is None


def test_what_outlived_a_level_counts_in_its_latencies_where_its_question_is_open():
    whole = record()
    for sure, overloaded, stopped in ((False, False, False), (True, True, False), (True, False, True)):
        level = LevelRun("open", None, 10.0, 1e9, 1e9 + 4, stopped=stopped)
        finding = LevelStatus(whole.span(2), None, sure=sure, overloaded=overloaded)
        found = summarise(level, whole, finding, [9.0, 5.0], until_s=12.0)
        assert found.value("max_ms") == pytest.approx(9000) and found.value("mean_ms") == pytest.approx(
            (340 + 14_000) / 7
        )
        assert not found.steady and found.overloaded is (overloaded or stopped)
        assert found.completed == 5 and found.rate_low_rps is None and found.rate_high_rps is None


def test_where_too_little_happened_all_of_it_is_measured():
    found = summarise(OPEN, record(), None, [], until_s=12.0)
    assert (found.completed, found.errors, found.duration_s, found.warmup_s) == (7, 3, 11.5, 0.0)
    assert not found.steady and found.rate_high_rps is None
    # Of those that ended while it was held.
    assert summarise(OPEN, record(), None, [], until_s=4.0, ended=4).completed == 3
    nothing = summarise(OPEN, events([], start_s=0.5), None, [3.5], until_s=4.0)
    assert (nothing.completed, nothing.errors, nothing.error_rate, nothing.duration_s) == (0, 0, 1.0, 3.5)
    assert nothing.achieved_rps == 0 and nothing.value("p50_ms") == pytest.approx(3500, rel=1e-3)


def test_a_level_stands_for_the_rate_that_was_asked_if_it_kept_up():
    assert rate_of(10.0, 8.0, 0.05, None) == pytest.approx(9.5)  # less what failed
    assert rate_of(None, 8.0, 0.05, 9.2) == 8.0  # overloaded, or no rate was asked for
    # No more than its own interval allows.
    assert rate_of(10.0, 9.5, 0.05, 9.2) == 9.2 and rate_of(10.0, 9.5, 0.05, 9.7) == pytest.approx(9.5)
    assert rate_of(20.0, 9.5, 0.25, None) == pytest.approx(15)
    whole = record()
    for run, overloaded, expected in ((OPEN, False, 10 * 5 / 8), (OPEN, True, 5 / 8), (CLOSED, False, 5 / 8)):
        status = LevelStatus(whole.span(2), None, overloaded=overloaded)
        assert summarise(run, whole, status, [], until_s=12.0).rate_rps == pytest.approx(expected)
    stopped = summarise(replace(OPEN, stopped=True), whole, LevelStatus(whole.span(2), None), [], until_s=12.0)
    assert stopped.rate_rps == pytest.approx(5 / 8) and stopped.overloaded and not stopped.fell_behind
    assert summarise(OPEN, whole, LevelStatus(whole.span(2), None, overloaded=True), [], until_s=12.0).fell_behind


def stalled_once():
    """Sixty requests, one each 0.1 s, one after the other in 40 ms each; before number 20, nothing for a second."""
    due_s, ended_s = np.arange(60) / 10, np.zeros(60)
    for n, at_s in enumerate(due_s):
        ended_s[n] = max(at_s, ended_s[n - 1] if n else 0.0) + (1.04 if n == 20 else 0.04)
    in_flight = [int((due_s <= end_s).sum()) - n for n, end_s in enumerate(ended_s)]
    return events(ended_s, ended_s - due_s, in_flight)


def test_requests_that_a_stall_by_others_delayed_are_counted_apart_from_the_times_of_a_level():
    made = stalled_once()
    usage = Usage(seconds=6.0, cores_s=6.0, others_s=1.2)
    for background, others in ((0.0, True), (None, False), (0.2, False)):
        status = LevelStatus(made.span(0), None, sure=True)
        found = summarise(OPEN, made, status, [], until_s=6.0, usage=usage, background=background)
        assert found.completed == 60 and found.value("max_ms") == pytest.approx(40 if others else 1040, rel=1e-3)
        # The one after n others has waited 1000 - 60 n ms for its turn, and the 18th not at all.
        assert found.stalled == (17 if others else 0)
        assert found.stalled_s == pytest.approx(1.0 if others else 0.0, abs=0.06)


def test_the_first_error_is_kept_in_its_own_words():
    whole = record()
    assert summarise(OPEN, whole, None, [], until_s=12.0).first_error == "failed"
    assert summarise(OPEN, events([1.0, 2.0]), None, [], until_s=12.0).first_error is None


def test_no_rate_is_below_nothing():
    whole = record()
    found = summarise(OPEN, whole, LevelStatus(whole.span(2), MeanEstimate(0.5, 0.3, 6)), [], until_s=12.0)
    assert found.rate_low_rps == 0.0 and found.rate_high_rps == pytest.approx(0.5 + 3 * 0.25706, rel=1e-4)


@pytest.mark.parametrize(("estimated", "ends"), [(0.7, (5 / 8, 0.7)), (0.5, (0.5, 5 / 8)), (5 / 8, (5 / 8, 5 / 8))])
def test_the_interval_of_a_rate_holds_it_also_where_its_pieces_say_another_for_certain(estimated, ends):
    """Five answers in 8 s; the estimate is of what lies between the first pause and the last."""
    for run in (OPEN, CLOSED):
        whole = record()
        status = LevelStatus(whole.span(2), MeanEstimate(estimated, 0.0, 6))
        assert summarise(run, whole, status, [], until_s=12.0).interval_rps == ends


def test_the_lag_of_a_client_is_its_99th_percentile_in_ms():
    """Nearest rank: of 100 the 99th, of 101 the 100th."""
    for count, expected_ms in ((100, 99.0), (101, 100.0), (1, 1.0)):
        whole = record()
        for n in range(count, 0, -1):
            whole.lag(5.0, n / 1e3)
        found = summarise(OPEN, whole, None, [], until_s=12.0)
        assert found.client_lag_ms == pytest.approx(expected_ms)
        assert found.client_limited is client_limited(found.client_cpu_share, expected_ms, found.value("p99_ms"))
    assert summarise(OPEN, record(), None, [], until_s=12.0).client_lag_ms == 0.0


@pytest.mark.parametrize(
    ("cpu_share", "lag_ms", "p99_ms", "limited"),
    [
        (0.85, 0.0, 100.0, False), (0.86, 0.0, 100.0, True), (0.86, 0.0, None, True),
        (0.1, 20.0, 100.0, False), (0.1, 20.5, 100.0, True), (0.1, 1e9, None, False),
        (0.1, 2.0, 1.0, False), (0.1, 2.1, 1.0, True),  # timers are no more exact
    ],
)  # fmt: skip
def test_a_client_is_the_bottleneck_by_a_busy_core_or_a_lag_of_a_fifth_of_the_latency(
    cpu_share, lag_ms, p99_ms, limited
):
    assert client_limited(cpu_share, lag_ms, p99_ms) is limited


@pytest.mark.parametrize(("lag_s", "limited"), [(0.019, False), (0.021, True)])
def test_the_latency_that_a_lag_is_a_fifth_of_is_that_of_the_slowest_requests(lag_s, limited):
    """Of 100 requests two take 100 ms, all others 10: their median is 10 ms, their mean 11.8, their p99 100."""
    whole = events([n / 10 for n in range(1, 101)], [0.01] * 98 + [0.1] * 2)
    whole.lag(5.0, lag_s)
    found = summarise(OPEN, whole, None, [], until_s=10.0)
    assert found.value("p50_ms") == pytest.approx(10, rel=1e-3) and found.value("p99_ms") == pytest.approx(
        100, rel=1e-3
    )
    assert found.client_limited is limited


@pytest.mark.parametrize("sure", [True, False])
def test_requests_that_were_dropped_count_in_a_level_though_that_is_known_only_after_it(sure):
    """Of those that ended after the level, one was dropped; one was answered, and counts where the question is open."""
    whole = record()
    whole.end(a_request(11.0, 5.0), 2)
    whole.end(a_request(12.0, math.nan)._replace(due_s=10.0, parts=0, error="none"), 1)
    found = summarise(OPEN, whole, LevelStatus(whole.span(2, 10), None, sure=sure), [], until_s=12.0, ended=10)
    assert (found.completed, found.errors, found.error_rate) == (5, 4, 4 / 9)
    assert found.value("max_ms") == pytest.approx(2000 if sure else 5000)
    assert found.value("mean_ms") == pytest.approx(2340 / 6 if sure else 7340 / 7)
