"""The nodes of a Ray cluster, and why a replica would not fit on any of them."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster import nvml
from cluster.gpu_names import gpu_names
from cluster.gpus import GIB

ACCELERATOR_LABEL = "ray.io/accelerator-type"
NODE_ID_LABEL = "ray.io/node-id"
EMULATED_LABEL = "raytune-infer/emulated"
ACCELERATOR_RESOURCE = "accelerator_type:"
UNKNOWN_GPU = "unknown GPU"
# Enough for a worker to start and import on a busy node; a node that gave no reading is kept, with datasheet figures.
NVML_TIMEOUT_S = 60.0
_LEAST_TOLD = 0.9
"""Least part of a card's printed memory that NVML shows: ECC and firmware take up to 8 % (14.7 GiB of a T4)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Node:
    """One machine of the cluster.

    Attributes:
        cpu_cores: CPU cores as Ray counts them; 0 on a head node that takes no work.
        gpu_type: the catalogue's name where it knows the card; None: no GPU.
        gpus: number of GPUs as Ray counts them.
        gpu_memory_gib: memory of one GPU, GiB.
        emulated: whether its GPUs are emulated (`cluster.emulated.devices`).
        has_mps: whether an MPS control daemon runs, so that a share of a GPU can be enforced.
        ray_label: the node's label `ray.io/accelerator-type`: Ray's name for the card, "A100" for both sizes.
        unusable: why nothing can run on its GPUs; None if something can, as far as is known.
    """

    node_id: str
    hostname: str
    cpu_cores: int
    memory_gib: float
    gpu_type: str | None = None
    gpus: float = 0.0
    gpu_memory_gib: float = 0.0
    emulated: bool = False
    has_mps: bool = False
    ray_label: str | None = None
    unusable: str | None = None

    def __post_init__(self) -> None:
        if min(self.cpu_cores, self.memory_gib, self.gpus, self.gpu_memory_gib) < 0:
            raise ValueError(f"cores, memory and GPUs of node {self.node_id!r} must be 0 or more, got {self}")
        if (self.gpu_type is None) != (self.gpus == 0):
            raise ValueError(
                f"node {self.node_id!r} needs both a GPU type and a number of GPUs, or neither; "
                f"got {self.gpu_type!r} and {self.gpus}"
            )


@dataclass(frozen=True)
class Demand:
    """The resources that one replica needs on one node."""

    cpu_cores: float
    gpu_type: str | None = None
    gpu_share: float = 0.0

    def __post_init__(self) -> None:
        if min(self.cpu_cores, self.gpu_share) < 0:
            raise ValueError(f"a demand must not be negative, got {self}")
        if self.gpu_type is None and self.gpu_share:
            raise ValueError(f"a GPU share needs a GPU type, got {self}")


@dataclass(frozen=True)
class Inventory:
    """The live nodes of a cluster."""

    nodes: tuple[Node, ...]

    @property
    def gpu_types(self) -> tuple[str, ...]:
        """The cluster's GPU types on which something can run, in alphabetical order."""
        usable = {node.gpu_type for node in self.nodes if node.gpu_type is not None and node.unusable is None}
        return tuple(sorted(usable))

    @property
    def emulated(self) -> bool:
        """Whether any node's GPUs are emulated."""
        return any(node.emulated for node in self.nodes)

    def with_gpu(self, gpu_type: str) -> tuple[Node, ...]:
        """The nodes with GPUs of this type on which something can run, given by name or alias."""
        return tuple(node for node in self._of_type(gpu_type) if node.unusable is None)

    def _of_type(self, gpu_type: str) -> tuple[Node, ...]:
        return tuple(node for node in self.nodes if node.gpu_type == gpu_names.canonical(gpu_type))

    def label_selector(self, gpu_type: str) -> dict[str, str]:
        """The `label_selector` that makes Ray use nodes with this GPU type and no others.

        It selects by accelerator type, or by node id where other cards carry the same label (both sizes of A100) or a
        node has none.
        """
        wanted = self.with_gpu(gpu_type)
        if not wanted:
            raise ValueError(f"no node has {_a(gpu_type)}; the cluster has {self._types()}")
        labels = {node.ray_label for node in wanted}
        others = {node.ray_label for node in self.nodes if node not in wanted}
        if None in labels or labels & others:
            return {NODE_ID_LABEL: _any_of(node.node_id for node in wanted)}
        return {ACCELERATOR_LABEL: _any_of(label for label in labels if label is not None)}

    def why_not(self, demand: Demand) -> str | None:
        """None if some node, when empty, could hold the demand; else what is asked, what there is and the remedy."""
        if not self.nodes:
            return "the cluster has no node alive; start one, or connect to another cluster"
        nodes = self.nodes
        among = "node"
        if demand.gpu_type is not None:
            nodes = self.with_gpu(demand.gpu_type)
            kind = gpu_names.canonical(demand.gpu_type)
            if not nodes and (there := self._of_type(demand.gpu_type)):
                return f"{_a(kind)} on {there[0].hostname} cannot be used: {there[0].unusable}"
            if not nodes:
                return (
                    f"needs {_a(kind)}, but the cluster has {self._types()}; add {_a(kind)} node or choose another "
                    "GPU type"
                )
            most = max(node.gpus for node in nodes)
            if demand.gpu_share > most:
                return (
                    f"needs {_count(demand.gpu_share, f'{kind} GPU')}, but {_a(kind)} node has at most {most:g}; "
                    "lower the GPU share"
                )
            nodes = tuple(node for node in nodes if node.gpus >= demand.gpu_share)
            among = f"{kind} node" + (" with enough GPUs" if len(nodes) < len(self.with_gpu(kind)) else "")
        cores = max(node.cpu_cores for node in nodes)
        if demand.cpu_cores and not any(node.cpu_cores for node in self.nodes):
            return (
                "no node of the cluster has a core; start one that has, and where nodes come only when they are asked "
                "for, keep one up that the replica fits on (on Kubernetes: minReplicas of its worker group)"
            )
        if demand.cpu_cores > cores:
            return (
                f"needs {_count(demand.cpu_cores, 'core')}, but the largest {among} has {cores}; request fewer or "
                "add a larger node"
            )
        return None

    def _types(self) -> str:
        return ", ".join(self.gpu_types) or "no GPU"


