"""The current tables of studies, trials, levels and points of operators; `migrations` upgrades older ones."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import BigInteger, Double, ForeignKey, Integer, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from raytune_infer.store.sql.column_types import AnyJson, AnyText

_LARGE = BigInteger().with_variant(Integer(), "sqlite")
"""Integer column of 64 bits; SQLite's integers always have that size."""


class Base(DeclarativeBase):
    """Base class of all tables."""

    type_annotation_map = {dict[str, Any]: AnyJson, list[Any]: AnyJson, float: Double}


class StudyRow(Base):
    """One study."""

    __tablename__ = "studies"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(AnyText(200))
    spec: Mapped[str] = mapped_column(AnyText)
    folder: Mapped[str] = mapped_column(AnyText)
    searcher: Mapped[str] = mapped_column(AnyText(100))
    seed: Mapped[int] = mapped_column(_LARGE)
    trials: Mapped[int]
    fingerprint: Mapped[dict[str, Any]]
    emulated: Mapped[str | None] = mapped_column(AnyText(200))
    created_at: Mapped[dt.datetime]


class TrialRow(Base):
    """One trial of a study."""

    __tablename__ = "trials"
    __table_args__ = (UniqueConstraint("study_id", "number"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    number: Mapped[int]
    purpose: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(20))  # running, finished, interrupted or superseded
    position: Mapped[int]
    config: Mapped[dict[str, Any]]
    usd_per_hour: Mapped[float | None]
    value: Mapped[float | None]
    metrics: Mapped[dict[str, Any] | None]
    reason: Mapped[str | None] = mapped_column(AnyText)
    reported: Mapped[int | None]
    rate_low_rps: Mapped[float | None]
    rate_high_rps: Mapped[float | None]
    ended: Mapped[str | None] = mapped_column(AnyText)
    client_limited: Mapped[bool] = mapped_column(default=False)
    enforcements: Mapped[list[Any]] = mapped_column(default=list)
    hostname: Mapped[str | None] = mapped_column(AnyText(255))
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    emulated: Mapped[bool] = mapped_column(default=False)
    in_place: Mapped[bool | None]
    ended_early: Mapped[bool | None]
    overhead: Mapped[dict[str, Any] | None]
    lost: Mapped[str | None] = mapped_column(AnyText)
    answers: Mapped[dict[str, Any] | None]
    started_at: Mapped[dt.datetime]
    finished_at: Mapped[dt.datetime | None]
    measurements: Mapped[list[MeasurementRow]] = relationship(order_by="MeasurementRow.id")


class MeasurementRow(Base):
    """One load level of a trial."""

    __tablename__ = "measurements"
    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id"), index=True)
    started_at: Mapped[dt.datetime]
    finished_at: Mapped[dt.datetime]
    load: Mapped[dict[str, Any]]


class OperatorPointRow(Base):
    """One point of an operator's resource curve."""

    __tablename__ = "operator_points"
    id: Mapped[int] = mapped_column(primary_key=True)
    operator: Mapped[str] = mapped_column(AnyText)
    operator_hash: Mapped[str] = mapped_column(String(64), index=True)  # of `operator`, which is too long for an index
    device: Mapped[str] = mapped_column(AnyText)
    versions: Mapped[str] = mapped_column(AnyText)
    precision: Mapped[str] = mapped_column(String(20))
    batch: Mapped[int]
    cpu_cores: Mapped[int]
    threads: Mapped[int]
    gpu_type: Mapped[str | None] = mapped_column(AnyText)
    gpu_share: Mapped[float]
    gpu_memory: Mapped[float]
    mean_s: Mapped[float]
    low_s: Mapped[float]
    high_s: Mapped[float]
    calls: Mapped[int]
    measured_at: Mapped[dt.datetime]
