"""Which measurement a question asks for."""

import pytest

from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.load.arrivals import CONSTANT
from serve_deployments.measuring.load_test import COARSER, LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.settings import Settings

PLAN = LoadPlan(arrivals=CONSTANT, max_concurrency=32)


def asked(question, batch=1, **more):
    server = FakeServer(lambda size: 0.02 + 0.005 * size, max_batch=batch)
    return run_virtual(question.run(server, ["x"], Settings(max_batch_size=batch), clock=VirtualClock(), **more))


def test_limits_ask_for_the_highest_rate_and_none_for_the_peak():
    assert asked(LoadTest(PLAN)).method == "peak_rate"
    found = asked(LoadTest(PLAN, {"p99_ms": 100.0}))
    assert found.method == "highest_rate" and found.metrics["p99_ms"] <= 100 and found.metrics["rps"] < 41
    assert asked(LoadTest(PLAN, {"p99_ms": 100.0}, find="peak")).method == "peak_rate"
    with pytest.raises(ValueError, match="no limit was given"):
        asked(LoadTest(PLAN, find="highest_rate"))


@pytest.mark.parametrize("to_beat_rps", [None, 1000.0])
def test_a_limit_on_any_percentile_is_kept_and_reported(to_beat_rps):
    question = LoadTest(LoadPlan(), {"p97_ms": 60.0})
    found = asked(question, to_beat_rps=to_beat_rps)
    assert found.metrics["p97_ms"] <= 60.0 and found.metrics["p95_ms"] <= found.metrics["p97_ms"]
    assert found.found and "p97_ms" not in found.levels[found.reported].metrics


def test_the_peak_of_batches_begins_with_clients_that_fill_one():
    assert [load.concurrency for load in asked(LoadTest(PLAN), batch=8).levels] == [8, 16, 32]


@pytest.mark.parametrize("at_most", [{}, {"p99_ms": 60.0}])
def test_what_is_to_be_beaten_ends_it_early(at_most):
    question = LoadTest(LoadPlan(), at_most)
    assert asked(question, to_beat_rps=1000.0).ended_early and not asked(question).ended_early


def test_a_search_knows_a_highest_rate_less_precisely_and_sooner():
    precise = LoadTest(LoadPlan(), {"p99_ms": 150.0})
    coarse = precise.for_search()
    assert coarse.plan.rate_precision == COARSER * precise.plan.rate_precision and coarse.at_most == precise.at_most
    found, again = (asked(test, batch=8) for test in (coarse, precise))
    assert found.seconds < again.seconds <= precise.again * found.seconds
    assert found.metrics["rps"] == pytest.approx(again.metrics["rps"], rel=0.2)


def test_a_peak_is_measured_alike_in_a_search():
    for peak in (LoadTest(PLAN), LoadTest(PLAN, {"p99_ms": 60.0}, find="peak")):
        assert peak.for_search() == peak and peak.again == 1.0
