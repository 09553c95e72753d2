"""Studies, trials and measurements in a database: the one place that a run lives in.

What a search knows is read back from here, so a run that was killed goes on from its last finished trial.
SQLite unless told otherwise; any URL that SQLAlchemy takes will do.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    URL,
    Column,
    Connection,
    Engine,
    ForeignKey,
    String,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from sqlalchemy.schema import CreateColumn

from raytune_infer.errors import RunError
from raytune_infer.store.records import Outcome, Purpose, StudyRecord, TrialRecord
from searchers.space import Config
from serve_deployments.measurement import interval_of


class _Base(DeclarativeBase):
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON}


class _Study(_Base):
    __tablename__ = "studies"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    spec: Mapped[str] = mapped_column(Text)
    folder: Mapped[str] = mapped_column(Text)
    searcher: Mapped[str] = mapped_column(String(100))
    seed: Mapped[int]
    trials: Mapped[int]
    fingerprint: Mapped[dict[str, Any]]
    emulated: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[dt.datetime]


class _Trial(_Base):
    __tablename__ = "trials"
    __table_args__ = (UniqueConstraint("study_id", "number"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    number: Mapped[int]
    purpose: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(20))  # running, finished or interrupted
    position: Mapped[int]
    config: Mapped[dict[str, Any]]
    usd_per_hour: Mapped[float | None]
    value: Mapped[float | None]
    metrics: Mapped[dict[str, Any] | None]
    reason: Mapped[str | None] = mapped_column(Text)
    reported: Mapped[int | None]
    rate_low_rps: Mapped[float | None]
    rate_high_rps: Mapped[float | None]
    ended: Mapped[str | None] = mapped_column(Text)
    client_limited: Mapped[bool] = mapped_column(default=False)
    enforcements: Mapped[list[Any]] = mapped_column(default=list)
    hostname: Mapped[str | None] = mapped_column(String(255))
    settings: Mapped[dict[str, Any]] = mapped_column(default=dict)
    emulated: Mapped[bool] = mapped_column(default=False)
    in_place: Mapped[bool | None]
    ended_early: Mapped[bool | None]
    overhead: Mapped[dict[str, Any] | None]
    lost: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[dt.datetime]
    finished_at: Mapped[dt.datetime | None]
    measurements: Mapped[list[_Measurement]] = relationship(order_by="_Measurement.id")


class _Measurement(_Base):
    """One load level held against one trial's replica."""

    __tablename__ = "measurements"
    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id"), index=True)
    started_at: Mapped[dt.datetime]
    finished_at: Mapped[dt.datetime]
    load: Mapped[dict[str, Any]]


class Database:
    """All studies under one URL.

    Args:
        url: a database URL of SQLAlchemy (`sqlite:///history.db`, `postgresql+psycopg://…`).

    Raises:
        RunError: the URL is not one, its driver is not installed, or nothing answers there.
    """

    def __init__(self, url: str | URL) -> None:
        try:
            self._engine = create_engine(url)
            if self._engine.dialect.name == "sqlite":
                # A write that has returned is on the disk, and readers (`show`) do not wait for the writer.
                event.listen(self._engine, "connect", _durable_sqlite)
            _make_what_is_missing(self._engine)
        except (ArgumentError, ModuleNotFoundError, SQLAlchemyError) as error:
            raise _unusable(url, error) from None

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    def create_study(
        self, *, name: str, spec: str, folder: str, searcher: str, seed: int, trials: int,
        fingerprint: Mapping[str, Any], emulated: str | None,
    ) -> StudyRecord:  # fmt: skip
        """A new study without trials."""
        row = _Study(
            name=name, spec=spec, folder=folder, searcher=searcher, seed=seed, trials=trials,
            fingerprint=dict(fingerprint), emulated=emulated, created_at=_now(),
        )  # fmt: skip
        with Session(self._engine) as session, session.begin():
            session.add(row)
            session.flush()
            return _study_record(row)

    def study(self, study_id: int) -> StudyRecord:
        """One study; RunError if there is none of that number."""
        with Session(self._engine) as session:
            row = session.get(_Study, study_id)
            if row is None:
                numbers = session.scalars(select(_Study.id).order_by(_Study.id)).all()
                raise RunError(f"no study {study_id} in {self._engine.url}; there are {list(numbers) or 'none'}")
            return _study_record(row)

    def studies(self) -> tuple[StudyRecord, ...]:
        """All studies, in the order in which they began."""
        with Session(self._engine) as session:
            return tuple(_study_record(row) for row in session.scalars(select(_Study).order_by(_Study.id)))

    def start_trial(
        self, study: StudyRecord, *, purpose: Purpose, position: int, config: Config,
        usd_per_hour: float, emulated: bool,
    ) -> tuple[int, int]:  # fmt: skip
        """Note that a trial has begun.

        Returns:
            Its key in the database and its number within the study.
        """
        with Session(self._engine) as session, session.begin():
            # Counted by the statement that writes it, so that two writers at once never take the same number.
            last = select(func.coalesce(func.max(_Trial.number), 0)).where(_Trial.study_id == study.id)
            row = _Trial(
                study_id=study.id, number=last.scalar_subquery() + 1, purpose=purpose, state="running",
                position=position, config=config, emulated=emulated, started_at=_now(),
                usd_per_hour=None if usd_per_hour != usd_per_hour else usd_per_hour,
            )  # fmt: skip
            session.add(row)
            session.flush()
            return row.id, row.number

    def finish_trial(self, trial_id: int, outcome: Outcome, value: float | None) -> TrialRecord:
        """Keep how a trial ended, in one transaction; a trial that is finished stays as it is."""
        with Session(self._engine) as session, session.begin():
            row = session.get_one(_Trial, trial_id)
            if row.state == "running":
                row.state, row.finished_at = "finished", _now()
                row.metrics = None if outcome.metrics is None else dict(outcome.metrics)
                row.reason, row.value = outcome.reason, value
                row.client_limited, row.hostname = outcome.client_limited, outcome.hostname
                row.settings, row.reported, row.ended = dict(outcome.settings), outcome.reported, outcome.ended
                row.rate_low_rps, row.rate_high_rps = outcome.interval_rps or (None, None)
                row.in_place, row.overhead = outcome.in_place, dict(outcome.overhead)
                row.ended_early, row.lost = outcome.ended_early, outcome.lost
                row.enforcements = [dict(e) for e in outcome.enforcements]
                row.measurements = [_measurement(load) for load in outcome.loads]
                session.flush()
            return _trial_record(row)

    def interrupt_running(self, study: StudyRecord) -> int:
        """Set aside the trials that a killed run left unfinished; returns how many."""
        running = select(_Trial).where(_Trial.study_id == study.id, _Trial.state == "running")
        with Session(self._engine) as session, session.begin():
            rows = session.scalars(running).all()
            for row in rows:
                row.state, row.finished_at = "interrupted", _now()
            return len(rows)

    def trials(self, study: StudyRecord, *, before: dt.datetime | None = None) -> tuple[TrialRecord, ...]:
        """The finished trials of a study in the order of their numbers; those that ended `before`, if given (UTC)."""
        finished = select(_Trial).where(_Trial.study_id == study.id, _Trial.state == "finished")
        if before is not None:
            finished = finished.where(_Trial.finished_at < before)
        with Session(self._engine) as session:
            return tuple(_trial_record(row) for row in session.scalars(finished.order_by(_Trial.number)))


