"""What is shown of a level while it runs: in virtual time, against a server whose answers are known."""

import math

import pytest

from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.load.arrivals import CONSTANT
from serve_deployments.load.load_generator import LoadGenerator
from serve_deployments.load.sending import OwnSender
from serve_deployments.measuring.in_cluster.level_gauges import LevelGauges
from serve_deployments.measuring.level import closed_level, open_level
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.metrics.shown.series import ANSWERED_RPS, CLIENTS, FAILED_SHARE, LATENCY_MS, OFFERED_RPS
from tests.raytune_infer.study.monitoring.kept_gauges import KeptGauges

PLAN = LoadPlan(arrivals=CONSTANT, level_min_s=4, level_max_s=6, total_max_s=30)


class Counting(KeptGauges):
    """Also counts how often it was set."""

    def __init__(self):
        super().__init__()
        self.times = 0

    def set(self, series, value, **labels):
        self.times += series is OFFERED_RPS
        super().set(series, value, **labels)


def generator_to(server):
    clock = VirtualClock()
    generator = LoadGenerator(server, [OwnSender(server, ["a"], clock)], clock)
    gauges = Counting()
    generator.shown_to = LevelGauges(gauges)
    return generator, gauges


def test_an_open_level_shows_its_rate_its_latencies_and_its_failures():
    server = FakeServer(lambda batch: 0.03, cores=100, fails=lambda number: number % 10 == 7)
    generator, gauges = generator_to(server)
    level = run_virtual(open_level(generator, ["a"], 50.0, PLAN))
    assert gauges.of(OFFERED_RPS) == 50.0 and gauges.of(CLIENTS) == 0
    assert gauges.of(ANSWERED_RPS) == pytest.approx(45, rel=0.1)
    assert gauges.of(FAILED_SHARE) == pytest.approx(0.1, abs=0.03)
    assert [gauges.of(LATENCY_MS, percentile=p) for p in ("50", "95", "99")] == pytest.approx([30.0] * 3, abs=0.5)
    assert 2 <= gauges.times <= level.ended_at - level.started_at + 2, "about once a second"


def test_a_closed_level_shows_its_clients():
    generator, gauges = generator_to(FakeServer(lambda batch: 0.02))
    run_virtual(closed_level(generator, ["a"], 3, PLAN))
    assert (gauges.of(CLIENTS), gauges.of(OFFERED_RPS)) == (3, 0.0)
    assert gauges.of(ANSWERED_RPS) == pytest.approx(50, rel=0.1)


def test_what_is_not_known_is_no_number():
    generator, gauges = generator_to(FakeServer(lambda batch: 0.02, fails=lambda number: True))
    run_virtual(closed_level(generator, ["a"], 1, PLAN))
    assert math.isnan(gauges.of(LATENCY_MS, percentile="99")) and gauges.of(FAILED_SHARE) == 1.0
    generator.shown_to.idle()
    assert gauges.of(ANSWERED_RPS) == 0 and math.isnan(gauges.of(FAILED_SHARE))
