"""What a study may learn from: what was finished before it, of its own kind, wherever it is kept."""

import shutil
from pathlib import Path

from raytune_infer.priors.earlier_studies import earlier_studies
from raytune_infer.store.records import Outcome, StudyRecord
from raytune_infer.store.run_folder import RunFolder, open_run
from searchers.registry import LEARNS, NAMED
from tests.raytune_infer.store.earlier_runs import EARLIER

BATCHES = [1, 2, 4, 8]


def begun(
    run: Path, name: str = "s", *, db: str | None = None, knobs: dict | None = None
) -> tuple[RunFolder, StudyRecord]:
    run.mkdir(parents=True)
    database = RunFolder(run, db, 0).database()
    study = database.create_study(
        name=name, spec=f"name: {name}\nfacts: {{parameters_million: 110}}", folder="/", searcher="random", seed=0,
        trials=4, fingerprint={"knobs": knobs or {"max_batch_size": BATCHES}}, emulated=None,
    )  # fmt: skip
    database.close()
    folder = RunFolder(run, db, study.id)
    folder.save()
    return folder, study


def tried(
    run: RunFolder, trials: int, *, emulated: bool = False, failed: bool = False, config: dict | None = None
) -> None:
    database, study = run.load()
    for i in range(trials):
        key, _ = database.start_trial(
            study, purpose="search", position=i, config=config or {"max_batch_size": BATCHES[i]}, usd_per_hour=0.5,
            emulated=emulated,
        )  # fmt: skip
        database.finish_trial(key, Outcome(None, reason="no") if failed else Outcome({"rps": 1.0 + i}), None)
    database.close()


def studied(run: Path, name: str = "s", trials: int = 4, *, db: str | None = None, **how) -> RunFolder:
    folder, _ = begun(run, name, db=db)
    tried(folder, trials, **how)
    return folder


def names(run: RunFolder, study: StudyRecord, *, emulated: bool = False) -> list[str]:
    return [task.name for task in earlier_studies(run, study, emulated=emulated).tasks]


def test_folders_beside_the_run_and_its_database(tmp_path, url):
    shared = url
    studied(tmp_path / "runs" / "z", "first")
    studied(tmp_path / "elsewhere" / "a", "second", db=shared)
    studied(tmp_path / "runs" / "b", "third", db=shared)  # in both, counted once
    studied(tmp_path / "elsewhere" / "c", "unseen")
    assert names(*begun(tmp_path / "runs" / "own", db=shared)) == ["first", "second", "third"]
    # Without the database, no study of it, whatever the folder says that is beside it.
    assert names(*begun(tmp_path / "runs" / "alone")) == ["first"]


def test_of_a_folder_beside_the_run_only_its_own_study_is_read(tmp_path):
    two = studied(tmp_path / "two", "first")
    database = two.database()
    second = database.create_study(
        name="second", spec="", folder="/", searcher="random", seed=0, trials=4,
        fingerprint={"knobs": {"max_batch_size": BATCHES}}, emulated=None,
    )  # fmt: skip
    database.close()
    tried(RunFolder(two.path, None, second.id), 4)
    assert names(*begun(tmp_path / "own")) == ["first"]
    # The whole database, where it is the one that was given.
    assert names(*begun(tmp_path / "given", db=f"sqlite:///{two.path / 'history.db'}")) == ["first", "second"]


def test_what_is_learned_from_is_left_as_it_is_and_no_database_elsewhere_is_opened(tmp_path):
    """A folder beside ours may be anybody's: it does not say what we open, upgrade and write to."""
    shutil.copytree(EARLIER[0] / "done", tmp_path / "runs" / "old")
    elsewhere = tmp_path / "elsewhere.db"
    (tmp_path / "runs" / "theirs").mkdir()
    RunFolder(tmp_path / "runs" / "theirs", f"sqlite:///{elsewhere}", 1).save()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    run, study = begun(tmp_path / "runs" / "own")
    earlier = earlier_studies(run, study, emulated=True)
    assert [task.name for task in earlier.tasks] == ["known"]
    assert any(f"theirs (its database 'sqlite:///{elsewhere}' is not the --db here)" in s for s in earlier.left_out)
    now = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and run.path not in path.parents}
    assert now == before


