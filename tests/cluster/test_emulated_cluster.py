import os
import subprocess
import sys

import pytest
import ray

from cluster import inventory
from cluster.emulated import devices as emulated
from cluster.inventory import Demand
from serve_deployments.measuring.in_cluster.load_side import load_actor, release_cores

pytestmark = pytest.mark.ray
ASK = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1]).internal_kv_keys(b'', None)"


def answers_strangers(address: str) -> bool:
    """Whether a cluster answers a process that has no token."""
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    asked = subprocess.run(
        [sys.executable, "-c", ASK, address], env=environment, capture_output=True, text=True, timeout=120
    )
    assert asked.returncode == 0 or "nauthenticated" in asked.stderr, asked.stderr
    return asked.returncode == 0


def test_an_emulated_cluster_comes_up_and_goes_away(ray_starts_alone):
    with pytest.raises(RuntimeError, match="not connected"):
        inventory.from_ray()
    with (
        ray_starts_alone(),
        pytest.raises(KeyError, match="the test's own"),
        emulated.emulated_cluster("T4:2") as address,
    ):
        ray.init(address=address, log_to_driver=False)
        assert address.startswith("127.0.0.1:") and not answers_strangers(address)
        found = inventory.from_ray()
        assert found.gpu_types == ("T4",) and found.emulated
        assert sorted(node.cpu_cores for node in found.nodes) == [4, 8]
        assert found.why_not(Demand(8, "T4", 2.0)) is None
        assert found.why_not(Demand(9, "T4", 1.0)).startswith("needs 9 cores, but the largest T4 node has 8")
        # An unread node is asked through a pinned task: no driver here, so no device and no exception.
        node_id = found.with_gpu("T4")[0].node_id
        assert inventory._ask([node_id])[node_id].devices == ()
        where = ray.remote(lambda: ray.get_runtime_context().get_node_id())
        selected = where.options(num_gpus=0.5, label_selector=found.label_selector("T4"))
        assert ray.get(selected.remote(), timeout=60) == node_id
        # Nor does a load actor go elsewhere, though it asks for nothing that its node could lack.
        for node in (*found.nodes, *found.nodes):
            with load_actor(node.node_id) as actor:
                is_on = actor.__ray_call__.remote(lambda self: ray.get_runtime_context().get_node_id())
                assert ray.get(is_on, timeout=60) == node.node_id
            release_cores()
        raise KeyError("the test's own")
    assert not ray.is_initialized()
