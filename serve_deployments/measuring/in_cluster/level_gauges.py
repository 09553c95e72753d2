"""The level of load that runs, shown by gauges once a second to whoever watches; what is measured does not change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from serve_deployments.load.load_generator import LoadGenerator
from serve_deployments.metrics.shown.gauges import Gauges
from serve_deployments.metrics.shown.series import (
    ANSWERED_RPS,
    CLIENTS,
    FAILED_SHARE,
    LATENCY_MS,
    LEVEL_SERIES,
    OFFERED_RPS,
)

PERCENTILES = (50, 95, 99)
_EVERY_S = 1.0  # Prometheus asks every few seconds; and a percentile of 100,000 requests takes 2 ms of the load's core


class LevelGauges:
    """Shows what a load generator has recorded of its level, a second after it was last shown.

    Args:
        gauges: where it is shown.
    """

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges
        self._shown_s = -math.inf

    def __call__(self, generator: LoadGenerator) -> None:
        """Show the level so far, unless that was done within the last second."""
        now_s = generator.clock.now()
        if now_s < self._shown_s + _EVERY_S:
            return
        self._shown_s = now_s
        ended = generator.events.requests()
        held_s = max(now_s - generator.events.start_s, 1e-9)
        answered = ended.where(~ended.failed)
        self._set(generator.offered_rps, generator.clients_now, len(answered) / held_s)
        self._gauges.set(FAILED_SHARE, float(np.mean(ended.failed)) if len(ended) else math.nan)
        values_ms = 1000 * np.percentile(answered.latency_s, PERCENTILES) if len(answered) else None
        for place, percentile in enumerate(PERCENTILES):
            value = math.nan if values_ms is None else float(values_ms[place])
            self._gauges.set(LATENCY_MS, value, percentile=str(percentile))

    def idle(self) -> None:
        """Show that no level runs."""
        self._set(0.0, 0, 0.0)
        self._gauges.set(FAILED_SHARE, math.nan)
        for percentile in PERCENTILES:
            self._gauges.set(LATENCY_MS, math.nan, percentile=str(percentile))

    def _set(self, offered_rps: float, clients: int, answered_rps: float) -> None:
        self._gauges.set(OFFERED_RPS, offered_rps)
        self._gauges.set(CLIENTS, clients)
        self._gauges.set(ANSWERED_RPS, answered_rps)


@contextmanager
def shown(generator: LoadGenerator, labels: Mapping[str, str]) -> Iterator[None]:
    """Within this context, the generator's levels are shown with these labels; without labels, nobody is shown them."""
    if not labels:
        yield
        return
    with Gauges(LEVEL_SERIES, labels) as gauges:
        generator.shown_to = level = LevelGauges(gauges)
        try:
            yield
        finally:
            generator.shown_to = None
            level.idle()
