"""Warm replicas by the books of a cluster that is not there: who gets which, on whose cores, and what is given back.

`test_warm_backend` says the same of a real Ray, where it takes a minute.
"""

from contextlib import ExitStack
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from serve_deployments.backend import DeployFailed, DeployTimeout, NodeDied, NoRoom, ReplicaDied
from serve_deployments.models.model import ModelFiles, identity
from serve_deployments.replicas.warm import warm_backend
from serve_deployments.replicas.warm.transition import WarmReplica
from serve_deployments.replicas.warm.warm_backend import WarmBackend
from tests.serve_deployments.replicas.warm.warm_cluster import (
    GPU,
    MODEL,
    NODE_ID,
    ONE,
    TWO,
    Running,
    idle,
    nothing_is_left,
    ran,
    warm,
)


@pytest.fixture
def on(monkeypatch):
    """(cluster, backend) of so many cores and GPUs."""
    return partial(warm, monkeypatch)


def test_the_first_trial_has_a_new_replica_on_cores_that_are_its_own(on):
    cluster, backend = on()
    with backend.running(replace(TWO, env={"A": "1"}), "t") as replica:
        assert cluster.groups == {"study-t": ("n", 2, 0)} and cluster.waits_s == [900.0]
        # The cores are reserved apart from it; and Ray would otherwise give OpenMP a single thread.
        [app] = cluster.apps.values()
        assert app.options["num_cpus"] == 0 and app.options["label_selector"] == {NODE_ID: "n"}
        variables = app.options["runtime_env"]["env_vars"]
        assert variables["OMP_NUM_THREADS"] == "2" and variables["A"] == "1" and "num_gpus" not in app.options
    assert not replica.startup.in_place and replica.startup.seconds == {"reserve": 1.0, "deploy": 10.0}
    assert idle(backend) == ["study-t"] and not backend.pool.held()
    [kept] = backend.pool.idle()
    assert (kept.group, kept.node, kept.pid, kept.changeable) == ("study-t", "n", 101, frozenset({"k"}))
    assert kept.settings == replace(TWO, env={"A": "1"}) and cluster.apps["study-t"].idle_with == "study-t"
    assert "study-t" in cluster.groups, "they stay reserved until somebody wants cores"


def test_a_users_own_number_of_openmp_threads_is_left(on):
    cluster, backend = on()
    ran(backend, replace(TWO, env={"OMP_NUM_THREADS": "7"}), "t")
    assert cluster.apps["study-t"].options["runtime_env"]["env_vars"]["OMP_NUM_THREADS"] == "7"


def test_the_next_trial_changes_it_in_place_on_the_cores_that_stayed_with_it(on):
    cluster, backend = on()
    ran(backend, ONE, "t")
    cluster.waits_s.clear()
    batched = replace(ONE, max_batch_size=8)
    with backend.running(batched, "u") as replica:
        assert replica.app == "study-t" and cluster.apps["study-t"].changes == [batched]
        assert cluster.waits_s == [] and set(cluster.groups) == {"study-t"}
    assert replica.startup.in_place and replica.startup.seconds == {"reserve": 0.0, "change": 0.5}
    assert replica.startup.not_changed is None
    assert backend.pool.idle()[0].settings == batched and backend.pool.idle()[0].group == "study-t"


def test_a_replica_is_nobody_elses_while_it_is_in_use(on):
    cluster, backend = on()
    ran(backend, ONE, "t")
    with ExitStack() as both:
        first, second = (both.enter_context(backend.running(ONE, name)) for name in ("u", "v"))
        assert {first.app, second.app} == {"study-t", "study-v"}
        assert sorted(cluster.groups) == ["study-t", "study-v"]
        assert backend.pool.held() == {"study-t": "u", "study-v": "v"}
    assert sorted(idle(backend)) == ["study-t", "study-v"]


