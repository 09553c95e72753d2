"""The record of a level: spans, shares of the CPU and turn-over, each counted by hand."""

import math

import numpy as np
import pytest

from serve_deployments.load.events import Events
from serve_deployments.metrics.request_record import RequestRecord
from tests.levels import a_request


def record():
    """Five requests from second 10 on, of which the third fails; two senders' CPU seconds; four looks at the clock."""
    events = Events(10.0)
    for ended_s, latency_s, in_flight in [(11, 0.5, 3), (12, 0.6, 3), (13, math.nan, 2), (15, 0.8, 2), (16, 0.9, 1)]:
        events.end(a_request(ended_s, latency_s), in_flight)
    for now_s, late_s in [(10.5, 0.001), (12.0, 0.002), (15.0, 0.004), (15.5, 0.008)]:
        events.lag(now_s, late_s)
    for now_s, cpu_s in [(10, 5.0), (12, 6.0), (14, 6.5), (15, 7.25), (17, 7.5)]:
        events.read_cpu(now_s, cpu_s)
    for now_s, cpu_s in [(10, 0.0), (13, 0.9), (14, 1.9), (16, 2.0)]:
        events.read_cpu(now_s, cpu_s, sender=1)
    return events


def test_samples_of_which_no_request_was_answered_are_named_with_their_first_error():
    events = Events(0.0)
    for number, (sample, error) in enumerate([(0, None), (5, "first"), (1, "once"), (5, "second"), (1, None)], 1):
        events.end(RequestRecord(0.0, 0.0, number, error, sample=sample), 1)
    assert events.failed_samples == ((5, "first"),)
    every = Events(0.0)
    every.end(RequestRecord(0.0, 0.0, 1.0, "refused", sample=0), 1)
    assert every.failed_samples == ()  # not the sample's fault


def test_a_span_is_from_the_end_of_one_request_to_that_of_another():
    span = record().span(1, 4)
    assert (span.start_s, span.end_s, span.duration_s) == (11, 15, 4)
    assert span.ended_s.tolist() == [12, 13, 15] and span.in_flight.tolist() == [3, 2, 2]
    np.testing.assert_allclose(span.requests.latency_s, [0.6, math.nan, 0.8], rtol=1e-12)
    assert span.answered.tolist() == [True, False, True]
    assert span.lag_s.tolist() == [0.002, 0.004]  # its ends included
    # Of the first the readings of 12 s and 15 s, of the second those of 13 s and 14 s: 1.25 / 3 and 1.0 / 1.
    assert span.cpu_share == pytest.approx(1.0)


def test_the_whole_level_is_from_its_start_to_its_last_request():
    span = record().span()
    assert (span.start_s, span.end_s, len(span.ended_s)) == (10, 16, 5)
    assert span.lag_s.tolist() == [0.001, 0.002, 0.004, 0.008]
    assert span.cpu_share == pytest.approx(max((7.25 - 5.0) / 5, 2.0 / 6))


def test_a_span_can_end_where_no_request_does():
    span = record().span(2, 4, until_s=14.0)
    assert (span.start_s, span.end_s, span.ended_s.tolist()) == (12, 14, [13, 15])
    assert record().span(until_s=20.0).end_s == 20


def test_a_span_of_no_request_has_no_length_but_can_be_divided_by():
    span = record().span(3, 3)
    assert span.start_s == span.end_s == 13 and len(span.ended_s) == 0
    assert 0 < span.duration_s < 1e-6
    assert Events(4.0).span().start_s == Events(4.0).span().end_s == 4.0


def test_of_a_span_shorter_than_between_two_readings_the_levels_cpu_share_counts():
    events = record()
    assert events.span(2, 3, until_s=12.5).cpu_share == pytest.approx(max((7.5 - 5.0) / 7, 2.0 / 6))
    one = Events(0.0)
    one.read_cpu(0.0, 3.0)
    assert one.span(until_s=1.0).cpu_share == 0 and Events(0.0).span().cpu_share == 0
    # Two readings of one moment, as a clock of coarse ticks gives: a share, not an error.
    one.read_cpu(0.0, 3.0)
    assert one.span(until_s=1.0).cpu_share == 0


@pytest.mark.parametrize(
    ("in_flight", "turned_over"), [((), 0), ((1,), 1), ((3,), 0), ((3, 3), 0), ((3, 9, 9), 3), ((2, 2, 2, 2), 2)]
)
def test_a_server_has_turned_over_once_as_many_have_ended_as_were_in_flight_at_the_first(in_flight, turned_over):
    events = Events(0.0)
    for number, count in enumerate(in_flight):
        events.end(a_request(number, 0.1), count)
    assert events.turned_over == turned_over
