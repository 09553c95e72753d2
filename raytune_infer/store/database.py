"""Database of studies, trials and measurements, which holds the whole state of a run.

A search reads its history from here, so a run that was killed resumes after its last finished trial. The default is
SQLite; PostgreSQL is tested too, and any URL that SQLAlchemy accepts should work.
"""

from __future__ import annotations

import datetime as dt
import math
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from sqlalchemy import URL, ColumnElement, Engine, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import StaticPool

from raytune_infer.errors import RunError
from raytune_infer.store.database_url import file_of, shown, unusable
from raytune_infer.store.former_prices import priced_now
from raytune_infer.store.levels import level_from_json, level_to_json
from raytune_infer.store.records import Outcome, Purpose, StudyRecord, TrialRecord
from raytune_infer.store.sql import sqlite
from raytune_infer.store.tables import MeasurementRow, StudyRow, TrialRow
from raytune_infer.store.upgrade import check_current, upgrade
from searchers.space import Config
from serve_deployments.metrics.answers.agreement import AnswerAgreement
from serve_deployments.metrics.level_result import LevelResult, interval_around

_LARGEST = 2**63 - 1
"""Largest signed integer of 64 bits."""


class Database:
    """The database of studies at one URL.

    Args:
        url: a database URL of SQLAlchemy (`sqlite:///history.db`, `postgresql+psycopg://…`).
        read_only: whether the database is left as it is, also if its tables are of an earlier version.

    Raises:
        RunError: the URL is invalid, its driver is not installed, nothing answers there, or the tables there are from
            another program or a newer version.
    """

    def __init__(self, url: str | URL, *, read_only: bool = False) -> None:
        try:
            self._engine, is_own = _engine_of(url, read_only)
        except (ArgumentError, ModuleNotFoundError, SQLAlchemyError, ValueError, OSError, sqlite3.Error) as error:
            raise unusable(url, error) from None
        if self._engine.dialect.name == "sqlite" and not read_only:
            event.listen(self._engine, "connect", sqlite.set_up)
        try:
            if is_own:
                upgrade(self._engine)
            else:
                check_current(self._engine)
        except SQLAlchemyError as error:
            self.close()
            raise unusable(url, error) from None
        except RunError:
            self.close()
            raise

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def create_study(
        self, *, name: str, spec: str, folder: str, searcher: str, seed: int, trials: int,
        fingerprint: Mapping[str, Any], emulated: str | None,
    ) -> StudyRecord:  # fmt: skip
        """Create a study without trials; raises RunError if the seed is too large for a database."""
        if abs(seed) > _LARGEST:
            raise RunError(f"the seed {seed} cannot be kept in a database; choose one of at most {_LARGEST}")
        row = StudyRow(
            name=name, spec=spec, folder=folder, searcher=searcher, seed=seed, trials=trials,
            fingerprint=dict(fingerprint), emulated=emulated, created_at=_now(),
        )  # fmt: skip
        with self.writing() as session:
            session.add(row)
            session.flush()
            return _study_record(row)

    def study(self, study_id: int) -> StudyRecord:
        """Return one study; raises RunError if there is none with this number."""
        with Session(self._engine) as session:
            row = session.get(StudyRow, study_id)
            if row is None:
                numbers = session.scalars(select(StudyRow.id).order_by(StudyRow.id)).all()
                raise RunError(f"no study {study_id} in {shown(self._engine.url)}; there are {list(numbers) or 'none'}")
            return _study_record(row)

    def studies(self) -> tuple[StudyRecord, ...]:
        """Return all studies, in the order in which they began."""
        with Session(self._engine) as session:
            return tuple(_study_record(row) for row in session.scalars(select(StudyRow).order_by(StudyRow.id)))

    def start_trial(
        self, study: StudyRecord, *, purpose: Purpose, position: int, config: Config,
        usd_per_hour: float, emulated: bool,
    ) -> tuple[int, int]:  # fmt: skip
        """Record that a trial has begun.

        Returns:
            The trial's key in the database and its number within the study.
        """
        with self.writing() as session:
            # The second of two writers waits here for the first; otherwise both would take the same number.
            session.execute(select(StudyRow.id).where(StudyRow.id == study.id).with_for_update())
            last = select(func.coalesce(func.max(TrialRow.number), 0)).where(TrialRow.study_id == study.id)
            row = TrialRow(
                study_id=study.id, number=last.scalar_subquery() + 1, purpose=purpose, state="running",
                position=position, config=config, emulated=emulated, started_at=_now(),
                usd_per_hour=_known(usd_per_hour),
            )  # fmt: skip
            session.add(row)
            session.flush()
            return row.id, row.number

    def finish_trial(self, trial_id: int, outcome: Outcome, value: float | None) -> TrialRecord:
        """Record how a trial ended, in one transaction; a trial that is not running any more stays unchanged."""
        with self.writing() as session:
            row = session.get_one(TrialRow, trial_id, with_for_update=True)
            if row.state == "running":
                row.state, row.finished_at = "finished", _now()
                row.metrics = None if outcome.metrics is None else dict(outcome.metrics)
                row.reason, row.value = outcome.reason, _known(value)
                row.client_limited, row.hostname = outcome.client_limited, outcome.hostname
                row.settings, row.reported, row.ended = dict(outcome.settings), outcome.reported, outcome.ended
                row.rate_low_rps, row.rate_high_rps = map(_known, outcome.interval_rps or (None, None))
                row.in_place, row.overhead = outcome.in_place, dict(outcome.overhead)
                row.ended_early, row.lost = outcome.ended_early, outcome.lost
                row.answers = None if outcome.answers is None else asdict(outcome.answers)
                row.enforcements = [dict(e) for e in outcome.enforcements]
                row.measurements = [_measurement(level) for level in outcome.levels]
                session.flush()
            return _trial_record(row)

    def interrupt_running(self, study: StudyRecord) -> int:
        """Mark the trials that a killed run left unfinished as interrupted; returns how many."""
        running = select(TrialRow).where(TrialRow.study_id == study.id, TrialRow.state == "running")
        with self.writing() as session:
            rows = session.scalars(running.with_for_update()).all()
            for row in rows:
                row.state, row.finished_at = "interrupted", _now()
            return len(rows)

    def unfinished(self, study: StudyRecord) -> bool:
        """Whether a trial of the study is under way, or was when its driver ended: the study is not over."""
        running = select(TrialRow.id).where(TrialRow.study_id == study.id, TrialRow.state == "running")
        with Session(self._engine) as session:
            return session.scalar(running.limit(1)) is not None

    def set_aside(self, study: StudyRecord) -> Mapping[str, tuple[int, ...]]:
        """Return why trials do not count → their numbers.

        They are "interrupted", as their driver ended, or "superseded", as a longer search was compared anew.
        """
        found: dict[str, tuple[int, ...]] = {}
        states = TrialRow.state.in_(("interrupted", "superseded"))
        asked = select(TrialRow.state, TrialRow.number).where(TrialRow.study_id == study.id, states)
        with Session(self._engine) as session:
            for state, number in session.execute(asked.order_by(TrialRow.number)):
                found[state] = (*found.get(state, ()), number)
        return found

    def extend(self, study: StudyRecord, trials: int) -> StudyRecord:
        """Give a study a larger budget of trials; its comparison, which was of fewer, no longer counts."""
        with self.writing() as session:
            row = session.get_one(StudyRow, study.id, with_for_update=True)
            row.trials = trials
            _supersede(session, study)
            session.flush()
            return _study_record(row)

    def move(self, study: StudyRecord, folder: str) -> StudyRecord:
        """Record where the folder of a study's service.yaml is now."""
        with self.writing() as session:
            row = session.get_one(StudyRow, study.id, with_for_update=True)
            row.folder = folder
            session.flush()
            return _study_record(row)

    def supersede(self, study: StudyRecord, numbers: Collection[int]) -> None:
        """Mark finished trials of the comparison as superseded: they are measured anew and count no longer."""
        with self.writing() as session:
            _supersede(session, study, TrialRow.number.in_(numbers))

    def trials(self, study: StudyRecord, *, before: dt.datetime | None = None) -> tuple[TrialRecord, ...]:
        """Return a study's finished trials by number, priced by today's rule.

        Args:
            study: the study.
            before: time in UTC before which they ended; None for all.
        """
        finished = select(TrialRow).where(TrialRow.study_id == study.id, TrialRow.state == "finished")
        if before is not None:
            finished = finished.where(TrialRow.finished_at < before)
        with Session(self._engine) as session:
            found = tuple(_trial_record(row) for row in session.scalars(finished.order_by(TrialRow.number)))
        return priced_now(study, found)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that only reads."""
        with Session(self._engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a transaction in which nobody else changes a row that was read `for update`.

        SQLite has no row locks and ignores `for update`: there the transaction locks out other writers from its start.
        """
        with Session(self._engine) as session, session.begin():
            if self._engine.dialect.name == "sqlite":
                session.connection().exec_driver_sql("BEGIN IMMEDIATE")
            yield session


