"""The fault in which a node is lost: all of its processes end at once, without notice."""

from __future__ import annotations

import random

from ray.cluster_utils import Cluster

from benchmarks.faults.faults import REPLICA, Fault
from benchmarks.faults.leftovers import workers


def two_nodes(cluster: Cluster) -> None:
    """Adds nodes until the cluster has two besides its head; only the main thread can do this."""
    while len(cluster.worker_nodes) < 2:
        cluster.add_node(num_cpus=2)


def node_fault(cluster: Cluster) -> Fault:
    """The fault that kills the node of a replica, once per study; the cluster has another node."""

    def strike(rng: random.Random) -> bool:
        hosts = {process.ppid() for process in workers(REPLICA)}
        found = [n for n in cluster.worker_nodes if n.all_processes["raylet"][0].process.pid in hosts]
        if found:
            cluster.remove_node(rng.choice(sorted(found, key=lambda node: node.node_id)), allow_graceful=False)
        return bool(found)

    reason = "ReplicaDied|LoadFailed|TrialDied"
    return Fault("node killed", strike, reason=reason, hits=1, trials=3, prepare=lambda: two_nodes(cluster))
