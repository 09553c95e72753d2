"""The settings of a replica: a configuration, resolved to what Serve, torch and the operating system understand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from serve_deployments.environment.serve_path import REPLICA_ENVIRONMENT


def let_in(max_batch_size: int) -> int:
    """Number of requests that Serve admits to a replica: one running batch, one forming, and plenty to spare.

    Serve's own default is 5, which would silently cap the batches. And Serve retries a full replica only after a
    back-off of 25 ms to 500 ms, in which it may fall idle: with room for 8 requests, a model of 13 ms per call fell
    from 77 requests/s at 4 clients to 41 at 16, and a queue formed by chance never drained. So requests should queue
    in the replica. Serve cannot change this number in place; 1024, four times the clients of a load test, is the same
    for every usual batch size: so it need not change, and an exported config has the value that was measured.
    """
    return max(2 * max_batch_size, 1024)


def gpu_part(gpu_share: float, gpu_memory: float) -> float:
    """Fraction of a GPU that a replica takes and pays for: the larger of two fractions, or 1 if compute is not limited.

    Memory alone is no fraction: a replica that may compute on the whole GPU leaves no known part of it to others.

    Args:
        gpu_share: fraction of the GPU's compute; 0 if compute is not limited.
        gpu_memory: fraction of the GPU's memory; 0 if memory is not limited.
    """
    return max(gpu_share, gpu_memory) if gpu_share else 1.0


@dataclass(frozen=True)
class InPlace:
    """How a live replica can change one setting.

    Args:
        seconds: time that a change takes: the medians of `python -m benchmarks trial_overhead` (2026-11-22). They rank
            the replicas that could be changed; a large model takes longer only where it has to be rebuilt.
        fixed: value → the part of it that cannot change nevertheless; None if all of it can.
    """

    seconds: float
    fixed: Callable[[Any], Any] = lambda value: None


IN_PLACE: Mapping[str, InPlace] = {
    "max_batch_size": InPlace(0.005, let_in),
    "batch_wait_ms": InPlace(0.005),
    "threads": InPlace(0.12),  # as for precision: the model may be built with it
    "precision": InPlace(0.12),  # the model is rebuilt
}
"""Setting → the cost of changing it in a live replica; any other setting is fixed when the process starts.

