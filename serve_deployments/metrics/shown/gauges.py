"""Figures of a running study as gauges of Ray, which each node exports for Prometheus on its metrics port."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ray.util.metrics import Gauge

from serve_deployments.metrics.shown.series import Series


class Gauges:
    """Sets figures from the process that it lives in. It can be sent to another one.

    A figure shows what was set last, for as long as the process lives; Ray exports it every few seconds.

    Args:
        series: the figures.
        labels: the labels that all of them have, with their values.
    """

    def __init__(self, series: Iterable[Series], labels: Mapping[str, str]) -> None:
        self._labels = dict(labels)
        self._gauges: dict[str, Any] = {s.name: Gauge(s.name, s.meaning, s.labels) for s in series}

    def set(self, series: Series, value: float, **labels: str) -> None:
        """Show a value.

        Args:
            series: one of the figures.
            value: its value; NaN where it is not known.
            labels: values of the labels that it has beside the common ones.
        """
        self._gauges[series.name].set(value, tags={**self._labels, **labels})