def _engine_of(url: str | URL, read_only: bool) -> tuple[Engine, bool]:
    """Return the engine for a database, and whether its tables are ours to upgrade: a copy's are."""
    parsed = make_url(url)
    if not read_only:
        # The server may have been restarted since the last trial: each connection is tested before it is used.
        return create_engine(parsed, pool_pre_ping=True), True
    if (file := file_of(parsed)) is not None:
        copy = sqlite.copied(file)
        return create_engine(parsed, creator=lambda: copy, poolclass=StaticPool), True
    options = {"postgresql_readonly": True} if parsed.get_backend_name() == "postgresql" else {}
    return create_engine(parsed, pool_pre_ping=True, execution_options=options), False


def _supersede(session: Session, study: StudyRecord, *only: ColumnElement[bool]) -> None:
    """Mark the finished trials of a study's comparison as superseded, those alone that meet all conditions."""
    finals = TrialRow.study_id == study.id, TrialRow.purpose == "final", TrialRow.state == "finished"
    for trial in session.scalars(select(TrialRow).where(*finals, *only)):
        trial.state = "superseded"


def _study_record(row: StudyRow) -> StudyRecord:
    return StudyRecord(
        id=row.id, name=row.name, spec=row.spec, folder=row.folder, searcher=row.searcher, seed=row.seed,
        trials=row.trials, fingerprint=row.fingerprint, emulated=row.emulated, created_at=row.created_at,
    )  # fmt: skip


