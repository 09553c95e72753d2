import pytest

from cluster import nvml
from cluster.fakes import ray_node
from cluster.inventory import UNKNOWN_GPU, Demand, Inventory, Node, parse

T4 = Node("t", "t", 4, 16, "T4", 1, 16.0, ray_label="T4")
V100 = Node("v", "v", 8, 64, "V100", 2, 16.0, ray_label="V100")
CPU = Node("c", "c", 16, 64)
HEAD = Node("h", "h", 0, 8)
CLUSTER = Inventory((T4, V100, CPU, HEAD))


@pytest.mark.parametrize(
    "demand, says",
    [
        (Demand(16), None),
        (Demand(4, "T4", 1.0, 16.0), None),
        (Demand(4, "Tesla T4", 0.2, 0.8), None),
        (Demand(2, "V100", 2.0), None),
        (Demand(17), "asks 17 cores, most on one node is 16"),
        (Demand(5, "T4", 0.5), "asks 5 cores, most on a T4 node is 4"),
        (Demand(1, "A100", 0.5), "asks an A100-40G, the cluster has T4, V100; add an A100-40G node"),
        (Demand(1, "T4", 2), "asks 2 of a T4, most on a T4 node is 1"),
        (Demand(1, "V100", 0.5, 20), "asks 20.0 GiB of a V100, most on a V100 node is 16.0 GiB; lower"),
    ],
)
def test_why_not(demand, says):
    reason = CLUSTER.why_not(demand)
    assert reason is None if says is None else reason is not None and reason.startswith(says)


def test_one_node_must_have_it_all():
    big_memory = Node("b", "b", 2, 16, "T4", 1, 32.0)
    reason = Inventory((T4, big_memory)).why_not(Demand(4, "T4", 1.0, 20.0))
    assert reason == ("asks 4 cores, most on a T4 node with enough of it is 2; ask for fewer or add a bigger node")
    assert "most on a T4 node is 2" in Inventory((big_memory,)).why_not(Demand(3, "T4", 1.0))


def test_an_empty_cluster_and_one_without_gpus():
    assert "no node alive" in Inventory(()).why_not(Demand(1))
    assert "the cluster has no GPU" in Inventory((CPU,)).why_not(Demand(1, "T4", 1))
    assert "most on one node is 0" in Inventory((HEAD,)).why_not(Demand(1))


def test_refuses_what_makes_no_sense():
    with pytest.raises(ValueError, match="needs a GPU type"):
        Demand(1, gpu_share=0.5)
    with pytest.raises(ValueError, match="negative"):
        Demand(-1)
    with pytest.raises(ValueError, match="both a GPU type and a number"):
        Node("x", "x", 1, 1, "T4", 0)
    with pytest.raises(ValueError, match="less than nothing"):
        Node("x", "x", -1, 1)


def test_parse_reads_what_ray_says():
    inventory = parse(
        [
            ray_node("h", cpus=0),
            ray_node("t", cpus=4, gpu_type="T4", gpus=1, memory_gib=12, emulated=True),
            ray_node("dead", cpus=64, alive=False),
        ]
    )
    head, t4 = inventory.nodes
    assert head == Node("h", "host-h", 0, 32.0)
    assert t4 == Node("t", "host-t", 4, 12.0, "T4", 1.0, 16.0, emulated=True, ray_label="T4")
    assert inventory.gpu_types == ("T4",) and inventory.emulated


def test_parse_without_a_label_takes_the_resource():
    entry = ray_node("t", cpus=4, gpu_type="T4", gpus=1)
    entry["Labels"] = {}
    (node,) = parse([entry]).nodes
    assert (node.gpu_type, node.ray_label) == ("T4", None)


def test_nvml_settles_which_card_it_is():
    readings = {"a": nvml.Reading((nvml.Device(0, "NVIDIA A100-SXM4-80GB", "u", 79.3, False),), has_mps=True)}
    nodes = [ray_node("a", cpus=8, gpu_type="A100", gpus=1), ray_node("b", cpus=8, gpu_type="A100", gpus=1)]
    read, unread = parse(nodes, readings).nodes
    assert (read.gpu_type, read.gpu_memory_gib, read.has_mps) == ("A100-80G", 79.3, True)
    assert (unread.gpu_type, unread.gpu_memory_gib, unread.has_mps) == ("A100-40G", 40.0, False)


def test_unknown_cards_keep_their_names():
    (named,) = parse([ray_node("n", cpus=1, gpu_type="GeForce-RTX-5090", gpus=1)]).nodes
    assert (named.gpu_type, named.gpu_memory_gib) == ("GeForce-RTX-5090", 0.0)
    entry = ray_node("n", cpus=1, gpu_type="X", gpus=1)
    entry["Labels"], entry["Resources"] = {}, {"CPU": 1.0, "GPU": 1.0}
    assert parse([entry]).nodes[0].gpu_type == UNKNOWN_GPU
    reading = nvml.Reading((nvml.Device(0, "NVIDIA GeForce RTX 5090", "u", 31.8, False),), False)
    (read,) = parse([entry], {"n": reading}).nodes
    assert (read.gpu_type, read.gpu_memory_gib) == ("NVIDIA GeForce RTX 5090", 31.8)


def test_label_selector():
    assert CLUSTER.label_selector("Tesla T4") == {"ray.io/accelerator-type": "T4"}
    a40 = Node("a40", "x", 8, 64, "A100-40G", 1, 40.0, ray_label="A100")
    a80 = Node("a80", "x", 8, 64, "A100-80G", 1, 80.0, ray_label="A100")
    both = Inventory((a40, a80, CPU))
    assert both.label_selector("A100-80G") == {"ray.io/node-id": "a80"}  # the label says A100 for either
    assert Inventory((a80, CPU)).label_selector("A100-80G") == {"ray.io/accelerator-type": "A100"}
    bare = Inventory((Node("n2", "x", 8, 64, "T4", 1, 16.0), Node("n1", "x", 8, 64, "T4", 1, 16.0)))
    assert bare.label_selector("T4") == {"ray.io/node-id": "in(n1,n2)"}
    with pytest.raises(ValueError, match="no node has a V100; there are T4"):
        bare.label_selector("V100")
