"""Warm replicas of which nobody takes care any more: of trials that died, of a pool that died, of a study's end."""

from dataclasses import replace
from functools import partial

import pytest

from serve_deployments.replicas.warm.transition import WarmReplica
from serve_deployments.replicas.warm.warm_backend import take_down
from tests.serve_deployments.replicas.warm.warm_cluster import ONE, TWO, Running, idle, ran, warm


@pytest.fixture
def on(monkeypatch):
    """(cluster, backend) of so many cores and GPUs."""
    return partial(warm, monkeypatch)


def test_what_a_dead_trial_left_is_taken_down_and_what_it_had_reserved_given_back(on):
    cluster, backend = on({"n": 9})
    died = backend.running(ONE, "dead")
    died.__enter__()  # and never left
    ran(backend, TWO, "well")
    cluster.groups["study-dead-gpu"] = ("n", 1, 0)
    cluster.groups["study-deadly"] = ("n", 1, 0)
    assert set(cluster.apps) == {"study-dead", "study-well"}
    backend.remove("dead")
    assert set(cluster.apps) == {"study-well"} and set(cluster.groups) == {"study-well", "study-deadly"}
    assert not backend.pool.held() and idle(backend) == ["study-well"]
    backend.remove("never there")


def test_cores_that_a_dead_trial_reserved_and_left_with_a_replica_stay_with_it(on):
    """The trial parked its replica, cores and all, and then its process died: they are the pool's by now."""
    cluster, backend = on()
    ran(backend, ONE, "t")
    backend.remove("t")
    assert set(cluster.groups) == {"study-t"} and idle(backend) == ["study-t"] and set(cluster.apps) == {"study-t"}


class Gone:
    """A pool whose actor has died: as `SharedPool` answers then."""

    gone = True

    def take(self, *args):
        return None

    def add(self, *args):
        return ()

    def park(self, trial, kept, free_memory=None):
        return (kept,)

    def evict(self, *args):
        return None

    def open(self, *args):
        return ()

    def forget(self, app):
        pass

    def drop(self, trial):
        return ()

    def spare(self):
        return ()

    def groups(self):
        return frozenset()


def test_without_a_pool_trials_go_on_nothing_idles_and_what_idled_is_swept_away(on):
    cluster, backend = on()
    ran(backend, TWO, "orphan")
    cluster.apps["study-busy"] = Running(1, "n", ONE, {})
    cluster.apps["study-hung"] = Running(2, "n", ONE, {}, answers=False)
    cluster.apps["other-idle"] = Running(3, "n", ONE, {}, idle_with="")
    poolless = replace(backend, pool=Gone())
    with poolless.running(ONE, "alone") as replica:
        assert set(cluster.apps) == {"study-alone", "study-busy", "study-hung", "other-idle"}
        assert cluster.groups == {"study-alone": ("n", 1, 0)} and not replica.startup.in_place
    assert "study-alone" not in cluster.apps and cluster.groups == {}


def test_without_a_pool_a_dead_trials_own_replica_is_removed(on):
    cluster, backend = on()
    died = backend.running(ONE, "dead")
    died.__enter__()
    assert cluster.apps and cluster.groups
    replace(backend, pool=Gone()).remove("dead")
    assert not cluster.apps and not cluster.groups


def test_at_the_end_of_a_study_all_its_cores_are_given_back_and_nobody_elses(on):
    cluster, backend = on({"n": 9})
    ran(backend, ONE, "t")
    cluster.groups["studious"] = ("n", 1, 0)
    backend.close()
    assert set(cluster.groups) == {"studious"}


def test_taking_down_waits_unless_told_otherwise(on):
    cluster, _ = on()
    cluster.groups = {"cores": ("n", 1, 0), "other": ("n", 1, 0)}
    take_down([WarmReplica("a", ONE, "n", group="cores"), WarmReplica("b", ONE, "n")])
    take_down([WarmReplica("c", ONE, "n")], wait=False)
    assert cluster.deleted == [("a", 30.0), ("b", 30.0), ("c", 0.0)] and set(cluster.groups) == {"other"}
