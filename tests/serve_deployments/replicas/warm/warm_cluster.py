"""A cluster that is not there, for warm replicas: its nodes, reservations and applications, by the books."""

from dataclasses import dataclass, field, replace
from typing import Any

from serve_deployments.backend import NodeDied, NoRoom, ReplicaDied, ReplicaFacts
from serve_deployments.models.model import Builder, identity
from serve_deployments.replicas import neighbours
from serve_deployments.replicas.warm import warm_backend
from serve_deployments.replicas.warm.pool import Pool
from serve_deployments.replicas.warm.warm_backend import WarmBackend
from serve_deployments.settings import Settings

NODE_ID = "ray.io/node-id"
ONE = Settings(cpu_cores=1)
TWO = Settings(cpu_cores=2)
GPU = Settings(gpu_type="T4", node_labels={"gpu": "T4"})
SOURCE = Builder("a:model")
MODEL = identity(SOURCE)


@dataclass
class Running:
    """A replica's process."""

    pid: int
    node: str
    settings: Settings
    options: dict
    changes: list = field(default_factory=list)
    raised: int = 0
    unanswered: int = 0
    idle_with: str | None = None
    answers: bool = True
    closes: bool = False
    closed: list = field(default_factory=list)

    def facts(self, failure=None, free_memory=0.5):
        return ReplicaFacts(
            self.node, self.pid, (), (), "cpu", failure, None, self.raised, changeable=frozenset({"k"}),
            free_memory=free_memory, idle_with=self.idle_with, closes=self.closes,
            unanswered=self.unanswered, node=self.node, visible_gpus=self.options.get("visible"),
        )  # fmt: skip


class Cluster:
    """Nodes with cores and GPUs, reservations, applications; `fresh` and all that `warm_backend` asks of Ray and Serve.

    Args:
        cpus: node → cores.
        gpus: node → GPUs, all of type T4.
    """

    prefix, deadline_s, queue_s, source, samples = "study", 60.0, 900.0, SOURCE, ("sample",)

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

    def check_alive(self, node):
        if node in self.dead:
            raise NodeDied(f"node {node} is gone")

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

    def replica(self, app, startup=None, streams=False):
        return Handle(self, app, startup)

    # --- a GPU
    def seen(self, app, gpus):
        """What a replica's process sees of its node's GPUs."""
        self.apps[app].options["visible"] = gpus


@dataclass
class Handle:
    """As `ServeReplica`."""

    cluster: Cluster
    app: str
    startup: object = None

    @property
    def now(self):
        if self.app not in self.cluster.apps or not self.cluster.apps[self.app].answers:
            raise ReplicaDied("no longer answers")
        return self.cluster.apps[self.app]

    def facts(self):
        return self.now.facts()

    def change(self, settings, pid, samples, *, deadline_s):
        assert deadline_s == self.cluster.deadline_s and samples == self.cluster.samples
        self.cluster.time_s += 0.5
        self.now.changes.append(settings)
        if pid != self.now.pid:
            return self.now.facts(failure=f"process {pid} has ended")
        if self.cluster.change_fails:
            return self.now.facts(failure=self.cluster.change_fails.pop(0))
        self.now.settings, self.now.idle_with = settings, None
        return self.now.facts()

    def close(self):
        assert self.now.idle_with is not None, "only parked models are closed"
        self.now.closed.append(self.cluster.time_s)
        return replace(self.now.facts(), closes=False)

    def park(self, group="", *, longest_batch_s=0.0):
        facts = self.now.facts(free_memory=self.cluster.free_memory)
        self.now.idle_with = group
        return facts


def warm(monkeypatch, cpus=None, gpus=None, pool=None):
    """(cluster, backend) of so many cores and GPUs."""
    cluster = Cluster(cpus or {"n": 2}, gpus)
    for name in ("reserve", "release", "reserved", "is_alive", "check_alive", "applications", "delete"):
        monkeypatch.setattr(warm_backend, name, getattr(cluster, name))
    for name in ("reserve", "release", "check_alive", "delete"):
        monkeypatch.setattr(neighbours, name, getattr(cluster, name))
    monkeypatch.setattr(warm_backend, "ServeReplica", cluster.replica)
    monkeypatch.setattr(neighbours, "ServeReplica", cluster.replica)
    monkeypatch.setattr(warm_backend, "time", cluster)
    fresh: Any = cluster
    return cluster, WarmBackend(fresh, pool or Pool())


def ran(backend, settings, name):
    """One trial from start to end, which goes well; its replica."""
    with backend.running(settings, name) as replica:
        assert backend.pool.held()[replica.app] == name
    return replica


def idle(backend):
    return [kept.app for kept in backend.pool.idle()]


def nothing_is_left(cluster, backend):
    return not cluster.apps and not cluster.groups and not backend.pool.held() and not backend.pool.idle()
