"""Neighbours of a replica that is measured: on its node, on its GPU, on cores of their own, and gone afterwards."""

from dataclasses import replace
from functools import partial

import pytest

from serve_deployments.backend import DeployFailed, NodeDied, NoRoom, OutOfMemory, ReplicaDied
from serve_deployments.replicas.neighbours import ServeNeighbours
from tests.serve_deployments.replicas.warm.warm_cluster import GPU, ONE, idle, ran, warm

HALF = replace(GPU, gpu_share=0.5)


@pytest.fixture
def on(monkeypatch):
    """(cluster, backend) of so many cores and GPUs."""
    return partial(warm, monkeypatch)


def test_a_neighbour_sees_the_gpu_of_the_replica_and_has_cores_of_its_own(on):
    cluster, backend = on({"a": 8, "b": 2}, gpus={"b": 2})
    beside = ServeNeighbours(backend.fresh, backend.pool)
    with backend.running(HALF, "t") as replica:
        cluster.seen(replica.app, "1")  # the second of the node's two
        with beside(replica, HALF, "t-beside-1") as neighbour:
            app = cluster.apps[neighbour.app]
            assert app.node == "b" and app.settings == HALF
            # In Ray's books the replica has the whole GPU, so there is none left to ask for.
            assert "num_gpus" not in app.options and app.options["num_cpus"] == 0
            variables = app.options["runtime_env"]["env_vars"]
            assert variables["CUDA_VISIBLE_DEVICES"] == "1" and variables["OMP_NUM_THREADS"] == "1"
            assert variables["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "50"
            assert cluster.groups["study-t-beside-1"] == ("b", 1, 0)
        assert set(cluster.apps) == {replica.app} and set(cluster.groups) == {"study-t"}
    assert idle(backend) == ["study-t"]


def test_where_all_gpus_are_seen_a_neighbour_is_told_nothing(on):
    cluster, backend = on({"b": 2}, gpus={"b": 1})
    beside = ServeNeighbours(backend.fresh, backend.pool)
    with backend.running(HALF, "t") as replica, beside(replica, HALF, "u") as neighbour:
        assert "CUDA_VISIBLE_DEVICES" not in cluster.apps[neighbour.app].options["runtime_env"]["env_vars"]


def test_a_node_without_cores_for_a_neighbour_has_no_room(on):
    cluster, backend = on({"b": 1}, gpus={"b": 1})
    beside = ServeNeighbours(backend.fresh, backend.pool)
    with backend.running(HALF, "t") as replica:
        with pytest.raises(NoRoom), beside(replica, HALF, "u"):
            raise AssertionError("not reached")
        assert set(cluster.apps) == {replica.app} and set(cluster.groups) == {"study-t"}


def test_cores_that_are_kept_for_an_idle_replica_are_given_to_a_neighbour(on):
    cluster, backend = on({"b": 2}, gpus={"b": 1})
    with backend.running(HALF, "t") as replica:
        # Another trial of the study has parked a replica meanwhile, which keeps the node's other core.
        with backend.running(ONE, "cpu"):
            pass
        assert "study-cpu" in cluster.groups
        with ServeNeighbours(backend.fresh, backend.pool)(replica, HALF, "u") as neighbour:
            assert cluster.apps[neighbour.app].node == "b" and "study-cpu" not in cluster.groups


@pytest.mark.parametrize("error", [DeployFailed, OutOfMemory, KeyboardInterrupt])
def test_whatever_ends_a_neighbour_nothing_of_it_is_left(on, error):
    cluster, backend = on({"b": 2}, gpus={"b": 1})
    beside = ServeNeighbours(backend.fresh, backend.pool)
    with backend.running(HALF, "t") as replica:
        cluster.deploy_fails = [error]
        with pytest.raises(error), beside(replica, HALF, "u"):
            raise AssertionError("not reached")
        with pytest.raises(error), beside(replica, HALF, "v"):
            raise error
        assert set(cluster.apps) == {replica.app} and set(cluster.groups) == {"study-t"}


def test_a_neighbour_that_did_not_live_to_the_end_was_none(on):
    cluster, backend = on({"b": 2}, gpus={"b": 1})
    beside = ServeNeighbours(backend.fresh, backend.pool)
    with backend.running(HALF, "t") as replica:
        with pytest.raises(ReplicaDied), beside(replica, HALF, "u") as neighbour:
            cluster.apps[neighbour.app].pid += 1  # Serve has replaced it
        assert set(cluster.apps) == {replica.app}


def test_a_neighbour_is_not_waited_for_on_a_node_that_is_gone(on):
    cluster, backend = on({"b": 2}, gpus={"b": 1})
    ran(backend, HALF, "t")
    with backend.running(HALF, "u") as replica:
        deploy, cluster.waiting = cluster.deploy, 1

        def lost(*args, **more):
            cluster.dead.add("b")
            return deploy(*args, **more)

        cluster.deploy = lost
        with pytest.raises(NodeDied), ServeNeighbours(backend.fresh, backend.pool)(replica, HALF, "v"):
            raise AssertionError("not reached")