def url_of_file(path: Path) -> URL:
    """The URL of a SQLite file. Not by putting its path into a text: what follows a `?` there would be an option."""
    return URL.create("sqlite", database=str(path.resolve()))


def url_of(text: str) -> URL:
    """A database's URL; RunError if the text is none."""
    try:
        return make_url(text)
    except ArgumentError as error:
        raise _unusable(text, error) from None


def _unusable(url: str | URL, error: Exception) -> RunError:
    return RunError(
        f"cannot use the database {str(url)!r}: {str(error).splitlines()[0]}; "
        "a URL is needed such as sqlite:///history.db, and its driver installed"
    )


def _study_record(row: _Study) -> StudyRecord:
    return StudyRecord(
        id=row.id, name=row.name, spec=row.spec, folder=row.folder, searcher=row.searcher, seed=row.seed,
        trials=row.trials, fingerprint=row.fingerprint, emulated=row.emulated, created_at=row.created_at,
    )  # fmt: skip


def _trial_record(row: _Trial) -> TrialRecord:
    assert row.finished_at is not None, "only finished trials are read"
    outcome = Outcome(
        metrics=row.metrics, reason=row.reason, loads=tuple(m.load for m in row.measurements),
        client_limited=row.client_limited, enforcements=tuple(row.enforcements), hostname=row.hostname,
        settings=row.settings, reported=row.reported, ended=row.ended,
        in_place=row.in_place, ended_early=row.ended_early, overhead=row.overhead or {},
        lost=row.lost, interval_rps=interval_of(row.rate_low_rps, row.rate_high_rps),
    )  # fmt: skip
    return TrialRecord(
        number=row.number, purpose="final" if row.purpose == "final" else "search", position=row.position,
        config=row.config, usd_per_hour=float("nan") if row.usd_per_hour is None else row.usd_per_hour,
        value=row.value, outcome=outcome, seconds=(row.finished_at - row.started_at).total_seconds(),
        emulated=row.emulated,
    )  # fmt: skip


def _measurement(load: Mapping[str, Any]) -> _Measurement:
    times = [dt.datetime.fromtimestamp(load[key], dt.UTC).replace(tzinfo=None) for key in ("started_at", "ended_at")]
    return _Measurement(started_at=times[0], finished_at=times[1], load=dict(load))


def _make_what_is_missing(engine: Engine) -> None:
    """Tables, and columns that a database of an earlier version lacks; all that came later may be null."""
    if not _missing(engine):
        return
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # Another process may be about to make the same: who comes second waits here, and finds it there.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        _Base.metadata.create_all(connection)
        lacking = _missing(connection)
        if foreign := sorted({column.table.name for column in lacking if not column.nullable}):
            raise RunError(
                f"{engine.url} holds {' and '.join(foreign)} of another program, or of a version of this one that is "
                "not known; name another database"
            )
        for column in lacking:
            made = CreateColumn(column).compile(dialect=engine.dialect)
            connection.execute(text(f"ALTER TABLE {column.table.name} ADD COLUMN {made}"))
        connection.commit()


def _missing(database: Engine | Connection) -> list[Column[Any]]:
    """The columns that the database lacks, of tables that it lacks all of them."""
    found = inspect(database)
    there = {table: {c["name"] for c in found.get_columns(table)} for table in found.get_table_names()}
    tables = _Base.metadata.sorted_tables
    return [column for table in tables for column in table.columns if column.name not in there.get(table.name, ())]


def _now() -> dt.datetime:
    """UTC without a zone: what every database stores alike."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


def _durable_sqlite(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
