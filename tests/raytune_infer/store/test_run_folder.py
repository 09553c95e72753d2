"""A run's folder: where its database is, which of several is meant, and that it can be moved."""

import datetime as dt
import json
import math
import os
import pickle
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from raytune_infer.errors import RunError, SpecError
from raytune_infer.priors.studied_tasks import measured_tasks
from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import parse_spec
from raytune_infer.store import reference_answers
from raytune_infer.store.database_url import absolute, shown_url
from raytune_infer.store.made_on import made_on
from raytune_infer.store.reference_answers import ReferenceAnswers
from raytune_infer.store.run_folder import (
    RunFolder,
    default_folder,
    latest_run,
    make_folder,
    open_run,
    pointed_to,
    runs_in,
)
from serve_deployments.metrics.answers.content import Unanswered
from tests.raytune_infer.store.database_work import begun, run_in


def test_what_is_written_is_read_again(tmp_path):
    for run in (
        RunFolder(tmp_path, None, 3), RunFolder(tmp_path, "sqlite:////all.db", 12, learns=False, prior="mine abc"),
    ):  # fmt: skip
        run.save()
        assert open_run(tmp_path, run.database_url) == run
        assert open_run(str(tmp_path), run.database_url) == run


def test_nothing_is_written_through_the_links_of_a_run_folder(tmp_path):
    """A run's folder may come from somebody else."""
    run_in(tmp_path / "mine")
    theirs, text = tmp_path / "theirs", tmp_path / "notes.txt"
    theirs.mkdir()
    text.write_text("kept")
    (theirs / "run.json").write_bytes((tmp_path / "mine" / "run.json").read_bytes())
    (theirs / "history.db").symlink_to(tmp_path / "mine" / "history.db")
    (theirs / ".lock").symlink_to(text)
    run = open_run(theirs)
    with pytest.raises(RunError, match=r"history\.db is a link to .*mine/history\.db"):
        run.load()
    with pytest.raises(RunError, match=r"cannot lock the run: .*\.lock is no file of its own"), run.locked():
        pass
    assert text.read_text() == "kept" and run.read()[0] == open_run(tmp_path / "mine").read()[0]


def test_a_run_folder_is_for_its_owner_alone_unless_it_has_other_files(tmp_path):
    for folder in (new := tmp_path / "a" / "new", there := tmp_path / "there", used := tmp_path / "used"):
        if folder is not new:
            folder.mkdir(mode=0o755)
    (used / "notes.txt").touch()
    for folder, mode in ((new, 0o700), (there, 0o700), (used, 0o755)):
        make_folder(folder)
        assert stat.S_IMODE(folder.stat().st_mode) == mode


def test_a_lock_keeps_its_content_and_is_for_its_owner(tmp_path):
    run = RunFolder(tmp_path, None, 1)
    with run.locked():
        assert stat.S_IMODE((tmp_path / ".lock").stat().st_mode) == 0o600
        with pytest.raises(RunError, match="another process is at work"), run.locked():
            pass
    (tmp_path / ".lock").write_text("kept")
    with run.locked():
        assert (tmp_path / ".lock").read_text() == "kept"


