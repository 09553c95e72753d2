"""Figures of a running study for monitoring systems: one table row a figure, with its name, labels and meaning."""

from __future__ import annotations

import re
from dataclasses import dataclass

STUDY_LABELS = ("study", "run")
"""Labels of every figure: the name of the study, and what tells two of its runs apart."""


@dataclass(frozen=True)
class Series:
    """A figure that changes while a study runs, as Prometheus stores it.

    Args:
        name: its name, with the unit at the end (`raytune_infer_best_rate_rps`).
        meaning: what it says, in one sentence.
        labels: names of what tells its values apart.

    Raises:
        ValueError: Prometheus would not take the name.
    """

    name: str
    meaning: str
    labels: tuple[str, ...] = STUDY_LABELS

    def __post_init__(self) -> None:
        if not re.fullmatch(r"raytune_infer_[a-z0-9_]+", self.name):
            raise ValueError(f"a series is named raytune_infer_… in small letters and with underscores: {self.name!r}")

    @property
    def exported(self) -> str:
        """Its name where it is scraped: Ray puts its own in front."""
        return f"ray_{self.name}"


OFFERED_RPS = Series(
    "raytune_infer_level_offered_rps",
    "Requests per second that are sent on schedule in the level of load that runs; 0 where clients wait for answers.",
)
CLIENTS = Series(
    "raytune_infer_level_clients",
    "Clients that wait for their answers in the level of load that runs; 0 where requests are sent on schedule.",
)
ANSWERED_RPS = Series(
    "raytune_infer_level_answered_rps",
    "Requests answered per second in the level of load that runs, warm-up included; 0 between levels.",
)
LATENCY_MS = Series(
    "raytune_infer_level_latency_ms",
    "Latency in the level of load that runs, warm-up included, in milliseconds from when each request was due.",
    (*STUDY_LABELS, "percentile"),
)
FAILED_SHARE = Series(
    "raytune_infer_level_failed_share",
    "Share of the requests that failed in the level of load that runs, 0 to 1.",
)
LEVEL_SERIES = (OFFERED_RPS, CLIENTS, ANSWERED_RPS, LATENCY_MS, FAILED_SHARE)
"""What is told of the level that runs, warm-up included: what a trial is judged by comes at its end."""

WARM_REPLICAS = Series(
    "raytune_infer_warm_replicas",
    "Replicas that are running: held by a trial, or idle and ready for the next one.",
    (*STUDY_LABELS, "state"),
)
