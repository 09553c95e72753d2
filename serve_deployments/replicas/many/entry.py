"""A model that is registered: where it comes from, its settings and payloads; and which can share their processes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from serve_deployments.models.model import ModelSource
from serve_deployments.replicas.application import parts_of
from serve_deployments.replicas.http.payload_type import AS_JSON, PayloadType
from serve_deployments.replicas.many.errors import NotTogether
from serve_deployments.settings import Settings

_OF_THE_PROCESS = (
    "cpu_cores",
    "gpu_type",
    "gpu_share",
    "gpu_memory",
    "gpu_memory_gib",
    "node_labels",
    "env",
    "emulated",
)
"""Settings that belong to a replica's process and not to its model."""


@dataclass(frozen=True)
class ModelEntry:
    """A registered model.

    Args:
        name: its name, by which requests ask for it.
        source: where it comes from.
        settings: the settings that it runs under.
        payload_type: what a request over HTTP is converted to.

    Raises:
        ValueError: the name is empty, or has a character that no HTTP header takes.
    """

    name: str
    source: ModelSource
    settings: Settings
    payload_type: PayloadType = AS_JSON

    def __post_init__(self) -> None:
        if not self.name or not (self.name.isascii() and self.name.isprintable()) or self.name != self.name.strip():
            raise ValueError(f"a model's name is sent as an HTTP header: printable ASCII, not {self.name!r}")

    @classmethod
    def of(cls, name: str, args: Mapping[str, Any]) -> Self:
        """The model of an exported config.

        Args:
            name: its name.
            args: arguments of `application`; `warm_up` is left out, as the request that a model is loaded for is its
                first batch.
        """
        source, settings, payload_type, _ = parts_of({**args, "warm_up": []})
        return cls(name, source, settings, payload_type)


def process_settings(entries: Iterable[ModelEntry]) -> Settings:
    """The settings of replicas that serve all of these models, one or more.

    Raises:
        NotTogether: two of them need different processes.
    """
    first, *others = entries
    for other in others:
        for name in _OF_THE_PROCESS:
            ours, theirs = getattr(first.settings, name), getattr(other.settings, name)
            if ours != theirs:
                raise NotTogether(
                    f"models {first.name} and {other.name} differ in {name}, {ours!r} and {theirs!r}, "
                    "which is fixed when a replica starts; give them the same, or serve them apart"
                )
    return first.settings