def test_two_models_in_one_pool_never_get_one_anothers_replicas(on):
    cluster, backend = on({"n": 3})
    fresh: Any = copy(cluster)  # of the same nodes
    fresh.source = ModelFiles("/models/a", "transformers")
    other = WarmBackend(fresh, backend.pool)
    ran(backend, ONE, "t")
    with other.running(ONE, "u") as replica:
        assert replica.app == "study-u" and not replica.startup.in_place
    assert {kept.app: kept.model for kept in backend.pool.idle()} == {
        "study-t": MODEL,
        "study-u": identity(fresh.source),
    }
    with other.running(ONE, "v") as replica, backend.running(ONE, "w") as own:
        assert (replica.app, own.app) == ("study-u", "study-t")
        assert replica.startup.in_place and own.startup.in_place


def test_cores_of_an_idle_replica_are_given_to_who_wants_them_and_taken_anew_for_it(on):
    """On two cores: one that is idle keeps its core until a trial wants both, and then has to ask for one again."""
    cluster, backend = on()
    ran(backend, ONE, "one")
    ran(backend, TWO, "two")
    assert cluster.groups == {"study-two": ("n", 2, 0)} and sorted(idle(backend)) == ["study-one", "study-two"]
    cluster.waits_s.clear()
    with backend.running(ONE, "again") as replica:
        assert replica.app == "study-one" and replica.startup.in_place
        assert cluster.groups == {"study-again": ("n", 1, 0)} and cluster.waits_s == [2.0]
    assert backend.pool.idle()[-1].group == "study-again"


def test_where_the_idle_replicas_node_is_full_another_node_will_do(on):
    cluster, backend = on({"a": 1, "b": 1})
    ran(backend, ONE, "t")
    backend.close()
    assert cluster.groups == {}
    cluster.groups["somebody"] = ("a", 1, 0)
    backend.pool.spare()
    with backend.running(ONE, "u") as replica:
        assert replica.app == "study-u" and cluster.apps["study-u"].node == "b"
        assert cluster.waits_s[-2:] == [2.0, 900.0] and idle(backend) == ["study-t"]
    assert sorted(idle(backend)) == ["study-t", "study-u"]


def test_of_the_node_that_has_room_an_idle_replica_is_taken_with_no_cores_twice(on):
    """The one on the full node is the more alike, so it is asked for first; then the one where there is room."""
    cluster, backend = on({"a": 1, "b": 2})
    ran(backend, replace(ONE, max_batch_size=8), "t")
    cluster.groups["blocks"] = cluster.groups.pop("study-t")  # b's turn
    backend.pool.spare()
    kept = WarmReplica("study-b", replace(ONE, max_batch_size=2), "b", 55, group="study-b", model=MODEL)
    cluster.apps["study-b"] = Running(55, "b", kept.settings, {})
    cluster.groups["study-b"] = ("b", 1, 0)
    backend.pool.add("before", kept)
    backend.pool.park("before", kept)
    backend.pool.spare()
    cluster.groups.pop("study-b")
    with backend.running(replace(ONE, max_batch_size=8), "v") as replica:
        assert replica.app == "study-b" and replica.startup.in_place
        assert cluster.groups["study-v"] == ("b", 1, 0)
    assert sorted(idle(backend)) == ["study-b", "study-t"]


def test_one_that_cannot_be_changed_is_ended_and_a_new_one_gets_its_cores(on):
    cluster, backend = on()
    ran(backend, ONE, "t")
    cluster.change_fails.append("unlucky")
    with backend.running(ONE, "u") as replica:
        assert replica.app == "study-u" and not replica.startup.in_place
        assert set(cluster.apps) == {"study-u"} and set(cluster.groups) == {"study-t"}
        assert backend.pool.held() == {"study-u": "u"}
    assert set(replica.startup.seconds) == {"reserve", "change", "deploy"}
    assert replica.startup.not_changed == "DeployFailed: unlucky"
    assert [(kept.app, kept.group) for kept in backend.pool.idle()] == [("study-u", "study-t")]


