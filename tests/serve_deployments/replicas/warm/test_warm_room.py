"""Warm replicas make room: for too many of them, for memory that is short, for a GPU that somebody else needs."""

from dataclasses import replace
from functools import partial

import pytest

from serve_deployments.backend import NoRoom
from serve_deployments.replicas.warm.pool import Pool
from serve_deployments.replicas.warm.transition import WarmReplica
from tests.serve_deployments.replicas.warm.warm_cluster import GPU, ONE, TWO, idle, nothing_is_left, ran, warm


@pytest.fixture
def on(monkeypatch):
    """(cluster, backend) of so many cores and GPUs."""
    return partial(warm, monkeypatch)


def test_the_longest_idle_is_taken_down_when_there_are_too_many_and_nobody_waits_for_that(on):
    cluster, backend = on({"n": 9}, pool=Pool(most_idle=1))
    ran(backend, ONE, "t")
    ran(backend, TWO, "u")
    assert idle(backend) == ["study-u"] and set(cluster.apps) == {"study-u"} and not backend.pool.held()
    assert cluster.deleted == [("study-t", 0.0)]
    _, backend = on({"n": 9}, pool=Pool(most_idle=0))
    cluster = backend.fresh
    ran(backend, ONE, "t")
    # Its own cores are waited for: the next trial wants them.
    assert cluster.deleted == [("study-t", 30.0)] and nothing_is_left(cluster, backend)


def test_where_memory_is_short_idle_replicas_make_room_for_a_new_one(on):
    cluster, backend = on({"n": 9})
    cluster.free_memory = 0.01
    ran(backend, ONE, "t")
    with backend.running(TWO, "u"):
        assert set(cluster.apps) == {"study-u"} and cluster.deleted == [("study-t", 30.0)]
        assert backend.pool.held() == {"study-u": "u"} and set(cluster.groups) == {"study-u"}


def test_a_gpu_and_the_cores_beside_it_are_of_one_node_and_the_gpu_is_whole(on):
    cluster, backend = on({"a": 8, "b": 2}, gpus={"b": 1})
    with backend.running(replace(GPU, gpu_share=0.25), "t") as replica:
        app = cluster.apps[replica.app]
        assert app.node == "b" and app.options["num_gpus"] == 1
        # What was reserved only to ask is given back: the replica itself holds the GPU.
        assert cluster.groups == {"study-t": ("b", 1, 0)} and cluster.waits_s == [2.0, 900.0]
    ran(backend, replace(GPU, gpu_share=0.25, max_batch_size=8), "u")
    assert idle(backend) == ["study-t"]


def test_an_idle_replica_gives_up_its_gpu_to_a_trial_that_cannot_use_it(on):
    cluster, backend = on({"a": 8}, gpus={"a": 2})
    ran(backend, GPU, "t")
    ran(backend, replace(GPU, env={"A": "1"}), "u")
    ran(backend, ONE, "cpu")
    with backend.running(replace(GPU, env={"A": "2"}), "v") as replica:
        assert replica.app == "study-v" and set(cluster.apps) == {"study-u", "study-cpu", "study-v"}
    assert cluster.deleted == [("study-t", 30.0)]


def test_for_a_gpu_that_others_keep_a_trial_waits_as_long_as_for_cores(on):
    cluster, backend = on({"a": 8}, gpus={"a": 1})
    cluster.groups["somebody"] = ("a", 1, 1)
    cluster.queue_s = 11.0
    with pytest.raises(NoRoom), backend.running(GPU, "t"):
        raise AssertionError("not reached")
    assert cluster.waits_s == [2.0] * 6  # until 12 s
    assert cluster.groups == {"somebody": ("a", 1, 1)}


