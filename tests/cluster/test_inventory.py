import logging
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import inventory, nvml
from cluster.fakes import ray_node
from cluster.gpu_names import gpu_names
from cluster.inventory import UNKNOWN_GPU, Demand, Inventory, Node, parse
from cluster.torch_build import TorchBuild

T4 = Node("t", "t", 4, 16, "T4", 1, 16.0, ray_label="T4")
V100 = Node("v", "v", 8, 64, "V100", 2, 16.0, ray_label="V100")
CPU = Node("c", "c", 16, 64)
HEAD = Node("h", "h", 0, 8)
CLUSTER = Inventory((T4, V100, CPU, HEAD))


@pytest.mark.parametrize(
    "demand, says",
    [
        (Demand(16), None),
        (Demand(4, "T4", 1.0), None),
        (Demand(4, "Tesla T4", 0.2), None),
        (Demand(2, "V100", 2.0), None),
        (Demand(17), "needs 17 cores, but the largest node has 16"),
        (Demand(5, "T4", 0.5), "needs 5 cores, but the largest T4 node has 4"),
        (Demand(1, "A100", 0.5), "needs an A100-40G, but the cluster has T4, V100; add an A100-40G node"),
        (Demand(1, "T4", 2), "needs 2 T4 GPUs, but a T4 node has at most 1"),
    ],
)
def test_why_not(demand, says):
    reason = CLUSTER.why_not(demand)
    assert reason is None if says is None else reason is not None and reason.startswith(says)


def test_one_node_must_have_it_all():
    two = Node("b", "b", 2, 16, "T4", 2, 16.0)
    reason = Inventory((T4, two)).why_not(Demand(4, "T4", 2.0))
    assert reason == (
        "needs 4 cores, but the largest T4 node with enough GPUs has 2; request fewer or add a larger node"
    )
    assert "but the largest T4 node has 2" in Inventory((two,)).why_not(Demand(3, "T4", 1.0))


def test_an_empty_cluster_and_one_without_gpus():
    assert "no node alive" in Inventory(()).why_not(Demand(1))
    assert "the cluster has no GPU" in Inventory((CPU,)).why_not(Demand(1, "T4", 1))


def test_a_cluster_whose_nodes_come_only_when_asked_for_is_told_what_to_do():
    head = Node("n", "head", 0, 8.0)
    reason = Inventory((head,)).why_not(Demand(1)) or ""
    assert reason.startswith("no node of the cluster has a core; start one") and "minReplicas" in reason


def test_refuses_what_makes_no_sense():
    with pytest.raises(ValueError, match="needs a GPU type"):
        Demand(1, gpu_share=0.5)
    with pytest.raises(ValueError, match="negative"):
        Demand(-1)
    with pytest.raises(ValueError, match="both a GPU type and a number"):
        Node("x", "x", 1, 1, "T4", 0)
    with pytest.raises(ValueError, match="cores, memory and GPUs of node .* must be 0 or more"):
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
    readings = {"a": nvml.NodeGpus((nvml.Device(0, "NVIDIA A100-SXM4-80GB", 79.3, False),), has_mps=True)}
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
    reading = nvml.NodeGpus((nvml.Device(0, "NVIDIA GeForce RTX 5090", 31.8, False),), False)
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
    with pytest.raises(ValueError, match="no node has a V100; the cluster has T4"):
        bare.label_selector("V100")


def holds(node, demand):
    """Whether one machine, empty, has all that is asked."""
    if demand.gpu_type is None:
        return node.cpu_cores >= demand.cpu_cores
    return (
        node.gpu_type == gpu_names.canonical(demand.gpu_type)
        and node.gpus >= demand.gpu_share
        and node.cpu_cores >= demand.cpu_cores
    )


PLAIN_NODES = st.builds(Node, st.just("n"), st.just("host"), st.integers(0, 3), st.just(8.0))
GPU_NODES = st.builds(
    Node, st.just("n"), st.just("host"), st.integers(0, 3), st.just(8.0), st.sampled_from(["T4", "A100-40G"]),
    st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from([0.0, 15.0, 16.0, 40.0]),
)  # fmt: skip
NODES = st.lists(PLAIN_NODES | GPU_NODES, max_size=4)
DEMANDS = st.builds(Demand, st.integers(0, 4)) | st.builds(
    Demand, st.integers(0, 4), st.sampled_from(["T4", "Tesla T4", "A100", "V100"]),
    st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5, 2.0]),
)  # fmt: skip