def test_a_process_that_serve_started_in_place_of_one_that_died_is_not_used(on):
    cluster, backend = on()
    ran(backend, ONE, "t")
    cluster.apps["study-t"].pid = 7
    with backend.running(ONE, "u") as replica:
        assert replica.app == "study-u"
    assert set(cluster.apps) == {"study-u"}


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("wrong", ["raised", "unanswered", "another process", "no answer", "trial"])
def test_a_replica_of_which_anything_went_wrong_is_ended_and_its_cores_are_given_back(on, wrong, in_place):
    cluster, backend = on()
    if in_place:
        ran(backend, ONE, "before")

    def trial():
        with backend.running(ONE, "t") as replica:
            app = cluster.apps[replica.app]
            if wrong == "raised":
                app.raised = 1
            if wrong == "unanswered":
                app.unanswered = 1
            if wrong == "another process":
                app.pid += 1
            if wrong == "no answer":
                app.answers = False
            if wrong == "trial":
                raise ZeroDivisionError

    if wrong in ("raised", "unanswered"):
        trial()
    else:
        with pytest.raises(ZeroDivisionError if wrong == "trial" else ReplicaDied):
            trial()
    assert nothing_is_left(cluster, backend)


def test_what_a_new_replica_cannot_do_counts_against_the_configuration(on):
    cluster, backend = on()
    cluster.deploy_fails.append(DeployFailed)
    with pytest.raises(DeployFailed), backend.running(ONE, "t"):
        raise AssertionError("not reached")
    assert nothing_is_left(cluster, backend)


def test_where_a_node_died_meanwhile_another_one_is_tried(on):
    cluster, backend = on({"a": 1, "b": 1})

    def dies():
        cluster.dead.add("a")
        return DeployTimeout("no longer there")

    cluster.deploy_fails.append(dies)
    with backend.running(ONE, "t") as replica:
        assert cluster.apps[replica.app].node == "b" and cluster.groups == {"study-t": ("b", 1, 0)}
    # All that was tried took time.
    assert replica.startup.seconds["reserve"] == 2.0 and idle(backend) == ["study-t"]


def test_a_node_that_dies_while_a_replica_waits_for_it_ends_the_wait(on):
    cluster, backend = on({"a": 1})
    cluster.waiting = 1
    deploy = cluster.deploy

    def dying(*args, **more):
        cluster.dead.add("a")
        return deploy(*args, **more)

    cluster.deploy, cluster.queue_s = dying, 5.0
    # Then there is no node left.
    with pytest.raises(NoRoom), backend.running(ONE, "t"):
        raise AssertionError("not reached")
    with pytest.raises(NodeDied, match="node a is gone"):
        warm_backend._ReplicaLease(backend, ONE, "t")._make_room("a")
    assert nothing_is_left(cluster, backend)


def test_a_replica_that_makes_room_is_not_taken_for_the_one_that_is_being_made(on):
    cluster, backend = on({"n": 2}, {"n": 2})
    ran(backend, GPU, "t")
    cluster.waiting, cluster.deploy_fails = 1, [DeployFailed]
    with pytest.raises(DeployFailed), backend.running(replace(GPU, env={"A": "1"}), "u"):
        raise AssertionError("not reached")
    assert cluster.deleted[0][0] == "study-t" and "study-u" in dict(cluster.deleted)
    assert nothing_is_left(cluster, backend)


def test_an_idle_replica_on_a_dead_node_is_forgotten(on):
    cluster, backend = on({"a": 1, "b": 1})
    ran(backend, ONE, "t")
    cluster.dead.add("a")
    with backend.running(ONE, "u") as replica:
        assert replica.app == "study-u" and cluster.apps["study-u"].node == "b"
    assert idle(backend) == ["study-u"] and set(cluster.apps) == {"study-u"}
    assert cluster.groups == {"study-u": ("b", 1, 0)}