def test_what_a_source_tells(tmp_path):
    studied(tmp_path / "a", "bert")
    [task] = earlier_studies(*begun(tmp_path / "own"), emulated=False).tasks
    assert (task.group, task.facts) == ("bert", {"parameters_million": 110.0})
    assert [task.space[o.position] for o in task.observed] == [{"max_batch_size": b} for b in BATCHES]
    assert task.observed[1].metrics == {"rps": 2.0, "usd_per_hour": 0.5}


def test_only_what_was_finished_before_it_began(tmp_path):
    running, _ = begun(tmp_path / "running")
    tried(running, 3)
    run, study = begun(tmp_path / "own")
    before = earlier_studies(run, study, emulated=False)
    tried(run, 4)  # never from itself
    tried(running, 4)
    studied(tmp_path / "later")
    after = earlier_studies(run, study, emulated=False)
    for earlier in (before, after):
        assert [len(task.observed) for task in earlier.tasks] == [3]


def test_emulated_and_real_devices_teach_nothing_of_each_other(tmp_path):
    studied(tmp_path / "a", "real")
    studied(tmp_path / "b", "emulated", emulated=True)
    run, study = begun(tmp_path / "own")
    assert names(run, study) == ["real"]
    assert names(run, study, emulated=True) == ["emulated"]


def test_too_little_is_no_lesson(tmp_path):
    studied(tmp_path / "a", trials=2)
    studied(tmp_path / "b", failed=True)
    earlier = earlier_studies(*begun(tmp_path / "own"), emulated=False)
    assert not earlier.tasks and not list(earlier.notes())


def test_what_cannot_be_read_is_told_in_one_note(tmp_path):
    studied(tmp_path / "good")
    old, _ = begun(tmp_path / "old", knobs={"gpu_type": ["T5"]})
    tried(old, 3, config={"gpu_type": "T5"})
    (tmp_path / "gone").mkdir()
    RunFolder(tmp_path / "gone", None, 1).save()
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "run.json").write_text("{")
    broken = studied(tmp_path / "broken")
    Path(broken.path / "history.db").write_bytes(b"no database" * 100)
    RunFolder(studied(tmp_path / "away").path, "nosuchdb://x", 1).save()
    earlier = earlier_studies(*begun(tmp_path / "own"), emulated=False)
    assert [task.name for task in earlier.tasks] == ["s"]
    learning, left_out = earlier.notes()
    assert learning == "learning from 1 earlier study of 1 service: s (4 trials)"
    assert left_out.startswith("not learning from 5 earlier studies: ")
    for said in ("s in old (", "T5", "gone (it has no history.db)", "torn (", "broken (", "away ("):
        assert said in left_out
    assert not (tmp_path / "gone" / "history.db").exists()


def test_the_line_counts_studies_services_and_trials(tmp_path):
    for i, name in enumerate(["minilm", "bert", "minilm", "c", "d", "e", "f"]):
        studied(tmp_path / f"{i}", name, trials=3)
    [line] = earlier_studies(*begun(tmp_path / "own"), emulated=False).notes()
    assert line == (
        "learning from 7 earlier studies of 6 services: minilm (6 trials), bert (3 trials), c (3 trials), "
        "d (3 trials), e (3 trials), 1 more"
    )


def test_a_run_keeps_whether_it_learns(tmp_path):
    RunFolder(tmp_path, None, 1, learns=False).save()
    assert not open_run(tmp_path).learns
    RunFolder(tmp_path, None, 1).save()
    assert open_run(tmp_path).learns
    # Begun before there was such a choice: it learned from nothing.
    (tmp_path / "run.json").write_text('{"database": null, "study": 1}')
    assert not open_run(tmp_path).learns


def test_who_learns_is_a_searcher():
    assert LEARNS.issubset(NAMED)