def _trial_record(row: TrialRow) -> TrialRecord:
    assert row.finished_at is not None, "only finished trials are read"
    outcome = Outcome(
        metrics=row.metrics, reason=row.reason, levels=tuple(level_from_json(m.load) for m in row.measurements),
        client_limited=row.client_limited, enforcements=tuple(row.enforcements), hostname=row.hostname,
        settings=row.settings, reported=row.reported, ended=row.ended,
        in_place=row.in_place, ended_early=row.ended_early, overhead=row.overhead or {},
        lost=row.lost, answers=None if row.answers is None else AnswerAgreement(**row.answers),
        interval_rps=interval_around((row.metrics or {}).get("rps", math.nan), row.rate_low_rps, row.rate_high_rps),
    )  # fmt: skip
    return TrialRecord(
        number=row.number, purpose="final" if row.purpose == "final" else "search", position=row.position,
        config=row.config, usd_per_hour=float("nan") if row.usd_per_hour is None else row.usd_per_hour,
        value=row.value, outcome=outcome, seconds=(row.finished_at - row.started_at).total_seconds(),
        emulated=row.emulated,
    )  # fmt: skip


def _measurement(level: LevelResult) -> MeasurementRow:
    times = [dt.datetime.fromtimestamp(at, dt.UTC).replace(tzinfo=None) for at in (level.started_at, level.ended_at)]
    return MeasurementRow(started_at=times[0], finished_at=times[1], load=level_to_json(level))


def _known(number: float | None) -> float | None:
    """Return the number; None for NaN, which SQLite cannot store in a numeric column."""
    return None if number is None or math.isnan(number) else number


def _now() -> dt.datetime:
    """Return the time in UTC without a zone, which every database stores in the same way."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)