@given(NODES, DEMANDS)
def test_what_fits_is_what_one_machine_has_all_of(nodes, demand):
    assert (Inventory(tuple(nodes)).why_not(demand) is None) == any(holds(node, demand) for node in nodes)


@given(NODES, DEMANDS)
def test_the_order_of_the_nodes_changes_nothing(nodes, demand):
    assert Inventory(tuple(nodes)).why_not(demand) == Inventory(tuple(reversed(nodes))).why_not(demand)


@given(NODES, DEMANDS, PLAIN_NODES | GPU_NODES)
def test_another_node_takes_nothing_away(nodes, demand, more):
    if Inventory(tuple(nodes)).why_not(demand) is None:
        assert Inventory((*nodes, more)).why_not(demand) is None


FULL_T4 = Node("full", "x", 0, 64, "T4", 1, 16.0)  # its cores are all someone else's
SMALL_V100 = Node("small", "x", 2, 64, "V100", 1, 16.0)
PAIR = Node("pair", "x", 1, 64, "V100", 2, 16.0)


@pytest.mark.parametrize(
    "nodes, demand, says",
    [
        ((FULL_T4, CPU), Demand(1, "T4", 1.0), "needs 1 core, but the largest T4 node has 0"),
        ((T4, SMALL_V100), Demand(4, "V100", 1.0), "needs 4 cores, but the largest V100 node has 2"),
        ((T4, T4), Demand(1, "T4", 2.0), "needs 2 T4 GPUs, but a T4 node has at most 1"),
        ((SMALL_V100, PAIR), Demand(2, "V100", 2.0), "needs 2 cores, but the largest V100 node with enough GPUs has 1"),
        ((CPU, CPU), Demand(32), "needs 32 cores, but the largest node has 16"),
        ((HEAD, T4), Demand(4), None),  # a GPU node takes models without a GPU too
        ((HEAD, FULL_T4), Demand(0, "T4", 1.0), None),
    ],
)
def test_gpus_and_cores_of_different_nodes_are_no_place(nodes, demand, says):
    for order in (nodes, nodes[::-1]):
        reason = Inventory(order).why_not(demand)
        assert reason is None if says is None else (reason or "").startswith(says)


def test_exactly_as_much_as_there_is_fits():
    only = Inventory((Node("n", "x", 4, 16, "T4", 0.5, 14.75),))
    assert only.why_not(Demand(4, "T4", 0.5)) is None
    assert only.why_not(Demand(4.5, "T4", 0.5)).startswith("needs 4.5 cores, but the largest T4 node has 4;")
    assert only.why_not(Demand(4, "T4", 0.75)).startswith("needs 0.75 T4 GPUs, but a T4 node has at most 0.5;")


@pytest.mark.parametrize(
    ("card", "named"),
    [("A100-40G", "an A100-40G"), ("H100-SXM", "an H100-SXM"), ("L4", "an L4"), ("M60", "an M60"),
     ("RTX-4090", "an RTX-4090"), ("T4", "a T4"), ("V100", "a V100"), ("K80", "a K80"), ("B200", "a B200"),
     (UNKNOWN_GPU, "an unknown GPU")],
)  # fmt: skip
def test_a_card_has_the_article_of_its_sound(card, named):
    assert Inventory((CPU,)).why_not(Demand(1, card, 1.0)).startswith(f"needs {named}, but the cluster has no GPU; add")


def test_the_figures_of_a_node_are_those_of_its_entry_and_nothing_is_made_up():
    (bare,) = parse([{"NodeID": "b", "Alive": True}]).nodes
    assert bare == Node("b", "b", 0, 0.0)
    entry = ray_node("n", cpus=3.5, memory_gib=7.5)
    # A label of an accelerator without a GPU that Ray counts (all of them hidden) makes no GPU node.
    entry["Labels"] = {"ray.io/accelerator-type": "T4", "raytune-infer/emulated": "false"}
    entry["Resources"]["accelerator_type:T4"] = 1.0
    reading = nvml.NodeGpus((nvml.Device(0, "Tesla T4", 14.7, False),), has_mps=True)
    (node,) = parse([entry], {"n": reading}).nodes
    assert node == Node("n", "host-n", 3, 7.5, has_mps=True)
    assert Inventory((node,)).gpu_types == () and not Inventory((node,)).emulated


