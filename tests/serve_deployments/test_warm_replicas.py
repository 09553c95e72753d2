"""Warm replicas by the books of a cluster that is not there: who gets which, on whose cores, and what is given back.

`test_warm_backend` says the same of a real Ray, where it takes a minute.
"""

from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from serve_deployments.replicas import warm_backend
from serve_deployments.replicas.backend import DeployFailed, DeployTimeout, NodeDied, ReplicaDied
from serve_deployments.replicas.cores import NoRoom
from serve_deployments.replicas.pool import Kept, Pool
from serve_deployments.replicas.replica import ReplicaFacts
from serve_deployments.replicas.warm_backend import WarmBackend, take_down
from serve_deployments.settings import Settings

NODE_ID = "ray.io/node-id"
ONE = Settings(cpu_cores=1)
TWO = Settings(cpu_cores=2)
GPU = Settings(gpu_type="T4", node_labels={"gpu": "T4"})


@dataclass
class Running:
    """A replica's process."""

    pid: int
    node: str
    settings: Settings
    options: dict
    changes: list = field(default_factory=list)
    raised: int = 0
    idle_with: str | None = None
    answers: bool = True

    def facts(self, failure=None, free_memory=0.5):
        return ReplicaFacts(
            self.node, self.pid, (), (), "cpu", failure, None, self.raised, changeable=frozenset({"k"}),
            free_memory=free_memory, idle_with=self.idle_with,
        )  # fmt: skip


class Cluster:
    """Nodes with cores and GPUs, reservations, applications; `fresh` and all that `warm_backend` asks of Ray and Serve.

    Args:
        cpus: node → cores.
        gpus: node → GPUs, all of type T4.
    """

    prefix, deadline_s, queue_s = "study", 60.0, 900.0

    def __init__(self, cpus, gpus=None):
        self.cpus, self.gpus, self.dead = cpus, gpus or {}, set()
        self.groups, self.apps, self.deleted, self.waits_s = {}, {}, [], []
        self.time_s, self.pids, self.free_memory = 0.0, 100, 0.5
        self.deploy_fails, self.change_fails, self.waiting = [], [], 0

    # --- Ray
    def monotonic(self):
        return self.time_s

    def reserve(self, name, cores, labels, *, wait_s, gpus=0):
        self.waits_s.append(wait_s)
        assert name not in self.groups, "each name is reserved once"
        for node, cpus in self.cpus.items():
            free = cpus - sum(c for n, c, _ in self.groups.values() if n == node)
            used = sum(g for n, _, g in self.groups.values() if n == node)
            used += sum(app.options.get("num_gpus", 0) for app in self.apps.values() if app.node == node)
            fits = free >= cores and self.gpus.get(node, 0) - used >= gpus and node not in self.dead
            wanted = labels.get(NODE_ID, node) == node and ("gpu" not in labels or node in self.gpus)
            if fits and wanted:
                self.groups[name] = (node, cores, gpus)
                self.time_s += 1
                return node
        self.time_s += wait_s
        raise NoRoom("no room")

    def release(self, name):
        self.groups.pop(name, None)

    def reserved(self, prefix):
        return tuple(name for name in self.groups if name.startswith(prefix))

    def is_alive(self, node):
        return node not in self.dead

    # --- Serve
    def app(self, name):
        return f"study-{name}"

    def deploy(self, app, settings, options, *, while_waiting):
        assert app not in self.apps, "each name is deployed once"
        for _ in range(self.waiting):
            while_waiting()
        if self.deploy_fails:
            raise self.deploy_fails.pop(0)()
        self.pids += 1
        self.time_s += 10
        self.apps[app] = Running(self.pids, options["label_selector"][NODE_ID], settings, options)
        return self.apps[app].facts()

    def applications(self, prefix):
        return tuple(app for app in self.apps if app.startswith(prefix))

    def delete(self, app, *, deadline_s=30.0):
        self.deleted.append((app, deadline_s))
        self.apps.pop(app, None)

    def replica(self, app, readied=None):
        return Handle(self, app, readied)


@dataclass
class Handle:
    """As `ServeReplica`."""

    cluster: Cluster
    app: str
    readied: object

    @property
    def now(self):
        if self.app not in self.cluster.apps or not self.cluster.apps[self.app].answers:
            raise ReplicaDied("no longer answers")
        return self.cluster.apps[self.app]

    def facts(self):
        return self.now.facts()

    def change(self, settings, pid, *, deadline_s):
        assert deadline_s == self.cluster.deadline_s
        self.cluster.time_s += 0.5
        self.now.changes.append(settings)
        if pid != self.now.pid:
            return self.now.facts(failure=f"process {pid} has ended")
        if self.cluster.change_fails:
            return self.now.facts(failure=self.cluster.change_fails.pop(0))
        self.now.settings, self.now.idle_with = settings, None
        return self.now.facts()

    def park(self, group=""):
        facts = self.now.facts(free_memory=self.cluster.free_memory)
        self.now.idle_with = group
        return facts


@pytest.fixture
def on(monkeypatch):
    """(cluster, backend) of so many cores and GPUs."""

    def made(cpus=None, gpus=None, pool=None):
        cluster = Cluster(cpus or {"n": 2}, gpus)
        for name in ("reserve", "release", "reserved", "is_alive", "applications", "delete"):
            monkeypatch.setattr(warm_backend, name, getattr(cluster, name))
        monkeypatch.setattr(warm_backend, "ServeReplica", cluster.replica)
        monkeypatch.setattr(warm_backend, "time", cluster)
        fresh: Any = cluster
        return cluster, WarmBackend(fresh, pool or Pool())

    return made


