"""Points of operators' resource curves in the database: measured once, used for every model with that operator."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from sqlalchemy import ColumnElement, delete, select

from cluster.operators.curves.point import CallTime, Point, Resources
from cluster.operators.scaling import OperatorClass, class_of_key
from raytune_infer.store.database import Database
from raytune_infer.store.tables import OperatorPointRow


class CurveStore:
    """The points of a database.

    Args:
        database: the database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, points: Iterable[Point]) -> int:
        """Store points, each in place of an earlier one that was measured of the same; return how many."""
        rows = [_row(point) for point in points]
        with self._database.writing() as session:
            for row in rows:
                session.execute(delete(OperatorPointRow).where(*_same(row)))
                session.add(row)
        return len(rows)

    def points(self, *, devices: Sequence[str], versions: str) -> tuple[Point, ...]:
        """Return all points that were measured on these devices with these versions, of whatever operator."""
        asked = select(OperatorPointRow).where(
            OperatorPointRow.device.in_(list(devices)), OperatorPointRow.versions == versions
        )
        with self._database.reading() as session:
            return tuple(_points(session.scalars(asked.order_by(OperatorPointRow.id))))


def _points(rows: Iterable[OperatorPointRow]) -> Iterator[Point]:
    operators: dict[str, OperatorClass] = {}
    for row in rows:
        with suppress(ValueError):  # of a version that writes operators or points in another way: as if not there
            if row.operator not in operators:
                operators[row.operator] = class_of_key(row.operator)
            resources = Resources(
                row.batch, row.precision, row.cpu_cores, row.threads, row.gpu_type, row.gpu_share, row.gpu_memory
            )
            time = CallTime(row.mean_s, row.low_s, row.high_s, row.calls)
            yield Point(operators[row.operator], resources, time, row.device, row.versions)


def _row(point: Point) -> OperatorPointRow:
    key, of, time = point.operator.key, point.resources, point.time
    return OperatorPointRow(
        operator=key, operator_hash=hashlib.sha256(key.encode()).hexdigest(), device=point.device,
        versions=point.versions, precision=of.precision, batch=of.batch, cpu_cores=of.cpu_cores, threads=of.threads,
        gpu_type=of.gpu_type, gpu_share=of.gpu_share, gpu_memory=of.gpu_memory, mean_s=time.mean_s, low_s=time.low_s,
        high_s=time.high_s, calls=time.calls, measured_at=dt.datetime.now(dt.UTC).replace(tzinfo=None),
    )  # fmt: skip


_KEY = (
    "operator_hash", "device", "versions", "precision", "batch", "cpu_cores", "threads", "gpu_type", "gpu_share",
    "gpu_memory",
)  # fmt: skip
"""Columns by which a point is the same."""


def _same(row: OperatorPointRow) -> list[ColumnElement[bool]]:
    return [getattr(OperatorPointRow, name).is_not_distinct_from(getattr(row, name)) for name in _KEY]
