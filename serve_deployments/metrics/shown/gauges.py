"""Figures of a running study as gauges of Ray, which each node exports for Prometheus on its metrics port."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, Self

from ray.util.metrics import Gauge

from serve_deployments.metrics.shown.series import Series

_AGAIN_S = 3.0
"""Seconds after which a value is set once more. Ray (2.60) exports every ten seconds, and only what was set since."""


class Gauges:
    """Sets figures from the process that it lives in, and keeps them shown. It can be sent to another process.

    A context manager: from the first value on, each figure shows what was set last, until the context ends. A value
    that Ray is told once is gone at the next export, so all are set again every few seconds.

    Args:
        series: the figures.
        labels: the labels that all of them have, with their values.
    """

    def __init__(self, series: Iterable[Series], labels: Mapping[str, str]) -> None:
        self._series, self._labels = tuple(series), dict(labels)
        self._gauges: dict[str, Any] = {s.name: Gauge(s.name, s.meaning, s.labels) for s in self._series}
        self._shown: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._lock, self._ended = Lock(), Event()
        self._keeper: Thread | None = None

    def __reduce__(self) -> tuple[type[Self], tuple[tuple[Series, ...], dict[str, str]]]:
        return type(self), (self._series, self._labels)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()

    def set(self, series: Series, value: float, **labels: str) -> None:
        """Show a value.

        Args:
            series: one of the figures.
            value: its value; NaN where it is not known.
            labels: values of the labels that it has beside the common ones.
        """
        with self._lock:
            self._shown[series.name, tuple(labels.items())] = value
            self._tell(series.name, value, labels)
            if self._keeper is None:
                self._keeper = Thread(target=self._keep, name="figures for Prometheus", daemon=True)
                self._keeper.start()

    def set_again(self) -> None:
        """Set every figure to the value that it shows already."""
        with self._lock:
            for (name, labels), value in self._shown.items():
                self._tell(name, value, dict(labels))

    def _keep(self) -> None:
        while not self._ended.wait(_AGAIN_S):
            self.set_again()

    def _tell(self, name: str, value: float, labels: Mapping[str, str]) -> None:
        self._gauges[name].set(value, tags={**self._labels, **labels})
