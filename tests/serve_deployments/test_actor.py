"""The load actor as a real Ray actor, against a fake server in its process and the machine's clock."""

import pytest
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from serve_deployments.actor import LoadActor
from serve_deployments.fakes import FakeServer
from serve_deployments.load_side import let_go, load_actor
from serve_deployments.plan import LoadPlan

PLAN = LoadPlan(level_min_s=0.5, level_max_s=4, total_max_s=12, max_concurrency=4)


@pytest.fixture
def actor(local_ray):
    made = ray.remote(LoadActor).options(num_cpus=0).remote(lambda: FakeServer(lambda batch: 0.05), ["a", "b"])
    yield made
    ray.kill(made)


@pytest.mark.ray
def test_an_actor_is_kept_unless_it_died_or_something_was_raised(local_ray):
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    with load_actor(here) as first:
        ray.get(first.aim.remote(lambda: FakeServer(lambda batch: 0.01), ["a"]))
        with load_actor(here) as second:
            assert second is not first  # one test at a time
    with pytest.raises(ZeroDivisionError), load_actor(here) as again:
        assert again is first
        raise ZeroDivisionError
    with load_actor(here) as third:
        assert third is not first
    ray.kill(third)
    with load_actor(here) as fourth:
        assert fourth is not third
    let_go()


@pytest.mark.ray
def test_the_actor_measures_in_real_time_and_ends_when_told(actor):
    found = ray.get(actor.peak_rate.remote(PLAN), timeout=60)
    # One core of 50 ms a request; other processes share the machine, so only the upper bound is sharp.
    assert 10 < found.metrics["rps"] <= 20.5 and found.best
    level = ray.get(actor.open.remote(10.0, PLAN), timeout=60)
    assert level.latencies.p50_ms >= 49 and level.started_at > 1e9 and level.client_cpu_share < 0.85

    running = actor.closed.remote(2, LoadPlan(level_min_s=90, level_max_s=100))
    with pytest.raises(RuntimeError, match="running a load test already"):
        ray.get(actor.open.remote(10.0, PLAN), timeout=60)
    ray.get(actor.close.remote(), timeout=60)
    with pytest.raises(ray.exceptions.RayError):
        ray.get(running, timeout=60)
    # It can be used again.
    assert ray.get(actor.closed.remote(1, PLAN), timeout=60).completed > 0