def test_a_run_that_was_moved_takes_its_database_along(tmp_path):
    run_in(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    database, record = open_run(tmp_path / "there").load()
    assert [t.value for t in database.trials(record)] == [5.0]
    database.close()
    assert not (tmp_path / "here").exists()


def test_the_database_is_the_one_that_was_given_or_the_folders_own(tmp_path, monkeypatch):
    assert str(RunFolder(tmp_path, "sqlite:////all.db", 1).url) == "sqlite:////all.db"
    monkeypatch.chdir(tmp_path)
    own = RunFolder(Path("run"), None, 1).url
    assert (own.drivername, own.database) == ("sqlite", str(tmp_path.resolve() / "run" / "history.db"))
    # One database is one, however it is named.
    assert RunFolder(tmp_path, f"sqlite:///{tmp_path.resolve()}/run/history.db", 2).url == own
    with pytest.raises(RunError, match="cannot use the database 'all.db': "):
        RunFolder(tmp_path, "all.db", 1).database()


@pytest.mark.parametrize("name", ["run?1", "run?mode=ro", "100%41", "a%20b", "a#b", "a&b=c", "späß", "one two", "[1]"])
def test_a_run_s_database_is_in_its_folder_whatever_that_is_called(tmp_path, name):
    run = run_in(tmp_path / name)
    database, record = open_run(run.path).load()
    assert record.id == run.study_id
    database.close()
    assert (run.path / "history.db").stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with pytest.raises(RunError, match="no study with 3 trials that ran"):  # it was found, and has none yet
        measured_tasks([str(run.path / "history.db")])


def test_a_run_is_of_the_study_that_it_names(tmp_path):
    run = run_in(tmp_path / "run")
    database = run.database()
    other = begun(database, "other")
    database.close()
    RunFolder(run.path, None, other.id).save()
    database, record = open_run(run.path).load()
    assert (record.name, database.trials(record)) == ("other", ())
    database.close()
    RunFolder(run.path, None, 99).save()
    with pytest.raises(RunError, match=r"no study 99 in .*; there are \[1, 2\]"):
        open_run(run.path).load()


def test_the_newest_run_of_a_service_by_its_name_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="no run of 'bert' under runs/ to resume"):
        latest_run("bert")
    moments = [dt.datetime(2026, 1, 9, 23, 59, 59), dt.datetime(2026, 1, 10), dt.datetime(2025, 12, 31)]
    folders = [default_folder("bert", moment) for moment in moments]
    others = [default_folder("bert-large", dt.datetime(2027, 1, 1)), Path("runs/xbert-20270101-000000")]
    others.append(Path("runs/bert-20270101-000000-copy"))
    for folder in (*folders, *others):
        folder.mkdir(parents=True)
        RunFolder(folder, None, 1).save()
    default_folder("bert", dt.datetime(2028, 1, 1)).mkdir()  # nothing was begun in it
    assert folders[0] == Path("runs/bert-20260109-235959")
    assert latest_run("bert") == folders[1]
    assert len(runs_in(Path("runs"))) == 6 and runs_in(Path("nowhere")) == []


def test_a_folder_without_a_run_says_where_there_are_some(tmp_path):
    with pytest.raises(RunError, match=r"no run in .* \(it has no run.json\); `raytune-infer tune` makes one$"):
        open_run(tmp_path)
    for name in "gfedcba":
        (tmp_path / name).mkdir()
        RunFolder(tmp_path / name, None, 1).save()
    with pytest.raises(RunError) as error:
        open_run(tmp_path)
    assert str(error.value).endswith("; runs here: " + ", ".join(str(tmp_path / name) for name in "abcde"))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"database": null}', '{"database": null, "study": "x"}', "\xff"])
def test_a_pointer_that_says_nothing_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RunError, match="run.json does not name a database and a study"):
        open_run(tmp_path)


def test_a_run_of_before_there_were_choices_learned_from_nothing(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"database": None, "study": 4}))
    assert open_run(tmp_path) == RunFolder(tmp_path, None, 4, learns=False, prior=None)


def test_a_database_beside_where_a_run_was_begun_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = absolute("sqlite:///all.db")
    assert url == f"sqlite:///{tmp_path / 'all.db'}" and absolute(url) == url
    for other in ("sqlite://", "sqlite:///:memory:", "postgresql+psycopg://u:p@host/x", "no url"):
        assert absolute(other) == other


def test_a_service_that_an_earlier_version_accepted_stays_readable(tmp_path):
    text = "name: old\nmodel: {build: 'json:loads', args: {day: 2024-06-01}}\nsamples: [on]\nknobs: {cpu_cores: [1]}\n"
    text += "objective: {maximize: -p99_ms}\nlimits: {p99_ms: 9}\nload: {find: peak}\n"
    study: Any = SimpleNamespace(spec=text, folder=str(tmp_path))
    spec = RunFolder(tmp_path, None, 1).spec_of(study)
    assert spec.samples == [True] and spec.goal.goal.text == "-p99_ms" and spec.place("knobs").endswith(":4: knobs")
    with pytest.raises(SpecError):
        parse_spec(Document(text, "service.yaml"), folder=tmp_path)


def test_a_database_that_is_gone_is_said_and_not_made_anew(tmp_path):
    run = RunFolder(tmp_path, f"sqlite:///{tmp_path / 'all.db'}", 1)
    with pytest.raises(RunError, match=r"the database of .* is gone: there is no .*all.db; copy it back"):
        run.read()
    with pytest.raises(RunError, match=r"there is no .*history.db"):
        RunFolder(tmp_path, None, 1).load()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["postgresql+psycopg://u:geheim@host/x", "postgresql+psycopg://host/x", None])
def test_a_pointer_is_for_its_owner_alone_and_has_no_password(tmp_path, url):
    before = os.umask(0o022)
    try:
        RunFolder(tmp_path, url, 1).save()
    finally:
        os.umask(before)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert stat.S_IMODE((tmp_path / "run.json").stat().st_mode) == 0o600
    assert "geheim" not in (tmp_path / "run.json").read_text()
    assert open_run(tmp_path, url).database_url == url


