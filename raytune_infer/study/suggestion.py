"""Suggestions of a study's search, as they are passed through Ray Tune, and the rules for ending the search."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from raytune_infer.comparing.comparison_schedule import WORTHWHILE
from raytune_infer.comparing.other_processes import least_share
from raytune_infer.comparing.to_beat import rate_to_beat
from searchers.base import PredictsGain
from searchers.ray_tune.tune_searcher import TuneSearcher
from searchers.space import Config

OTHERS_SHARE = "others_share"
"""Key in what a trial reports to Tune: the share of its cores that other processes had."""

_KEY = "suggestion"

_TELLING = 0.01
"""Largest part of a search's time that the chance of more takes where it is only shown. Our choice: it costs as much as
a suggestion, on a machine that is being measured."""


@dataclass(frozen=True)
class Suggestion:
    """One configuration to be measured.

    Args:
        position: its number in the space.
        config: the values of its knobs.
        to_beat_rps: rate in requests/s that it needs to become the best; None where there is no such rate.
        usual_share: the least share of its cores that other processes had in a trial so far; None: not known.
    """

    position: int
    config: Config
    to_beat_rps: float | None = None
    usual_share: float | None = None

    def __str__(self) -> str:
        return ",".join(f"{name}={value}" for name, value in self.config.items())  # Tune names the trial's folder by it

    def for_tune(self) -> dict[str, Any]:
        """Wrap the suggestion as the configuration of a Tune trial, which must be a dictionary."""
        return {_KEY: self}

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """Return the suggestion in the configuration of a Tune trial."""
        suggestion = config[_KEY]
        assert isinstance(suggestion, cls), "a study's trials are made of suggestions alone"
        return suggestion


class StudySearcher(TuneSearcher):
    """A searcher that stops suggesting when time is up or little is left to gain; running trials are completed."""

    stop_below: float = 0.0
    left: float | None = None
    told_chance: Callable[[float], None] | None = None
    usual_share: float | None = None
    _deadline_s: float = math.inf
    _next_told_s: float = -math.inf

    def __getstate__(self) -> dict[str, Any]:
        # Tuner pickles its searcher for Tuner.restore, and whoever is told of a study has a database open.
        return {**self.__dict__, "told_chance": None}

    def end_after(self, seconds: float) -> None:
        """Stop suggesting after this many seconds from now."""
        self._deadline_s = time.monotonic() + seconds

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]  # FINISHED is a str
        """See `TuneSearcher.suggest`; the configuration is a `Suggestion`."""
        if time.monotonic() >= self._deadline_s or self._enough():
            return self.FINISHED
        config = super().suggest(trial_id)
        if not isinstance(config, dict):
            return config
        position = self.position_of(trial_id)
        suggested = Suggestion(
            position, self.problem.space[position], self._to_beat_rps(position), usual_share=self.usual_share
        )
        return suggested.for_tune()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """See `TuneSearcher.on_trial_complete`; what other processes had of its cores is remembered too."""
        super().on_trial_complete(trial_id, result, error)
        self.usual_share = least_share([self.usual_share, (result or {}).get(OTHERS_SHARE)])

    def _to_beat_rps(self, position: int) -> float | None:
        best = self.problem.best(self.history)
        usd_per_hour = float(self.problem.usd_per_hour[position])
        return rate_to_beat(self.problem.objective, usd_per_hour, self.problem.value(best) if best else None)

    def _enough(self) -> bool:
        wanted = self.stop_below > 0 or self.told_chance is not None
        if not wanted or not isinstance(self.our_searcher, PredictsGain):
            return False
        if self.stop_below <= 0 and time.monotonic() < self._next_told_s:
            return False
        begun_s = time.monotonic()
        left = self.our_searcher.chance_of_more(self.history, WORTHWHILE)
        self._next_told_s = begun_s + (time.monotonic() - begun_s) / _TELLING
        if self.told_chance is not None:
            self.told_chance(left)
        self.left = left if left < self.stop_below else None
        return self.left is not None
