"""Gauges that keep what they are set to, in place of Ray's."""

from serve_deployments.metrics.shown.gauges import Gauges
from serve_deployments.metrics.shown.series import Series


class KeptGauges(Gauges):
    def __init__(self) -> None:
        self._kept: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def set(self, series: Series, value: float, **labels: str) -> None:
        assert {*labels, "study", "run"} == set(series.labels), "a series has the labels that it declares"
        self._kept[series.name, tuple(sorted(labels.items()))] = value

    def of(self, series: Series, **labels: str) -> float:
        return self._kept[series.name, tuple(sorted(labels.items()))]
