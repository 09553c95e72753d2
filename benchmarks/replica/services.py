"""What a real replica serves: models whose time is known beforehand, and those of a service.yaml."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.recording.origin import ROOT
from raytune_infer.spec.service import Service as Described
from raytune_infer.spec.service_spec import load_spec
from serve_deployments.endpoint import Payload
from serve_deployments.models.model import Builder, ModelSource
from serve_deployments.settings import Settings

BATCH = 8
KNOWN_MODELS = "benchmarks.replica.known_models"


@dataclass(frozen=True)
class Service:
    """What is measured.

    Args:
        name: also its path over HTTP.
        source: the model.
        settings: what the replica runs under.
        payloads: sent in turn.
        p99_ms: a bound on latency that it can keep at some rate.
        true_rps: what its model alone can do; None where nobody knows.
    """

    name: str
    source: ModelSource
    settings: Settings
    payloads: Sequence[Payload]
    p99_ms: float
    true_rps: float | None = None


def sleeping(service_ms: float) -> Service:
    """Batches of 8 that take a time known beforehand."""
    settings = Settings(max_batch_size=BATCH, args={"service_ms": service_ms})
    # Five times its service: room for a queue, though not for a long one.
    return Service(
        f"sleeping-{service_ms:g}", Builder(f"{KNOWN_MODELS}:sleeping"), settings, ["x"], 5 * service_ms,
        BATCH / service_ms * 1e3,
    )  # fmt: skip


def echo() -> Service:
    """A model that takes no time: what is measured is the way to it."""
    return Service("echo", Builder(f"{KNOWN_MODELS}:echo"), Settings(max_batch_size=BATCH), ["x"], 50.0)


def described(path: Path) -> Service:
    """The model and the sentences of a service.yaml, in batches of 8 on one core, under its limit on p99."""
    service = Described(load_spec(path))
    bound_ms = service.spec.latency_limits.get("p99_ms", 250.0)
    return Service(service.spec.name, service.source, Settings(max_batch_size=BATCH), service.samples, bound_ms)


SERVICES: Mapping[str, Callable[[], Service]] = {
    "sleeping-10": lambda: sleeping(10.0),
    "sleeping-40": lambda: sleeping(40.0),
    "minilm": lambda: described(ROOT / "examples" / "minilm.yaml"),
}
"""Name → makes it."""