`gpu_memory` is fixed too: torch applies a new cap to new allocations only, not to what a model already holds. A model
that keeps its buffers, as with CUDA graphs, would run under a smaller cap than it needs; and one whose graphs found no
room would not record any under a larger cap."""


_FORMER = frozenset({"mps"})
"""Names of former settings: a replica now finds out for itself whether MPS runs on its node."""
_WHOLE = ("cpu_cores", "max_batch_size", "threads")
"""Settings that are whole numbers."""
_REAL = ("gpu_share", "gpu_memory", "gpu_memory_gib", "batch_wait_ms")
"""Settings that are any real number."""


def fixed(name: str, value: Any) -> Any:
    """The part of a setting that a live replica cannot change: equal for two values that it can change between."""
    return IN_PLACE[name].fixed(value) if name in IN_PLACE else value


@dataclass(frozen=True)
class Settings:
    """One replica's resources and runtime parameters.

    Args:
        cpu_cores: number of whole cores, leased for this replica alone.
        gpu_type: type of GPU to run on; None for no GPU.
        node_labels: Ray's label selector of the nodes that have this GPU type.
        gpu_share: fraction of one GPU's compute (0 … 1]; 0 without a GPU.
        gpu_memory: fraction of one GPU's memory (0 … 1]; 0 without a GPU.
        gpu_memory_gib: the same limit in GiB, for this GPU type; None if not limited.
        max_batch_size: largest number of requests in one call of the model.
        batch_wait_ms: how long an incomplete batch waits for more requests while the model is free.
        threads: intra-operation threads of torch; None: one for each core.
        precision: number format of weights and arithmetic ("float32", "bfloat16", …).
        env: environment variables of the replica's process.
        args: keyword arguments of the model's builder.
        emulated: whether the model only emulates the timing of cores and GPU, so that there is nothing to enforce.

    Raises:
        ValueError: a value is out of its range.
    """

    cpu_cores: int = 1
    gpu_type: str | None = None
    node_labels: Mapping[str, str] = field(default_factory=dict)
    gpu_share: float = 0.0
    gpu_memory: float = 0.0
    gpu_memory_gib: float | None = None
    max_batch_size: int = 1
    batch_wait_ms: float = 0.0
    threads: int | None = None
    precision: str = "float32"
    env: Mapping[str, str] = field(default_factory=dict)
    args: Mapping[str, Any] = field(default_factory=dict)
    emulated: bool = False

    def __post_init__(self) -> None:
        self._as_libraries_take_them()
        if self.cpu_cores < 1 or self.max_batch_size < 1 or self.batch_wait_ms < 0:
            raise ValueError(
                "cpu_cores and max_batch_size must be at least 1 and batch_wait_ms at least 0, got "
                f"{self.cpu_cores}, {self.max_batch_size} and {self.batch_wait_ms}"
            )
        if not (0 <= self.gpu_share <= 1 and 0 <= self.gpu_memory <= 1):
            raise ValueError(
                f"gpu_share and gpu_memory are fractions of one GPU, 0 to 1, got {self.gpu_share} and {self.gpu_memory}"
            )
        if self.gpu_type is None and (self.gpu_share or self.gpu_memory):
            raise ValueError("gpu_share and gpu_memory need a gpu_type")

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """Return the settings in what `as_dict` gave, also that of an earlier version, which had some more."""
        return cls(**{name: value for name, value in stored.items() if name not in _FORMER})

    def _as_libraries_take_them(self) -> None:
        """Give every number its type: YAML reads `1` as an integer and `8.0` as a fraction, and JSON may do the same.

        torch refuses an integer as a fraction of memory and a fraction as a number of threads; and settings of equal
        values must be equal as JSON too, by which a live replica is found that has them.
        """
        for name in _REAL:
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, float(value))
        for name in _WHOLE:
            if (value := getattr(self, name)) is not None:
                if value != int(value):
                    raise ValueError(f"{name} must be a whole number, got {value}")
                object.__setattr__(self, name, int(value))

    @property
    def num_gpus(self) -> float:
        """Fraction of a GPU that Ray reserves; 0 without a GPU."""
        if self.gpu_type is None:
            return 0.0
        return gpu_part(self.gpu_share, self.gpu_memory)

    @property
    def max_ongoing_requests(self) -> int:
        """Number of requests that Serve admits to the replica."""
        return let_in(self.max_batch_size)

    def placement(self, changeable: Iterable[str] = ()) -> str:
        """The fixed part of the settings, as JSON: one process can switch between settings whose placement is equal.

        Args:
            changeable: names of those `args` that the model itself can change while it is running.
        """
        kept = {name: fixed(name, value) for name, value in self.as_dict().items()}
        kept["args"] = {key: value for key, value in self.args.items() if key not in set(changeable)}
        # A model can be told another value of an argument, but not that it has none.
        kept["changeable"] = sorted(set(changeable) & self.args.keys())
        return json.dumps(kept, sort_keys=True, default=repr)

    @property
    def ray_actor_options(self) -> dict[str, Any]:
        """Serve's `ray_actor_options` for a replica with these settings."""
        options: dict[str, Any] = {"num_cpus": self.cpu_cores}
        if self.gpu_type is not None:
            options["num_gpus"] = self.num_gpus
        if self.node_labels:
            options["label_selector"] = dict(self.node_labels)
        options["runtime_env"] = {"env_vars": self.environment}
        return options

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of the replica's process: Serve's fast path, the user's, its part of a GPU for MPS."""
        env = {**REPLICA_ENVIRONMENT, **self.env}
        if self.gpu_type is not None and 0 < self.gpu_share < 1:
            # Read by the CUDA MPS client library when the context is created (CUDA MPS guide, section 4.2.5).
            env["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = f"{100 * self.gpu_share:g}"
        if self.gpu_memory_gib is not None:
            # Likewise (section 4.2.7); the process sees one GPU, number 0. It caps the context and libraries too.
            env["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = f"0={int(1024 * self.gpu_memory_gib)}M"
        return env

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values for JSON and YAML; `Settings.of` restores them."""
        return {key: dict(v) if isinstance(v, Mapping) else v for key, v in asdict(self).items()}
