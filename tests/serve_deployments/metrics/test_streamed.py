"""Times and amounts of streamed answers, by records of which every number is known by hand."""

import math
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_deployments.load.events import Events
from serve_deployments.measuring.statistics.limit_verdict import evidence, kept
from serve_deployments.measuring.stopping_rules import LevelStatus
from serve_deployments.measuring.summary import LevelRun, summarise
from serve_deployments.metrics.metric_table import ITL, METRICS, REQUEST_TIMES, TPOT, TTFT, listed
from serve_deployments.metrics.part_gaps import PartGaps
from serve_deployments.metrics.request_limits import RequestLimits
from serve_deployments.metrics.request_record import RequestRecord
from tests.levels import events as plain_events

OPEN = LevelRun("open", None, 1.0, 1e9, 1e9 + 4)


def streamed(due_s, first_after_s, gaps_s, sent_late_s=0.0, **more):
    """A request that was due then, and whose parts came after that and these gaps."""
    first_s = due_s + first_after_s
    sizes = {"parts": len(gaps_s) + 1, "size_in": 10.0, "size_out": len(gaps_s) + 1.0, **more}
    return RequestRecord(
        due_s, due_s + sent_late_s, first_s + sum(gaps_s), first_s=first_s, gaps_s=array("f", gaps_s), **sizes
    )


def failed(due_s, last_s):
    return RequestRecord(due_s, due_s, last_s, "ConnectionError: refused")


def recorded(*ended, limits=None):
    made = Events(0.0, limits=limits)
    for one in ended:
        made.end(one, 1)
    return made


THREE = (
    streamed(0.0, 0.5, [0.1, 0.2, 0.1], sent_late_s=0.3),  # ends at 0.9
    streamed(0.5, 0.25, [0.5]),  # 1.25
    streamed(1.0, 1.0, []),  # 2.0: one token
)


def test_the_time_to_the_first_token_counts_from_when_a_request_was_due_not_from_the_send():
    np.testing.assert_allclose(TTFT.of(recorded(*THREE).requests()), [0.5, 0.25, 1.0])
    assert np.isnan(TTFT.of(recorded(failed(0.0, 1.0)).requests())).all()
    assert np.isnan(TTFT.of(plain_events([1.0, 2.0]).requests())).all()  # not streamed


def test_the_time_per_token_is_of_the_tokens_after_the_first_as_the_endpoint_counts_them():
    np.testing.assert_allclose(TPOT.of(recorded(*THREE).requests()), [0.4 / 3, 0.5, math.nan])
    # Two tokens came in one part, so five tokens in four parts.
    more = recorded(streamed(0.0, 0.5, [0.1, 0.2, 0.1], size_out=5.0), streamed(1.0, 0.5, [0.2], size_out=math.nan))
    np.testing.assert_allclose(TPOT.of(more.requests()), [0.1, 0.2])
    assert np.isnan(TPOT.of(recorded(failed(0.0, 1.0), *THREE).requests())[0])


def test_each_gap_between_parts_is_an_inter_token_latency_and_the_longest_is_the_request_s_own():
    requests = recorded(*THREE).requests()
    np.testing.assert_allclose(ITL.of(requests), [0.1, 0.2, 0.1, 0.5], rtol=1e-6)
    np.testing.assert_allclose(ITL.of_each(requests), [0.2, 0.5, math.nan], rtol=1e-6)
    np.testing.assert_allclose(ITL.of(requests.where(np.array([True, False, True]))), [0.1, 0.2, 0.1], rtol=1e-6)
    np.testing.assert_allclose(ITL.of(requests.last(2)), [0.5])
    both = requests.and_then(recorded(failed(2.0, 2.5), streamed(3.0, 0.1, [0.3])).requests())
    np.testing.assert_allclose(ITL.of_each(both), [0.2, 0.5, math.nan, math.nan, 0.3], rtol=1e-6)


@given(st.lists(st.lists(st.floats(0.001, 10), max_size=6), max_size=12), st.integers(0, 11), st.integers(0, 12))
def test_gaps_stay_with_their_requests_however_events_are_asked(gaps, first, count):
    made = recorded(*(streamed(float(n), 0.1, each) for n, each in enumerate(gaps)))
    last = min(len(gaps), first + count)
    asked = made.requests(first, last)
    of = PartGaps.none(len(asked)) if asked.gaps is None else asked.gaps
    wanted = PartGaps.of(gaps[first:last])
    np.testing.assert_array_equal(of.counts, wanted.counts)
    np.testing.assert_array_equal(of.seconds, wanted.seconds)


def test_gaps_that_belong_to_no_request_are_refused():
    with pytest.raises(ValueError, match="2 gaps do not belong to requests that have 1"):
        PartGaps(np.array([0.1, 0.2]), np.array([1]))


def summary(*ended, limits=None, run=OPEN, first=0):
    made = recorded(*ended, limits=limits)
    return summarise(run, made, LevelStatus(made.span(first), None, sure=True), [], until_s=4.0)