def test_the_label_counts_before_the_resource_and_emulated_only_if_it_says_so():
    entry = ray_node("n", cpus=1, gpu_type="T4", gpus=2, emulated=True)
    entry["Resources"]["accelerator_type:T4"], entry["Labels"]["ray.io/accelerator-type"] = 1.0, "V100"
    (node,) = parse([entry]).nodes
    assert (node.gpu_type, node.gpus, node.gpu_memory_gib, node.ray_label) == ("V100", 2.0, 16.0, "V100")
    assert Inventory((CPU, node)).emulated and not Inventory((CPU, T4)).emulated


def test_each_node_has_its_own_reading():
    def reading(memory_gib, has_mps):
        return nvml.NodeGpus((nvml.Device(0, "Tesla T4", memory_gib, False),), has_mps)

    entries = [ray_node(name, cpus=1, gpu_type="T4", gpus=1) for name in "abc"]
    nodes = parse(entries, {"b": reading(14.5, True), "a": reading(15.5, False)}).nodes
    assert [(n.node_id, n.gpu_memory_gib, n.has_mps) for n in nodes] == [
        ("a", 15.5, False), ("b", 14.5, True), ("c", 16.0, False)
    ]  # fmt: skip


def test_of_different_cards_in_one_node_the_smallest_counts():
    devices = tuple(
        nvml.Device(i, f"NVIDIA A100-SXM4-{size}GB", memory_gib, False)
        for i, (size, memory_gib) in enumerate([(80, 79.3), (40, 39.4), (80, 79.2)])
    )
    (node,) = parse([ray_node("n", cpus=1, gpu_type="A100", gpus=3)], {"n": nvml.NodeGpus(devices, False)}).nodes
    assert (node.gpu_type, node.gpu_memory_gib) == ("A100-40G", 39.4)


def test_a_product_that_is_not_known_is_what_the_label_says_with_its_own_memory():
    reading = nvml.NodeGpus((nvml.Device(0, "NVIDIA T4 of tomorrow", 14.7, False),), False)
    (node,) = parse([ray_node("n", cpus=1, gpu_type="T4", gpus=1)], {"n": reading}).nodes
    assert (node.gpu_type, node.gpu_memory_gib) == ("T4", 14.7)
    (silent,) = parse([ray_node("n", cpus=1, gpu_type="T4", gpus=1)], {"n": nvml.NodeGpus((), True)}).nodes
    assert (silent.gpu_type, silent.gpu_memory_gib, silent.has_mps) == ("T4", 16.0, True)


@pytest.mark.parametrize(
    ("product", "gib", "label", "name"),
    [
        ("NVIDIA H100 NVL", 93.6, "H100", "H100-NVL"),
        ("NVIDIA H100 80GB HBM2e", 79.6, "H100", "H100-PCIe"),
        ("NVIDIA A100-SXM-64GB", 63.4, "A100", "A100-64G"),
        ("NVIDIA A100 80GB PCIe", 79.3, "A100", "A100-80G-PCIe"),
        ("NVIDIA H100 96GB HBM3", 95.0, "H100", "NVIDIA H100 96GB HBM3"),  # none of the catalogue
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", 4.75, "A100", "A100-40G-1g.5gb"),
        ("NVIDIA A100-SXM4-40GB MIG 1c.3g.20gb", 19.5, "A100", "A100-40G-1c.3g.20gb"),
    ],
)
def test_a_card_is_not_its_sibling_of_the_same_label(product, gib, label, name):
    reading = nvml.NodeGpus((nvml.Device(0, product, gib, "MIG" in product),), False)
    (node,) = parse([ray_node("n", cpus=1, gpu_type=label, gpus=1)], {"n": reading}).nodes
    assert (node.gpu_type, node.gpu_memory_gib) == (name, gib)


