"""What a replica runs under: the configuration, resolved to what Serve, torch and the system understand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from serve_deployments.serve_path import REPLICA_ENVIRONMENT


def let_in(max_batch_size: int) -> int:
    """Requests that Serve lets into a replica: one batch running, one forming, and plenty to spare.

    Serve's own default is 5, which would silently cap the batches. And a replica that is full is asked again
    only after a back-off of 25 ms to 500 ms, in which it may fall idle: with room for 8, a model of 13 ms fell
    from 77 requests/s at 4 clients to 41 at 16, and a chance queue never drained. So queues belong in the
    replica. Serve cannot change this number in place; 1024, four times the clients of a load test, is the
    same for every usual batch size: so it need not change, and what is exported has what was measured.
    """
    return max(2 * max_batch_size, 1024)


def gpu_part(gpu_share: float, gpu_memory: float) -> float:
    """The part of a GPU that a replica has and pays for: the larger of two fractions; all of it if both are 0.

    Args:
        gpu_share: of its compute; 0 if that is not limited.
        gpu_memory: of its memory; 0 if that is not limited.
    """
    return max(gpu_share, gpu_memory) or 1.0


@dataclass(frozen=True)
class InPlace:
    """What a live replica changes of itself.

    Args:
        seconds: that a change takes: the medians of `python -m benchmarks trial_overhead` (2026-11-22). They order
            the replicas that could be changed; a large model takes longer for what builds it anew, not for the rest.
        fixed: value → what of it cannot change for all that; None: nothing.
    """

    seconds: float
    fixed: Callable[[Any], Any] = lambda value: None


IN_PLACE: Mapping[str, InPlace] = {
    "max_batch_size": InPlace(0.005, let_in),
    "batch_wait_ms": InPlace(0.005),
    "threads": InPlace(0.12),  # as the next: it may go into the model
    "precision": InPlace(0.12),  # the model is built anew
}
"""Setting → what changing it in a live replica costs; any other one is decided when its process starts.

Also `gpu_memory`: torch holds new allocations to a cap, not what a model has already. One that keeps its buffers, as
CUDA graphs do, would run under less than it needs; and one whose graphs found no room would record none under more."""


def fixed(name: str, value: Any) -> Any:
    """What of a setting a replica keeps for life: equal for two values if a live replica can change between them."""
    return IN_PLACE[name].fixed(value) if name in IN_PLACE else value


@dataclass(frozen=True)
class Settings:
    """One replica's resources and runtime parameters.

    Args:
        cpu_cores: whole cores, leased for this replica alone.
        gpu_type: kind of GPU to run on; None for no GPU.
        node_labels: Ray's label selector of the nodes that have it.
        mps: CUDA's Multi-Process Service runs on all those nodes, so that a share of compute can be enforced.
        gpu_share: fraction of one GPU's compute (0 … 1]; 0 without a GPU.
        gpu_memory: fraction of one GPU's memory (0 … 1]; 0 without a GPU.
        gpu_memory_gib: the same in GiB, for the type asked for; None if not limited.
        max_batch_size: most requests in one call of the model.
        batch_wait_ms: how long an incomplete batch waits for more requests while the model is free.
        threads: intra-operation threads of torch; None for as many as cores.
        precision: number format of weights and arithmetic ("float32", "bfloat16", …).
        env: environment variables of the replica's process.
        args: keyword arguments of the model's builder.
        emulated: the model's own timing stands in for cores and GPU, so there is nothing to enforce.

    Raises:
        ValueError: a value out of its range.
    """

    cpu_cores: int = 1
    gpu_type: str | None = None
    node_labels: Mapping[str, str] = field(default_factory=dict)
    mps: bool = False
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

    @property
    def num_gpus(self) -> float:
        """What Ray reserves."""
        if self.gpu_type is None:
            return 0.0
        return gpu_part(self.gpu_share, self.gpu_memory)

    @property
    def max_ongoing_requests(self) -> int:
        """Requests that Serve lets into the replica."""
        return let_in(self.max_batch_size)

    def placement(self, changeable: Iterable[str] = ()) -> str:
        """What another replica is needed for: two settings with the same can take turns in one process.

        Args:
            changeable: names of those `args` that the model itself can change.
        """
        kept = {name: fixed(name, value) for name, value in self.as_dict().items()}
        kept["args"] = {key: value for key, value in self.args.items() if key not in set(changeable)}
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
        """Environment of the replica's process: the fast path, the user's, and what must be set before CUDA starts."""
        env = {**REPLICA_ENVIRONMENT, **self.env}
        if self.gpu_type is not None and 0 < self.gpu_share < 1:
            # Read by the CUDA MPS client library when the context is made (CUDA MPS guide, section 4.2.5).
            env["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = f"{100 * self.gpu_share:g}"
        return env

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON and YAML; `Settings(**d)` is the way back."""
        return {key: dict(v) if isinstance(v, Mapping) else v for key, v in asdict(self).items()}