def test_another_trials_idle_replica_makes_room_where_that_was_quicker(on):
    """Between asking and starting somebody else took the GPU, and has parked by now."""
    cluster, backend = on({"a": 8}, gpus={"a": 1})
    kept = WarmReplica("study-quick", replace(GPU, env={"A": "1"}), "a", 55)
    cluster.waiting = 1
    deploy = cluster.deploy

    def quicker(*args, **more):
        backend.pool.add("quick", kept)
        backend.pool.park("quick", kept)
        return deploy(*args, **more)

    cluster.deploy = quicker
    ran(backend, GPU, "t")
    assert cluster.deleted == [("study-quick", 30.0)] and idle(backend) == ["study-t"]
    cluster.deploy = deploy
    cluster.deleted.clear()
    ran(backend, ONE, "cpu")  # no GPU is asked for, so none is given up while it waits
    assert cluster.deleted == []


def test_for_a_gpu_of_one_node_no_replica_of_another_is_given_up(on):
    """Both nodes' only GPUs were taken between asking and starting, and both who took them have parked by now."""
    cluster, backend = on({"a": 8, "b": 8}, gpus={"a": 1, "b": 1})
    cluster.groups["blocks"] = ("a", 8, 0)  # so that it is b's turn
    cluster.waiting = 1
    deploy = cluster.deploy

    def quicker(*args, **more):
        for node in ("a", "b"):
            kept = WarmReplica(f"study-on-{node}", replace(GPU, env={"A": "1"}), node, 55)
            backend.pool.add("quick", kept)
            backend.pool.park("quick", kept)
        return deploy(*args, **more)

    cluster.deploy = quicker
    with backend.running(GPU, "t") as replica:
        assert cluster.apps[replica.app].node == "b"
    assert cluster.deleted == [("study-on-b", 30.0)] and idle(backend) == ["study-on-a", "study-t"]


def closing(cluster, *apps):
    """What the models of these replicas are from now on: ones with a `close`."""
    for app in apps:
        cluster.apps[app].closes = True


def test_an_idle_model_with_a_close_is_closed_before_another_replica_of_its_node_is_used(on):
    cluster, backend = on({"a": 2, "b": 2})
    env = replace(ONE, env={"DELAY_MS": "50"})
    with backend.running(ONE, "first"):
        closing(cluster, "study-first")
    assert [kept.closes for kept in backend.pool.idle()] == [True]
    ran(backend, ONE, "the same again")  # it is its own model: nothing is closed
    assert cluster.apps["study-first"].closed == []
    before_s = cluster.time_s
    ran(backend, env, "other")
    [closed_s] = cluster.apps["study-first"].closed
    assert before_s <= closed_s < cluster.time_s  # before the new one was deployed, which takes ten seconds
    assert set(idle(backend)) == {"study-first", "study-other"} and not any(k.closes for k in backend.pool.idle())
    assert not backend.pool.held()


def test_a_model_that_cannot_be_closed_ends_with_its_replica(on):
    cluster, backend = on()
    with backend.running(ONE, "first"):
        closing(cluster, "study-first")
    cluster.apps["study-first"].answers = False
    ran(backend, replace(ONE, env={"DELAY_MS": "50"}), "other")
    assert idle(backend) == ["study-other"] and "study-first" in [app for app, _ in cluster.deleted]


def test_a_model_that_cannot_be_closed_does_not_take_the_replica_along_that_is_used_again(on):
    cluster, backend = on()
    ran(backend, ONE, "wanted")
    with backend.running(replace(ONE, env={"DELAY_MS": "50"}), "other"):
        closing(cluster, "study-other")
    cluster.apps["study-other"].answers = False
    assert ran(backend, ONE, "again").startup.in_place
    assert idle(backend) == ["study-wanted"] and "study-other" in [app for app, _ in cluster.deleted]


def test_at_the_end_of_a_study_idle_models_are_closed(on):
    cluster, backend = on()
    with backend.running(ONE, "first"):
        closing(cluster, "study-first")
    backend.close()
    assert len(cluster.apps["study-first"].closed) == 1