def test_a_database_elsewhere_is_opened_only_where_it_is_named(tmp_path):
    """A folder may come from somebody else, with the address of any database in it."""
    other = f"sqlite:///{tmp_path / 'other.db'}"
    (run := tmp_path / "run").mkdir()
    RunFolder(run, f"sqlite:///{tmp_path / 'all.db'}", 1).save()
    with pytest.raises(RunError, match=r"run keeps its study in the database 'sqlite:///.*all.db', which .*add --db"):
        open_run(run)
    with pytest.raises(RunError, match=r"not in 'sqlite:.*other.db', but in the database 'sqlite:.*all.db'; name"):
        open_run(run, other)
    RunFolder(run, None, 1).save()
    with pytest.raises(RunError, match=r"not in 'sqlite:///.*other.db', but in its own folder; leave --db out"):
        open_run(run, other)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_password_is_never_shown():
    assert shown_url("postgresql+psycopg://u:geheim@host/x") == "postgresql+psycopg://u:***@host/x"
    assert shown_url("no url") == "no url" and shown_url(None) is None


def test_two_may_have_a_lock_one_after_the_other(tmp_path):
    run = RunFolder(tmp_path, None, 1)
    with run.locked():
        with pytest.raises(RunError, match="another process is at work on .*; wait for it, or end it"):
            with run.locked():
                raise AssertionError("both have it")
    with pytest.raises(KeyError), run.locked():
        raise KeyError
    with run.locked():
        assert (tmp_path / ".lock").exists()


# --- the reference's answers in it: the same when read again, and reading them runs no code


def test_answers_of_every_kind_are_read_as_they_were_written(tmp_path):
    answers = ({"label": "\ud800 ü\0", "scores": [0.1, 2, None, True, -math.inf]}, np.arange(6, dtype="float16"), b"\0")
    again = (Unanswered("OSError: gone"), np.zeros((2, 0)), "")
    kept = ReferenceAnswers({"precision": "float32"}, "float32", (0, 2, 5), answers, again, "it failed on one")
    reference_answers.write(tmp_path, kept)
    found = reference_answers.read(tmp_path)
    assert found is not None and found.config == {"precision": "float32"} and found.numbers == (0, 2, 5)
    assert found.left_out == "it failed on one"
    assert found.answers[0] == answers[0] and found.answers[2] == b"\0"
    assert found.answers[1].dtype == np.float16 and found.answers[1].tolist() == list(range(6))
    failed, empty, nothing = found.again
    assert failed == again[0] and isinstance(empty, np.ndarray) and empty.shape == (2, 0) and nothing == ""
    assert [path.name for path in tmp_path.iterdir()] == [reference_answers.FILE]


def test_without_a_file_there_are_none(tmp_path):
    assert reference_answers.read(tmp_path) is None


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", pickle.dumps({"answers": print})])
def test_a_file_that_is_something_else_is_refused_and_not_run(tmp_path, content):
    (tmp_path / reference_answers.FILE).write_bytes(content)
    with pytest.raises(
        RunError, match=f"cannot read .*{reference_answers.FILE}: .*remove it, and the default is asked again"
    ):
        reference_answers.read(tmp_path)


def test_those_that_were_answered_twice():
    once = ReferenceAnswers({}, "float32", (0, 2, 5), ("a", "b", "c"), ("a", Unanswered("late"), "c"))
    assert once.repeated == ReferenceAnswers({}, "float32", (0, 5), ("a", "c"), ("a", "c"))
    never = ReferenceAnswers({}, "float32", (0,), ("a",), (Unanswered("late"),))
    assert never.repeated == never


def test_numbers_and_answers_go_together():
    with pytest.raises(ValueError, match="there are 2 samples, 1 and 1 answers"):
        ReferenceAnswers({}, "float32", (0, 1), ("a",), ("a",))


def test_what_a_run_was_made_on_is_kept_each_time_that_it_was_another(tmp_path):
    first, other = {"ray": "2.1", "cores": "2"}, {"ray": "2.2", "cores": "2"}
    run = RunFolder(tmp_path, None, 1)
    for on in (first, first, other, first):
        run = run.mark(concluded=False, made_on=on)
    assert run.mark(concluded=True).made_on == (first, other) == pointed_to(tmp_path).made_on
    assert {"processor", "cores", "Python", "ray", "torch", "raytune-infer"} <= made_on().keys()
