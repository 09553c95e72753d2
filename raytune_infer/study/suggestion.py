"""What the search asks a trial to run, on its way through Ray Tune."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from searchers.space import Config

_KEY = "suggestion"


@dataclass(frozen=True)
class Suggestion:
    """One configuration to be measured.

    Args:
        position: its number in the space.
        config: its knobs' values.
        to_beat_rps: the rate that it needs to become the best; None where there is no such rate.
    """

    position: int
    config: Config
    to_beat_rps: float | None = None

    def __str__(self) -> str:
        return ",".join(f"{name}={value}" for name, value in self.config.items())  # as Tune names a trial's folder

    def for_tune(self) -> dict[str, Any]:
        """As the configuration of a trial of Tune's, which is a dictionary."""
        return {_KEY: self}

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """The one in the configuration of a trial."""
        suggestion = config[_KEY]
        assert isinstance(suggestion, cls), "a study's trials are made of suggestions alone"
        return suggestion