def parse(nodes: Sequence[Mapping[str, Any]], readings: Mapping[str, nvml.NodeGpus] | None = None) -> Inventory:
    """Builds an inventory from `ray.nodes()` and the readings of NVML by node id."""
    readings = readings or {}
    return Inventory(tuple(_node(entry, readings.get(entry["NodeID"])) for entry in nodes if entry["Alive"]))


def from_ray() -> Inventory:
    """The inventory of the cluster this process is connected to; runs a short task on each node with real GPUs."""
    import ray

    if not ray.is_initialized():
        raise RuntimeError("not connected to a Ray cluster; call ray.init(address=...) first")
    nodes = ray.nodes()
    real = [node.node_id for node in parse(nodes).nodes if node.gpus and not node.emulated]
    return parse(nodes, _ask(real))


def _node(entry: Mapping[str, Any], reading: nvml.NodeGpus | None) -> Node:
    resources: Mapping[str, float] = entry.get("Resources") or {}
    labels: Mapping[str, str] = entry.get("Labels") or {}
    count = float(resources.get("GPU", 0.0))
    label = labels.get(ACCELERATOR_LABEL)
    named = next((key for key in resources if key.startswith(ACCELERATOR_RESOURCE)), None)
    kind = label or (named and named.removeprefix(ACCELERATOR_RESOURCE))
    gpu_type, gpu_memory_gib = _gpu(kind, reading) if count else (None, 0.0)
    return Node(
        node_id=entry["NodeID"],
        hostname=entry.get("NodeManagerHostname") or entry["NodeID"],
        cpu_cores=int(resources.get("CPU", 0.0)),
        memory_gib=float(resources.get("memory", 0.0)) / GIB,
        gpu_type=gpu_type,
        gpus=count,
        gpu_memory_gib=gpu_memory_gib,
        emulated=labels.get(EMULATED_LABEL) == "true",
        has_mps=reading is not None and reading.has_mps,
        ray_label=label if count else None,
        unusable=_unusable(reading) if count else None,
    )


def _unusable(reading: nvml.NodeGpus | None) -> str | None:
    """Why torch cannot run on a node's GPUs: on the first that it cannot, as Ray may give any of them."""
    if reading is None or reading.torch is None:
        return None
    known = [device.capability for device in reading.devices if device.capability is not None]
    return next((why for each in known if (why := reading.torch.why_not(each)) is not None), None)


def _gpu(label: str | None, reading: nvml.NodeGpus | None) -> tuple[str, float]:
    """Type and memory in GiB of a node's GPU: from NVML, else from Ray's label; the smallest card if they differ."""
    if reading is not None and reading.devices:
        device = min(reading.devices, key=lambda device: device.memory_gib)
        name = label if label is not None and _may_be(label, device) else device.name
        return gpu_names.canonical(name), device.memory_gib
    if label is None:
        return UNKNOWN_GPU, 0.0
    return gpu_names.canonical(label), card.memory_gib if (card := gpu_names.known(label)) is not None else 0.0


def _may_be(label: str, device: nvml.Device) -> bool:
    """Whether a product that the catalogue lacks may be the card of Ray's label, which Ray makes of the product's name.

    Ray's "H100" stands for cards of 80, 94 and 96 GB: one with other memory is another card.
    """
    card = gpu_names.known(label)
    if gpu_names.known(device.name) is not None or card is None:
        return False
    return _LEAST_TOLD * card.memory_gib <= device.memory_gib <= card.memory_gib


def _ask(node_ids: Sequence[str]) -> dict[str, nvml.NodeGpus]:
    """The readings of NVML on these nodes; a node that does not answer is left out, with a warning."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=1)(nvml.reading)
    pinned = {node_id: NodeAffinitySchedulingStrategy(node_id, soft=False) for node_id in node_ids}
    asked = {node_id: task.options(scheduling_strategy=pin).remote() for node_id, pin in pinned.items()}
    readings: dict[str, nvml.NodeGpus] = {}
    if asked:
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=NVML_TIMEOUT_S)
    for node_id, answer in asked.items():
        try:
            readings[node_id] = ray.get(answer, timeout=0)
            _warn_of_silent(node_id, readings[node_id])
        except (ray.exceptions.RayError, TimeoutError) as error:
            log.warning("node %s did not report its GPUs (%s); using datasheet figures", node_id, error)
            ray.cancel(answer, force=True)
    return readings


def _warn_of_silent(node_id: str, reading: nvml.NodeGpus) -> None:
    for each in reading.silent:
        log.warning("node %s: %s; nvidia-smi says more there, and a reset of the GPU or node may help", node_id, each)


def _any_of(names: Iterable[str]) -> str:
    values = sorted(names)
    return values[0] if len(values) == 1 else f"in({','.join(values)})"


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}{'' if number == 1 else 's'}"


def _a(gpu_type: str) -> str:
    # The article goes by sound: an A100, an L4, an M60, an RTX; a T4, a V100.
    return ("an " if gpu_type[:1] in "AFHLMNRSX" or gpu_type.startswith("unknown") else "a ") + gpu_type
