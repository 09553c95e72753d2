"""Fakes of NVML, a Ray node and a clock, each with only those parts of the real one that are used."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from cluster.gpus import GIB


@dataclass
class FakeDevice:
    """One GPU of a `FakeNvml`, or a slice of one.

    Attributes:
        mig: whether it is split into MIG instances; None for a card that has no MIG.
        slices: its MIG instances by number; None where there is none of that number.
        capability: compute capability; None where the driver is too old to tell.
        refuses: names of calls that fail for it, as on a card that fell off its bus.
        processes: id and bytes of each process that computes on it; None: the driver does not tell the bytes.
        cores: its CUDA cores; None where the driver does not tell.
    """

    name: str
    memory_gib: float
    used_gib: float = 0.0
    utilisation_percent: int = 0
    mig: bool | None = None
    slices: tuple["FakeDevice | None", ...] = ()
    capability: tuple[int, int] | None = None
    refuses: tuple[str, ...] = ()
    processes: tuple[tuple[int, int | None], ...] = ()
    cores: int | None = None

    def asked(self, call: str) -> "FakeDevice":
        """The device itself, if it answers this call."""
        if call in self.refuses:
            raise FakeNvml.NVMLError("Unknown Error")
        return self


class FakeNvml:
    """The part of the `pynvml` module that is used in this package and by a replica's meter.

    Args:
        devices: the machine's GPUs.
        driver: whether NVIDIA's driver is there; if not, `nvmlInit` fails.
    """

    NVML_DEVICE_MIG_ENABLE = 1

    class NVMLError(Exception):
        """Stands for `pynvml.NVMLError`."""

    def __init__(self, devices: Sequence[FakeDevice] = (), driver: bool = True) -> None:
        self.devices = tuple(devices)
        self.driver = driver
        self.open = 0

    def nvmlInit(self) -> None:  # noqa: D102
        if not self.driver:
            raise self.NVMLError("NVML Shared Library Not Found")
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: D102
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: D102
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeDevice:  # noqa: D102
        return self.devices[index].asked("nvmlDeviceGetHandleByIndex")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> FakeDevice:  # noqa: D102
        for device in self.devices:
            if self.nvmlDeviceGetUUID(device) in (uuid, uuid.encode()):
                return device
        raise self.NVMLError("Not Found")

    def nvmlDeviceGetName(self, handle: FakeDevice) -> str:  # noqa: D102
        return handle.asked("nvmlDeviceGetName").name

    def nvmlDeviceGetUUID(self, handle: FakeDevice) -> bytes:  # noqa: D102
        return f"GPU-{self.devices.index(handle)}".encode()

    def nvmlDeviceGetMemoryInfo(self, handle: FakeDevice) -> Any:  # noqa: D102
        handle.asked("nvmlDeviceGetMemoryInfo")
        return SimpleNamespace(total=int(handle.memory_gib * GIB), used=int(handle.used_gib * GIB))

    def nvmlDeviceGetMigMode(self, handle: FakeDevice) -> list[int]:  # noqa: D102
        if handle.mig is None:
            raise self.NVMLError("Not Supported")
        return [int(handle.mig), int(handle.mig)]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: FakeDevice) -> int:  # noqa: D102
        if handle.mig is None:
            raise self.NVMLError("Not Supported")
        return len(handle.slices)

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: FakeDevice, index: int) -> FakeDevice:  # noqa: D102
        if not handle.mig or not 0 <= index < len(handle.slices):
            raise self.NVMLError("Invalid Argument")
        if (found := handle.slices[index]) is None:
            raise self.NVMLError("Not Found")
        return found

    def nvmlDeviceGetCudaComputeCapability(self, handle: FakeDevice) -> list[int]:  # noqa: D102
        if handle.capability is None:  # also of a slice: it is the card's
            raise self.NVMLError("Not Supported")
        return list(handle.capability)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: FakeDevice) -> list[Any]:  # noqa: D102
        handle.asked("nvmlDeviceGetComputeRunningProcesses")
        return [SimpleNamespace(pid=pid, usedGpuMemory=size_bytes) for pid, size_bytes in handle.processes]

    def nvmlDeviceGetNumGpuCores(self, handle: FakeDevice) -> int:  # noqa: D102
        if handle.cores is None:
            raise self.NVMLError("Not Supported")
        return handle.cores

    def nvmlDeviceGetUtilizationRates(self, handle: FakeDevice) -> Any:  # noqa: D102
        if handle.mig:
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(gpu=handle.utilisation_percent, memory=0)


def ray_node(
    node_id: str,
    *,
    cpus: float,
    gpu_type: str | None = None,
    gpus: float = 0.0,
    memory_gib: float = 32.0,
    emulated: bool = False,
    alive: bool = True,
) -> dict[str, Any]:
    """One entry of `ray.nodes()`, with the keys that `cluster.inventory` reads."""
    resources = {"CPU": cpus, "memory": memory_gib * GIB, f"node:{node_id}": 1.0}
    labels = {"ray.io/node-id": node_id}
    if gpu_type is not None:
        resources |= {"GPU": gpus, f"accelerator_type:{gpu_type}": 1.0}
        labels["ray.io/accelerator-type"] = gpu_type
    if emulated:
        labels["raytune-infer/emulated"] = "true"
    return {
        "NodeID": node_id,
        "Alive": alive,
        "NodeManagerHostname": f"host-{node_id}",
        "Resources": {key: value for key, value in resources.items() if value},
        "Labels": labels,
    }


class FakeTime:
    """A fake clock and its sleep: sleeping advances the clock, each time by `overshoot_s` too much."""

    def __init__(self, overshoot_s: float = 0.0) -> None:
        self.now_s = 0.0
        self.overshoot_s = overshoot_s
        self.slept: list[float] = []

    def clock(self) -> float:
        """Seconds since the start."""
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        """Advances the clock by `seconds` plus the overshoot."""
        self.slept.append(seconds)
        self.now_s += seconds + self.overshoot_s
