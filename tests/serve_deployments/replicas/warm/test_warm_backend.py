"""Replicas that are kept: the same process under other settings, never a failed one, never one for two trials."""

import os
import signal
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
import ray
from ray import serve
from ray.util.placement_group import placement_group_table

from serve_deployments.device.limits import unleased_cores
from serve_deployments.models.model import Builder
from serve_deployments.replicas.serve_backend import ServeBackend, delete_left_behind
from serve_deployments.replicas.warm.pool import Pool
from serve_deployments.replicas.warm.shared_pool import SharedPool, shared_pool
from serve_deployments.replicas.warm.warm_backend import WarmBackend
from serve_deployments.settings import Settings
from tests.serve_deployments.replicas.warm import factor_model

pytestmark = pytest.mark.ray

ONE = Settings(cpu_cores=1, args={"factor": 1})


@pytest.fixture(scope="module")
def backend(local_ray):
    serve.start(proxy_location="Disabled")
    fresh = ServeBackend(Builder(f"{factor_model.__name__}:model"), ["warm"], "warm", deadline_s=240, queue_s=60)
    with shared_pool() as pool:
        yield WarmBackend(fresh, pool)
    delete_left_behind("warm")


def answer(replica, payload="x"):
    return replica.handle.infer.remote(payload).result(timeout_s=30)


def reserved_groups():
    """Those of these replicas, whatever else is on the cluster."""
    groups = placement_group_table().values()
    return [group for group in groups if group["name"].startswith("warm-") and group["state"] != "REMOVED"]


def apps():
    return {app for app in serve.status().applications if app.startswith("warm-")}


def test_two_trials_in_a_row_share_a_process_and_nothing_else(backend):
    with backend.running(ONE, "first") as replica:
        before = replica.facts()
        assert answer(replica) == "float32 1" and not replica.startup.in_place
        assert len(before.cores) == 1 and len(reserved_groups()) == 1
    # While it is idle it leases no cores, and those reserved in Ray are to be had.
    assert unleased_cores(before.cores) == set(before.cores) and len(reserved_groups()) == 1
    backend.close()
    assert not reserved_groups()
    other = replace(ONE, max_batch_size=4, batch_wait_ms=1, precision="bfloat16", args={"factor": 3})
    with backend.running(other, "second") as replica:
        after = replica.facts()
        assert answer(replica) == "bfloat16 3" and replica.startup.in_place
        assert after.pid == before.pid and len(after.cores) == 1
        assert {"reserve", "change"} == set(replica.startup.seconds)
    assert [kept.app for kept in backend.pool.idle()] == ["warm-first"]
    assert backend.pool.idle()[0].settings == other


def test_a_request_never_reaches_a_parked_replica(backend):
    with backend.running(ONE, "parked") as replica:
        pass
    with pytest.raises(ray.exceptions.RayTaskError, match="is parked or being changed"):
        answer(replica)


def test_one_that_cannot_be_changed_is_replaced_by_a_new_one(backend):
    with backend.running(ONE, "well") as replica:
        pid = replica.facts().pid
    with backend.running(replace(ONE, args={"factor": 13}), "unlucky") as replica:
        assert answer(replica) == "float32 13" and not replica.startup.in_place
        assert replica.facts().pid != pid and "unlucky" in (replica.startup.not_changed or "")
    assert apps() == {"warm-unlucky"}


def test_one_in_which_a_graph_could_not_be_recorded_serves_its_trial_and_no_other(backend):
    with backend.running(replace(ONE, args={"factor": 17}), "spoilt") as replica:
        assert answer(replica) == "float32 17" and "could not be recorded" in replica.facts().spoilt
    assert "warm-spoilt" not in apps() and replica.app not in [kept.app for kept in backend.pool.idle()]


@pytest.mark.slow
def test_one_that_died_while_idle_is_not_used_again(backend):
    with backend.running(ONE, "idle") as replica:
        app = replica.app
    [kept] = [each for each in backend.pool.idle() if each.app == app]
    os.kill(kept.pid, signal.SIGKILL)  # and Serve starts another one in its place
    with_its_node = replace(kept, app="warm-gone", node="of before")
    backend.pool.add("before", with_its_node)
    backend.pool.park("before", with_its_node)
    with backend.running(ONE, "after") as replica:
        assert answer(replica) == "float32 1" and not replica.startup.in_place
    assert apps() == {"warm-after"}


def test_parallel_trials_share_neither_a_replica_nor_cores(backend):
    with ExitStack() as both:
        one, other = (both.enter_context(backend.running(ONE, name)) for name in ("left", "right"))
        assert one.app != other.app
        assert not set(one.facts().cores) & set(other.facts().cores)
        assert set(backend.pool.held().values()) == {"left", "right"}
    assert len(backend.pool.idle()) == 2


@pytest.mark.slow
def test_a_model_that_raised_or_a_trial_that_failed_leaves_nothing_to_reuse(backend):
    with backend.running(ONE, "raises") as replica:
        first = replica.app
        with pytest.raises(ray.exceptions.RayTaskError, match="bad input"):
            answer(replica, "bad")
    with pytest.raises(ZeroDivisionError), backend.running(ONE, "fails") as replica:
        raise ZeroDivisionError
    assert not {first, replica.app} & apps()
    assert not backend.pool.held()
    backend.close()
    assert not reserved_groups()


@ray.remote(num_cpus=0, max_restarts=0)
class Trial:
    """A trial's process, which dies in the middle of it."""

    def run(self, backend, name):
        with backend.running(ONE, name):
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_trial_that_is_killed_gives_up_its_replica_and_its_cores(backend):
    trial: Any = Trial
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(trial.remote().run.remote(backend, "killed"))
    [app] = [app for app, trial in backend.pool.held().items() if trial == "killed"]
    backend.remove("killed")
    assert app not in apps() and not backend.pool.held()
    backend.close()
    assert not reserved_groups()


@pytest.mark.slow
def test_without_a_pool_trials_go_on_and_nothing_idles(backend):
    actor: Any = ray.remote(Pool).options(num_cpus=0).remote()
    poolless = replace(backend, pool=SharedPool(actor))
    with poolless.running(ONE, "orphan"):
        pass
    assert "warm-orphan" in apps() and reserved_groups()
    ray.kill(actor)
    with poolless.running(ONE, "alone") as replica:
        assert answer(replica) == "float32 1"
        assert apps() == {"warm-alone"} and len(reserved_groups()) == 1
    assert not apps() and not reserved_groups()