def ran(backend, settings, name):
    """One trial from start to end, which goes well; its replica."""
    with backend.running(settings, name) as replica:
        assert backend.pool.held()[replica.app] == name
    return replica


def idle(backend):
    return [kept.app for kept in backend.pool.idle()]


def test_the_first_trial_has_a_new_replica_on_cores_that_are_its_own(on):
    cluster, backend = on()
    with backend.running(replace(TWO, env={"A": "1"}), "t") as replica:
        assert cluster.groups == {"study-t": ("n", 2, 0)} and cluster.waits_s == [900.0]
        # The cores are reserved apart from it; and Ray would otherwise give OpenMP a single thread.
        [app] = cluster.apps.values()
        assert app.options["num_cpus"] == 0 and app.options["label_selector"] == {NODE_ID: "n"}
        variables = app.options["runtime_env"]["env_vars"]
        assert variables["OMP_NUM_THREADS"] == "2" and variables["A"] == "1" and "num_gpus" not in app.options
    assert not replica.readied.in_place and replica.readied.seconds == {"reserve": 1.0, "deploy": 10.0}
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
    assert replica.readied.in_place and replica.readied.seconds == {"reserve": 0.0, "change": 0.5}
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


def test_cores_of_an_idle_replica_are_given_to_who_wants_them_and_taken_anew_for_it(on):
    """On two cores: one that is idle keeps its core until a trial wants both, and then has to ask for one again."""
    cluster, backend = on()
    ran(backend, ONE, "one")
    ran(backend, TWO, "two")
    assert cluster.groups == {"study-two": ("n", 2, 0)} and sorted(idle(backend)) == ["study-one", "study-two"]
    cluster.waits_s.clear()
    with backend.running(ONE, "again") as replica:
        assert replica.app == "study-one" and replica.readied.in_place
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
    kept = Kept("study-b", replace(ONE, max_batch_size=2), "b", 55, group="study-b")
    cluster.apps["study-b"] = Running(55, "b", kept.settings, {})
    cluster.groups["study-b"] = ("b", 1, 0)
    backend.pool.add("before", kept)
    backend.pool.park("before", kept)
    backend.pool.spare()
    cluster.groups.pop("study-b")
    with backend.running(replace(ONE, max_batch_size=8), "v") as replica:
        assert replica.app == "study-b" and replica.readied.in_place
        assert cluster.groups["study-v"] == ("b", 1, 0)
    assert sorted(idle(backend)) == ["study-b", "study-t"]


def test_one_that_cannot_be_changed_is_ended_and_a_new_one_gets_its_cores(on):
    cluster, backend = on()
    ran(backend, ONE, "t")
    cluster.change_fails.append("unlucky")
    with backend.running(ONE, "u") as replica:
        assert replica.app == "study-u" and not replica.readied.in_place
        assert set(cluster.apps) == {"study-u"} and set(cluster.groups) == {"study-t"}
        assert backend.pool.held() == {"study-u": "u"}
    assert set(replica.readied.seconds) == {"reserve", "change", "deploy"}
    assert [(kept.app, kept.group) for kept in backend.pool.idle()] == [("study-u", "study-t")]


def test_a_process_that_serve_started_in_place_of_one_that_died_is_not_used(on):
    cluster, backend = on()
    ran(backend, ONE, "t")
    cluster.apps["study-t"].pid = 7
    with backend.running(ONE, "u") as replica:
        assert replica.app == "study-u"
    assert set(cluster.apps) == {"study-u"}


def nothing_is_left(cluster, backend):
    return not cluster.apps and not cluster.groups and not backend.pool.held() and not backend.pool.idle()


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("wrong", ["raised", "another process", "no answer", "trial"])
def test_a_replica_of_which_anything_went_wrong_is_ended_and_its_cores_are_given_back(on, wrong, in_place):
    cluster, backend = on()
    if in_place:
        ran(backend, ONE, "before")

    def trial():
        with backend.running(ONE, "t") as replica:
            app = cluster.apps[replica.app]
            if wrong == "raised":
                app.raised = 1
            if wrong == "another process":
                app.pid += 1
            if wrong == "no answer":
                app.answers = False
            if wrong == "trial":
                raise ZeroDivisionError

    if wrong == "raised":
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
    assert replica.readied.seconds["reserve"] == 2.0 and idle(backend) == ["study-t"]


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
        warm_backend._Stay(backend, ONE, "t")._make_room("a")
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
    kept = Kept("study-quick", replace(GPU, env={"A": "1"}), "a", 55)
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
            kept = Kept(f"study-on-{node}", replace(GPU, env={"A": "1"}), node, 55)
            backend.pool.add("quick", kept)
            backend.pool.park("quick", kept)
        return deploy(*args, **more)

    cluster.deploy = quicker
    with backend.running(GPU, "t") as replica:
        assert cluster.apps[replica.app].node == "b"
    assert cluster.deleted == [("study-on-b", 30.0)] and idle(backend) == ["study-on-a", "study-t"]


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
        assert cluster.groups == {"study-alone": ("n", 1, 0)} and not replica.readied.in_place
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
    take_down([Kept("a", ONE, "n", group="cores"), Kept("b", ONE, "n")])
    take_down([Kept("c", ONE, "n")], wait=False)
    assert cluster.deleted == [("a", 30.0), ("b", 30.0), ("c", 0.0)] and set(cluster.groups) == {"other"}