TODAY = TorchBuild("2.13.0+cu130", ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"))


def of_torch(*capabilities, build=TODAY):
    cards = tuple(nvml.Device(i, "Tesla V100-SXM2-16GB", 15.8, False, each) for i, each in enumerate(capabilities))
    return nvml.NodeGpus(cards, False, build)


def test_a_card_that_the_nodes_torch_cannot_run_is_left_out_with_that_reason():
    nodes = [ray_node(name, cpus=8, gpu_type="V100", gpus=1) for name in ("a", "b")]
    neither = parse(nodes, {"a": of_torch((7, 0)), "b": of_torch((7, 0))})
    assert neither.gpu_types == () and neither.with_gpu("V100") == ()
    reason = neither.why_not(Demand(1, "V100", 1.0))
    assert reason == (
        "a V100 on host-a cannot be used: torch 2.13.0+cu130 there has no kernels for its compute capability 7.0 "
        "(it has sm_75, sm_80, sm_86, sm_90, sm_100, sm_120); install a build of torch that has them"
    )
    older = TorchBuild("2.7.0+cu126", ("sm_70", "sm_90"))
    one = parse(nodes, {"a": of_torch((7, 0)), "b": of_torch((7, 0), build=older)})
    assert [node.node_id for node in one.with_gpu("V100")] == ["b"] and one.why_not(Demand(1, "V100", 1.0)) is None
    assert one.label_selector("V100") == {"ray.io/node-id": "b"}  # never the other one
    # A model without a GPU runs there all the same.
    assert neither.why_not(Demand(8)) is None


@pytest.mark.parametrize(
    "reading",
    [of_torch(None), of_torch((7, 0), build=None), of_torch(), None],
    ids=["driver", "torch", "nvml", "silent"],
)
def test_of_what_is_not_known_nothing_is_left_out(reading):
    found = parse([ray_node("n", cpus=1, gpu_type="V100", gpus=1)], {} if reading is None else {"n": reading})
    assert found.why_not(Demand(1, "V100", 1.0)) is None


def test_one_card_of_a_node_that_cannot_be_used_is_enough_as_ray_may_give_it():
    (node,) = parse([ray_node("n", cpus=1, gpu_type="V100", gpus=2)], {"n": of_torch((8, 0), (7, 0))}).nodes
    assert "7.0" in (node.unusable or "")


LABELS = st.sampled_from([None, "T4", "A100", "A100-80G"])
LABELLED = st.lists(
    st.tuples(st.sampled_from([None, "T4", "A100-40G", "A100-80G"]), LABELS), min_size=1, max_size=5
).map(
    lambda cards: tuple(
        Node(f"n{i}", "x", 1, 1.0, card, 1.0 if card else 0.0, 16.0 if card else 0.0, ray_label=label if card else None)
        for i, (card, label) in enumerate(cards)
    )
)


@given(LABELLED)
def test_what_a_selector_selects_is_every_node_with_that_gpu_and_no_other(nodes):
    """By a reader of Ray's selectors of our own: `value` or `in(value,value)`."""
    found = Inventory(nodes)
    for gpu_type in found.gpu_types:
        [(key, wanted)] = found.label_selector(gpu_type).items()
        values = wanted.removeprefix("in(").removesuffix(")").split(",") if wanted.startswith("in(") else [wanted]
        labels = {"ray.io/node-id": lambda node: node.node_id, "ray.io/accelerator-type": lambda node: node.ray_label}
        assert tuple(node for node in nodes if labels[key](node) in values) == found.with_gpu(gpu_type)
        if None not in {node.ray_label for node in found.with_gpu(gpu_type)} and len(found.gpu_types) == 1:
            assert key == "ray.io/accelerator-type"  # so that a node which comes later is used too


class FakeRay:
    """The part of `ray` that asks nodes for their GPUs. `answers`: node id → what its task gives or raises."""

    class RayError(Exception):
        """As Ray's."""

    def __init__(self, entries, answers, connected=True):
        self.entries, self.answers, self.connected = entries, answers, connected
        self.exceptions = SimpleNamespace(RayError=self.RayError)
        self.asked, self.options, self.waited, self.cancelled = {}, {}, [], []

    def is_initialized(self):
        return self.connected

    def nodes(self):
        return self.entries

    def remote(self, **options):
        self.options = options
        return lambda function: SimpleNamespace(options=lambda **more: SimpleNamespace(remote=lambda: self.ask(**more)))

    def ask(self, *, scheduling_strategy):
        self.asked[scheduling_strategy.node_id] = scheduling_strategy.soft
        return scheduling_strategy.node_id

    def wait(self, asked, *, num_returns, timeout):
        self.waited.append((list(asked), num_returns, timeout))

    def get(self, asked, *, timeout):
        assert timeout == 0, "all the waiting is done before"
        if isinstance(answer := self.answers[asked], Exception):
            raise answer
        return answer

    def cancel(self, asked, *, force):
        self.cancelled.append((asked, force))


def asked_of(monkeypatch, entries, answers, connected=True):
    ray = FakeRay(entries, answers, connected)
    pinned = SimpleNamespace(
        NodeAffinitySchedulingStrategy=lambda node_id, soft: SimpleNamespace(node_id=node_id, soft=soft)
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.util", SimpleNamespace(scheduling_strategies=pinned))
    monkeypatch.setitem(sys.modules, "ray.util.scheduling_strategies", pinned)
    return ray


def test_only_real_gpu_nodes_are_asked_each_on_itself_and_a_silent_one_counts_by_its_datasheet(monkeypatch, caplog):
    entries = [
        ray_node("head", cpus=0), ray_node("pretended", cpus=4, gpu_type="T4", gpus=1, emulated=True),
        ray_node("dead", cpus=4, gpu_type="T4", gpus=1, alive=False),
        *(ray_node(name, cpus=4, gpu_type="T4", gpus=1) for name in ("read", "slow", "broken")),
    ]  # fmt: skip
    t4 = nvml.NodeGpus((nvml.Device(0, "Tesla T4", 14.7, False),), has_mps=True)
    ray = asked_of(monkeypatch, entries, {"read": t4, "slow": TimeoutError(), "broken": FakeRay.RayError("no worker")})
    with caplog.at_level(logging.WARNING, "cluster.inventory"):
        found = inventory.from_ray()
    assert {node.node_id: node.gpu_memory_gib for node in found.nodes if node.gpus} == {
        "pretended": 16.0, "read": 14.7, "slow": 16.0, "broken": 16.0
    }  # fmt: skip
    assert [node.node_id for node in found.nodes if node.has_mps] == ["read"]
    assert ray.asked == {"read": False, "slow": False, "broken": False}  # never on another node instead
    assert ray.options["num_cpus"] == 0  # else a node whose cores are taken could not answer
    assert ray.waited == [(["read", "slow", "broken"], 3, 60.0)]  # a worker on a busy node takes its time to start
    assert ray.cancelled == [("slow", True), ("broken", True)]
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 2 and "node broken did not report its GPUs" in warned[1] and "no worker" in warned[1]


def test_a_card_that_does_not_answer_leaves_its_node_what_the_others_say_and_is_named(monkeypatch, caplog):
    answers = nvml.NodeGpus((nvml.Device(0, "Tesla T4", 14.7, False),), False, silent=("GPU 1 does not answer NVML",))
    asked_of(monkeypatch, [ray_node("n", cpus=4, gpu_type="T4", gpus=2)], {"n": answers})
    with caplog.at_level(logging.WARNING, "cluster.inventory"):
        (node,) = inventory.from_ray().nodes
    assert node.gpu_memory_gib == 14.7
    [warned] = [record.getMessage() for record in caplog.records]
    assert "node n: GPU 1 does not answer NVML" in warned


def test_a_cluster_without_real_gpus_is_read_at_once(monkeypatch):
    ray = asked_of(
        monkeypatch, [ray_node("n", cpus=2), ray_node("t", cpus=2, gpu_type="T4", gpus=1, emulated=True)], {}
    )
    assert len(inventory.from_ray().nodes) == 2 and not ray.asked and not ray.waited
    asked_of(monkeypatch, [], {}, connected=False)
    with pytest.raises(RuntimeError, match="not connected"):
        inventory.from_ray()