def test_what_a_level_reports_of_streams():
    level = summary(*THREE, failed(1.5, 3.0))
    # Three answers in 3 s; of 30 tokens in and 7 out. 1 of 4 failed, so 0.75 of the 1 request/s that came is told.
    assert level.achieved_rps == pytest.approx(1.0) and level.rate_rps == pytest.approx(0.75)
    expected = {
        "ttft_max_ms": 1000, "ttft_mean_ms": 1750 / 3, "itl_p50_ms": 100, "itl_max_ms": 500, "itl_mean_ms": 225,
        "tpot_max_ms": 500, "input_tokens": 10, "output_tokens": 7 / 3, "user_tokens_per_s": (7.5 + 2) / 2,
        "input_tokens_per_s": 0.75 * 10, "output_tokens_per_s": 0.75 * 7 / 3,
    }  # fmt: skip
    assert {name: level.value(name) for name in expected} == pytest.approx(expected, rel=1e-3)
    assert level.value("goodput") is level.value("attainment") is level.value("missed") is None


def test_goodput_is_of_the_requests_that_keep_all_their_own_limits():
    limits = RequestLimits({"ttft": 0.6, "tpot": 0.2, "itl": 0.3})
    # The first keeps all three; the second's tokens are too slow; the third's first one; the fourth failed.
    level = summary(*THREE, failed(1.5, 3.0), limits=limits)
    assert level.value("missed") == 0.75 and level.value("attainment") == 0.25
    assert level.value("goodput") == pytest.approx(0.25)  # of 1 request/s
    limits_s = {"ttft": 0.6, "tpot": 0.2, "itl": 0.3, "latency": 0.8}
    missed = {
        name: summary(*THREE, failed(1.5, 3.0), limits=RequestLimits({name: limit_s})).value("missed")
        for name, limit_s in limits_s.items()
    }
    # ttft: the third, latency: the first (0.9 s) and the third (1 s); a failure misses all.
    assert missed == {"ttft": 0.5, "tpot": 0.5, "itl": 0.5, "latency": 0.75}


def test_an_answer_that_is_not_streamed_has_missed_a_limit_on_its_first_token_and_one_of_one_token_none_on_further():
    made = plain_events([1.0, 2.0])
    for name, share in (("ttft", 1.0), ("tpot", 1.0), ("latency", 0.0)):
        made.limits = RequestLimits({name: 10.0})
        assert METRICS["missed"].count(made.requests(), 1.0) == share
    single = recorded(THREE[2], limits=RequestLimits({"tpot": 0.01, "itl": 0.01}))
    assert METRICS["missed"].count(single.requests(), 1.0) == 0


def test_a_request_that_was_dropped_has_missed_however_long_its_limits_are():
    dropped = RequestRecord(0.0, 0.0, 5.0, "no answer within 5 s", parts=0)
    for name in REQUEST_TIMES:
        made = recorded(dropped, THREE[0], limits=RequestLimits({name: 100.0}))
        assert METRICS["missed"].count(made.requests(), 1.0) == 0.5


def test_the_share_that_misses_is_tested_as_times_that_cluster():
    """Requests that are slow together count as fewer, and are known by their times before any of them misses."""
    waits = np.repeat(np.random.default_rng(0).exponential(0.1, 100), 20)  # twenty each of one busy moment
    near = recorded(*(streamed(float(n), w, [0.01]) for n, w in enumerate(waits)), limits=RequestLimits({"ttft": 9.0}))
    found = evidence("missed", 0.05, near.requests())
    assert found.above == 0 and found.effect > 5
    shuffled = np.random.default_rng(1).permutation(waits)
    apart = recorded(*(streamed(float(n), w, [0.01]) for n, w in enumerate(shuffled)), limits=near.limits)
    assert evidence("missed", 0.05, apart.requests()).effect < 2


def test_a_limit_on_gaps_is_tested_by_gaps_and_a_level_without_any_is_undecided():
    slow = recorded(*(streamed(float(n), 0.1, [0.01] * 9 + [0.5]) for n in range(200))).requests()
    assert evidence("itl_p95_ms", 100.0, slow).count == 2000 and kept("itl_p95_ms", 100.0, slow, 0.05) is False
    assert kept("itl_p50_ms", 100.0, slow, 0.05) is True
    assert evidence("itl_p99_ms", 100.0, recorded(THREE[2]).requests()) is None


def test_a_client_that_is_late_against_the_gaps_between_tokens_says_that_it_limits():
    made = recorded(*(streamed(n / 10, 0.5, [0.02] * 50) for n in range(40)))
    for n in range(100):
        made.lag(n / 25, 0.008)
    found = summarise(OPEN, made, LevelStatus(made.span(), None, sure=True), [], until_s=4.0)
    assert found.client_limited and found.client_lag_ms == pytest.approx(8)  # of gaps of 20 ms; the answers take 1.5 s


def test_limits_of_each_request_are_times_above_zero():
    with pytest.raises(ValueError, match="need one time or more"):
        RequestLimits({})
    with pytest.raises(ValueError, match="of each request on ttft must be above 0 s, got 0"):
        RequestLimits({"ttft": 0.0})


def test_a_message_lists_what_can_be_measured_in_a_few_words():
    assert "p50_ms, p75_ms" in listed() and "ttft_p50_ms to ttft_max_ms, tpot_p50_ms to tpot_max_ms" in listed()
    assert set(REQUEST_TIMES) == {"latency", "ttft", "tpot", "itl"}
