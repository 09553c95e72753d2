"""What Python can hold and SQL cannot is kept all the same, and alike in every database."""

import math
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from raytune_infer.errors import RunError
from raytune_infer.store.database import Database
from raytune_infer.store.records import Outcome, StudyRecord
from tests.raytune_infer.store.database_work import begun
from tests.raytune_infer.store.raw_tables import rows

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))
"""With NUL and halves of surrogate pairs, which no encoding has."""
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)
of_one_database = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=settings().max_examples // 4,  # each writes three times
)


@pytest.fixture
def database(url):
    opened = Database(url)
    yield opened
    opened.close()


def finished(database: Database, study: StudyRecord, outcome: Outcome, value: float | None = None, **how: Any):
    """The trial as it was said to be kept, and as it is read."""
    given: dict[str, Any] = {"purpose": "search", "position": 0, "config": {}, "usd_per_hour": 1.0, "emulated": False}
    key, number = database.start_trial(study, **{**given, **how})
    told = database.finish_trial(key, outcome, value)
    [read] = [trial for trial in database.trials(study) if trial.number == number]
    return told, read


@of_one_database
@given(ANY_TEXT)
@example("\x00")
@example("a path of \udcff")
@example("\x1a0000")
@example("\\u0000 \\ud800 \x1a")
@example("x" * 5000)
def test_any_text_comes_back(database, words):
    study = database.create_study(
        name=words, spec=words, folder=words, searcher=words, seed=0, trials=1, fingerprint={}, emulated=words
    )
    assert database.study(study.id) == study
    assert (study.name, study.spec, study.folder, study.searcher, study.emulated) == (words,) * 5
    outcome = Outcome(None, reason=words, ended=words, hostname=words, lost=words)
    told, read = finished(database, study, outcome)
    assert told.outcome == read.outcome == outcome


def same(a: Any, b: Any) -> bool:
    """Equal, and NaN is NaN."""
    match a, b:
        case float(), float():
            return a == b or math.isnan(a) and math.isnan(b)
        case dict(), dict():
            return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
        case list(), list():
            return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@of_one_database
@given(ANY_JSON)
@example([math.nan, math.inf, -math.inf, {"deep": [math.nan]}])
@example({"\x00": "\x00", "\ud800": "\udfff"})
@example({"$float": "nan", "and": 1})
@example({"$float": "other"})
def test_any_json_comes_back(database, value):
    study = begun(database)
    outcome = Outcome({"rps": value}, settings={"a": value}, enforcements=({"b": value},), overhead={"c": value})
    _, read = finished(database, study, outcome, config={"knob": value})
    for kept in (
        read.config["knob"], read.outcome.metrics["rps"], read.outcome.settings["a"],
        read.outcome.enforcements[0]["b"], read.outcome.overhead["c"],
    ):  # fmt: skip
        assert same(kept, value)


def test_what_is_kept_is_json(database, url):
    """So that a program of one's own can ask for what is in it: neither database could read `NaN`."""
    finished(database, begun(database), Outcome({"rps": 4.0, "p99_ms": math.inf, "cv": math.nan}))
    question = "metrics ->> '$.rps'" if url.startswith("sqlite") else "metrics ->> 'rps'"
    assert [float(rps) for (rps,) in rows(url, f"SELECT {question} FROM trials")] == [4.0]


def test_nan_in_json_of_an_earlier_version_is_read(sqlite_url):
    database = Database(sqlite_url)
    study = begun(database)
    finished(database, study, Outcome({"rps": 4.0}))
    engine = create_engine(sqlite_url)
    with engine.begin() as connection:
        connection.execute(text("""UPDATE trials SET metrics = '{"rps": NaN, "p99_ms": -Infinity}'"""))
    engine.dispose()
    [trial] = database.trials(study)
    assert same(dict(trial.metrics), {"rps": math.nan, "p99_ms": -math.inf})
    database.close()


def test_a_number_that_is_none_is_unknown_and_an_infinity_stays(database):
    study = begun(database)
    outcome = Outcome({}, interval_rps=(math.nan, math.nan))
    for trial in finished(database, study, outcome, math.nan, usd_per_hour=math.nan):
        assert (trial.value, trial.outcome.interval_rps) == (None, None) and math.isnan(trial.usd_per_hour)
    for trial in finished(database, study, Outcome({"rps": 1.0}, interval_rps=(0.5, math.inf)), -math.inf):
        assert (trial.value, trial.outcome.interval_rps) == (-math.inf, (0.5, math.inf))
    smallest, largest = sys.float_info.min, sys.float_info.max
    for trial in finished(database, study, Outcome({"rps": 1.0}, interval_rps=(smallest, largest)), 0.1 + 0.2):
        assert (trial.value, trial.outcome.interval_rps) == (0.1 + 0.2, (smallest, largest))


@pytest.mark.parametrize("seed", [0, 2**31, 2**63 - 1, 2**63, 10**30])
def test_a_seed_is_kept_as_it_is_or_refused_in_words(database, seed):
    words: dict[str, Any] = {"name": "s", "spec": "", "folder": "", "searcher": "x", "trials": 1, "emulated": None}
    if seed >= 2**63:
        with pytest.raises(RunError, match=f"the seed {seed} cannot be kept .* at most {2**63 - 1}"):
            database.create_study(seed=seed, fingerprint={}, **words)
        assert database.studies() == ()
    else:
        assert database.study(database.create_study(seed=seed, fingerprint={}, **words).id).seed == seed
