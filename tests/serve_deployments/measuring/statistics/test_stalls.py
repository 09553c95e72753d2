"""Which requests were delayed by stalls that other work explains, against a queue whose stalls are known."""

import numpy as np
import pytest

from serve_deployments.load.events import Events
from serve_deployments.measuring.statistics.stalls import (
    background_share,
    delayed_by,
    lapse_rate,
    stalls_by_others,
    taken_s,
)
from serve_deployments.metrics.request_record import RequestRecord
from serve_deployments.resources.usage import Usage


def events(stalls=(), service_s=0.02, gap_s=0.05, count=200):
    """One request each 50 ms, which takes 20 ms; nothing is begun while the server is stalled."""
    free_s, ended = 0.0, []
    for number in range(count):
        start_s = max(free_s, number * gap_s)
        for begins_s, length_s in stalls:
            start_s = begins_s + length_s if begins_s <= start_s < begins_s + length_s else start_s
        took_s = service_s(number) if callable(service_s) else service_s
        free_s = start_s + took_s
        ended.append((number * gap_s, free_s))
    record = Events(0.0)
    for at, (due_s, ended_s) in enumerate(ended):
        record.end(RequestRecord(due_s, due_s, ended_s), sum(due <= ended_s for due, _ in ended[at:]))
    return record


def late(record):
    """Requests that took more than the 20 ms that each takes alone."""
    return set(np.flatnonzero(record.requests().latency_s > 0.021).tolist())


def delayed(record, others_s):
    return set(np.flatnonzero(delayed_by(record, stalls_by_others(record, others_s))).tolist())


def test_all_requests_that_a_stall_delayed_are_found_until_its_queue_has_gone():
    record = events([(2.0, 0.5), (6.0, 0.3)])
    assert len(late(record)) > 16
    found = delayed(record, 0.8)
    assert found >= late(record) and len(found - late(record)) <= 2


def test_stalls_are_the_services_own_unless_other_work_took_as_long():
    record = events([(2.0, 0.5), (6.0, 0.3)])
    assert not delayed(record, 0.0) and not delayed(record, 0.2)
    # There is time for one of them: the longer.
    assert delayed(record, 0.55) == {one for one in delayed(record, 0.8) if one < 100} != set()


def test_slow_requests_that_are_ordinary_for_a_service_stay():
    """One request in ten takes six times as long as the others: that is how it is, whatever else runs."""
    record = events(service_s=lambda number: 0.12 if number % 3 == 0 else 0.02, gap_s=0.15)
    assert not delayed(record, 100.0)


def test_of_a_steady_server_or_a_few_requests_nothing_is_left_out():
    assert not delayed(events(), 100.0)
    assert not delayed(events([(0.1, 0.5)], count=5), 100.0)
    assert not delayed(Events(0.0), 1.0)


def used(others_s, seconds=10.0, cores=4):
    return Usage(seconds=seconds, others_s=others_s, cores_s=seconds * cores)


def test_what_other_work_has_all_the_time_explains_nothing():
    background = background_share([used(8.0), None, Usage(), used(12.0)])
    assert background == pytest.approx(0.2, abs=0.002)
    assert taken_s(used(8.0), background) == 0.0
    assert taken_s(used(12.0), background) == pytest.approx(1.0, abs=0.02)  # all four cores, for a second
    assert taken_s(used(12.0), None) == taken_s(None, 0.2) == taken_s(Usage(), 0.2) == 0.0


def test_a_level_that_is_too_short_to_see_other_work_does_not_say_that_there_is_none():
    assert background_share([used(0.0, seconds=0.05)]) == pytest.approx(0.2)  # a tick in five
    assert background_share([]) is background_share([None, Usage()]) is None


@pytest.mark.parametrize(("few", "many", "expected"), [(0, 1000, 0.0), (12, 989, 13 / 1000), (1, 9, 0.1)])
def test_a_share_of_lapses_is_that_of_its_posterior(few, many, expected):
    assert lapse_rate(few, many) == pytest.approx(expected)
