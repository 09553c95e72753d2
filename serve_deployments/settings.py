"""The settings of a replica: a configuration, resolved to what Serve, torch and the operating system understand."""

from __future__ import annotations

import json
import os
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self
from urllib.parse import quote, quote_plus

from serve_deployments.serve_path import REPLICA_ENVIRONMENT


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


_FRACTIONS = ("gpu_share", "gpu_memory", "gpu_memory_gib", "batch_wait_ms")
_FORMER = frozenset({"mps"})
"""Names of former settings: a replica now finds out for itself whether MPS runs on its node."""
_WHOLE = ("cpu_cores", "max_batch_size", "threads")


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
        for name in _FRACTIONS:
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


class BadSecret(ValueError):
    """A reference to a secret is not one, or the environment does not have what it names."""


_SHORTEST_HIDDEN, _SHORTEST_LINE = 4, 8
"""Fewest characters of a secret, and of a line of one, that are taken out of words. Our choice: fewer may be in any."""
_revealed: set[str] = set()
"""Secrets that this process has read, in the forms in which errors repeat them; none of its words may have them."""


def secrets_in(args: Mapping[str, Any]) -> Iterator[str]:
    """The names of the environment variables that arguments name as secrets, by `{secret: NAME}`.

    Raises:
        BadSecret: a mapping in an argument looks like a reference and is none, or names what can be no variable.
    """
    for value in args.values():
        match value:
            case Mapping() if (name := _reference(value)) is not None:
                yield name
            case Mapping():
                yield from secrets_in(value)
            case list() | tuple():
                yield from secrets_in({str(place): inner for place, inner in enumerate(value)})


def _reference(value: Mapping[Any, Any]) -> str | None:
    """The variable that a mapping names as a secret; None if the mapping is an ordinary one. Raises BadSecret."""
    if all(str(key).strip().lower() != "secret" for key in value):
        return None
    if set(value) != {"secret"}:
        raise BadSecret(
            f"a secret is {{secret: NAME}} and nothing else, where NAME is an environment variable; got a mapping of "
            f"{', '.join(map(str, value))}; put what is beside it elsewhere, or give the key another name"
        )
    name = value["secret"]
    if isinstance(name, str) and re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
        return name
    # Not repeated: it may be the secret itself.
    got = "a text that is none" if isinstance(name, str) else f"a value of type {type(name).__name__}"
    raise BadSecret(f"`secret` needs the name of an environment variable, got {got}; put the secret into a variable")


def revealed(args: Mapping[str, Any]) -> dict[str, Any]:
    """The same arguments with secrets from this process's environment in place of their references.

    A model gets them when it is built. They are kept and sent nowhere: stored, printed and exported is the reference.

    Raises:
        BadSecret: as in `secrets_in`, or the environment does not have one.
    """
    return {name: _read(value) for name, value in args.items()}


def _read(value: Any) -> Any:
    match value:
        case Mapping() if (name := _reference(value)) is not None:
            if not (secret := os.environ.get(name)):
                raise BadSecret(
                    f"the environment variable {name}, which holds a secret of the model, is not set here; set it "
                    "where Ray is started on each node, or where `tune` starts Ray"
                )
            _revealed.update(_forms(secret))
            return secret
        case Mapping():
            return revealed(value)
        case list() | tuple():
            return type(value)(map(_read, value))
    return value


def _forms(secret: str) -> Iterator[str]:
    """A secret and its lines as errors repeat them: as they are, escaped as in Python and JSON, in a URL, in base64."""
    lines = (line.strip() for line in secret.splitlines())
    whole = (part for part in (secret, secret.strip()) if len(part) >= _SHORTEST_HIDDEN)
    for part in {*whole, *(line for line in lines if len(line) >= _SHORTEST_LINE)}:
        raw = os.fsencode(part)
        escaped = [repr("\"'" + part)[4:-1], repr(b"\"'" + raw)[5:-1]]  # after both quotes, which has repr escape one
        yield from (part, *escaped, *(form.replace("\\'", "'") for form in escaped))
        yield from (json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1])
        yield from (quote(raw), quote(raw, safe=""), quote_plus(raw))
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(raw).decode()
            for before in range(3):  # as a part of more, such as `user:secret`: the characters that are its alone
                yield encode(bytes(before) + raw).decode()[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]


def hidden(words: str) -> str:
    """The words without the secrets that this process has read, which a model's error may repeat in several forms."""
    for form in sorted(_revealed, key=len, reverse=True):
        words = words.replace(form, "***")
    return words


def loads_code(variable: str, value: str) -> bool:
    """Whether an environment variable may have code loaded or compiled: any that is not known to be harmless.

    Nobody can list the variables by which libraries find modules, plugins, compilers or caches of compiled code. So
    only a number, an on or off, or one of a few known variables is harmless, but for variables that load code by any
    value.
    """
    if variable in _LOADING or variable.startswith(("LD_", "DYLD_", "PYTHON", "RAY_")):
        return True
    return not (variable in _HARMLESS or _NUMBER_OR_SWITCH.fullmatch(value.strip()))


_LOADING = frozenset({
    "PATH", "BASH_ENV", "ENV", "GCONV_PATH", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "VLLM_ALLOW_INSECURE_SERIALIZATION",
})  # fmt: skip
"""Variables that load code by any value: a path may be a number, and the last two let a file of weights run code."""

_HARMLESS = frozenset({
    "GOMP_SPINCOUNT", "KMP_AFFINITY", "KMP_BLOCKTIME", "KMP_LIBRARY", "OMP_DISPLAY_ENV", "OMP_MAX_ACTIVE_LEVELS",
    "OMP_NUM_THREADS", "OMP_PLACES", "OMP_PROC_BIND", "OMP_SCHEDULE", "OMP_STACKSIZE", "OMP_WAIT_POLICY",
    "MKL_DYNAMIC", "MKL_ENABLE_INSTRUCTIONS", "MKL_NUM_THREADS", "MKL_THREADING_LAYER", "OPENBLAS_NUM_THREADS",
    "ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA",
    "CUBLAS_WORKSPACE_CONFIG", "CUDA_MODULE_LOADING", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF",
    "NCCL_ALGO", "NCCL_PROTO", "RAYON_NUM_THREADS", "TOKENIZERS_PARALLELISM",
})  # fmt: skip
"""Variables that libraries read as numbers or words of their own, never as a path or the name of a module."""

_NUMBER_OR_SWITCH = re.compile(r"([+-]?\d+(\.\d*)?(e[+-]?\d+)?|true|false|on|off|yes|no)?", re.ASCII | re.IGNORECASE)
