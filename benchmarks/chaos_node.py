"""A node that is lost: all of its processes at once, without a word."""

from __future__ import annotations

import random

from chaos_faults import REPLICA, Fault
from leftovers import workers
from ray.cluster_utils import Cluster


def node_fault(cluster: Cluster) -> Fault:
    """Kills the node of a replica; another one of the same size joins in its place."""

    def strike(rng: random.Random) -> bool:
        hosts = {process.ppid() for process in workers(REPLICA)}
        found = [n for n in cluster.worker_nodes if n.all_processes["raylet"][0].process.pid in hosts]
        if found:
            cluster.remove_node(rng.choice(sorted(found, key=lambda node: node.node_id)), allow_graceful=False)
            cluster.add_node(num_cpus=2)
        return bool(found)

    reason = "ReplicaDied|NodeDied|DeployFailed: the replica's process ended|LoadFailed"
    return Fault("node killed", strike, reason=reason, hits=2)
