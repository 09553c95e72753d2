"""The services that a real replica runs: models whose service time is known, and those of a service.yaml."""

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
    """A service to measure.

    Args:
        name: name of the service, and its path over HTTP.
        source: source of the model.
        settings: settings of the replica.
        payloads: payloads of requests, sent in turn.
        p99_ms: a bound on p99 latency that the service can keep at some rate.
        true_rps: rate of the model alone; None where it is not known.
    """

    name: str
    source: ModelSource
    settings: Settings
    payloads: Sequence[Payload]
    p99_ms: float
    true_rps: float | None = None


def sleeping(service_ms: float) -> Service:
    """A service with batches of 8, each of which takes `service_ms`."""
    settings = Settings(max_batch_size=BATCH, args={"service_ms": service_ms})
    # The bound is five times the service time: room for a short queue.
    return Service(
        f"sleeping-{service_ms:g}", Builder(f"{KNOWN_MODELS}:sleeping"), settings, ["x"], 5 * service_ms,
        BATCH / service_ms * 1e3,
    )  # fmt: skip


def uneven(usual_ms: float, slow_ms: float) -> Service:
    """A service of which one request in 64 is slow, and so is the batch that it is in."""
    settings = Settings(max_batch_size=BATCH, args={"usual_ms": usual_ms, "slow_ms": slow_ms})
    payloads = ["slow", *["usual"] * 63]
    # Room for a slow batch and a usual one.
    return Service("uneven", Builder(f"{KNOWN_MODELS}:uneven"), settings, payloads, 2 * (usual_ms + slow_ms))


def echo() -> Service:
    """A service whose model takes no time, so that only the overhead of requests is measured."""
    return Service("echo", Builder(f"{KNOWN_MODELS}:echo"), Settings(max_batch_size=BATCH), ["x"], 50.0)


def importing(*, set_aside: bool) -> Service:
    """A tiny model that has imported much, and may be set aside from collections of garbage or not."""
    settings = Settings(max_batch_size=BATCH, args={"set_aside": set_aside})
    name = "importing" if set_aside else "importing-as-serve-leaves-it"
    return Service(name, Builder(f"{KNOWN_MODELS}:importing"), settings, ["x"], 50.0)


def described(path: Path) -> Service:
    """The service of a service.yaml with its samples and its limit on p99 (or 250 ms), in batches of 8 on one core."""
    service = Described(load_spec(path))
    bound_ms = service.spec.latency_limits.get("p99_ms", 250.0)
    return Service(service.spec.name, service.source, Settings(max_batch_size=BATCH), service.samples, bound_ms)


SERVICES: Mapping[str, Callable[[], Service]] = {
    "sleeping-10": lambda: sleeping(10.0),
    "sleeping-40": lambda: sleeping(40.0),
    "uneven": lambda: uneven(20.0, 80.0),
    "minilm": lambda: described(ROOT / "examples" / "minilm.yaml"),
}
"""Name of a service → function that makes it."""
