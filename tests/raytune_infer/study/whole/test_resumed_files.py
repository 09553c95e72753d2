"""A run that is resumed runs the code that it began with, wherever that is now."""

from pathlib import Path

import pytest

from raytune_infer.errors import RunError
from raytune_infer.report.export.serve_config import serve_config
from raytune_infer.store.run_folder import open_run
from raytune_infer.study.fingerprint.file_digests import model_digests
from raytune_infer.study.result import StudyResult
from serve_deployments.replicas.http.payload_type import AS_JSON
from serve_deployments.settings import Settings
from tests.raytune_infer.study.stop_after import Notes, StopAfter
from tests.raytune_infer.study.whole_studies import SPEC, Machine, TuneInProcess, study, without_ray

OWN = SPEC.replace('{build: "cluster.emulated:model", args: {profile: bert-base}}', "{build: 'mine:build'}")
CODE = "import helper\ndef build():\n    return lambda batch: batch\n"


@pytest.fixture(autouse=True)
def in_process(monkeypatch) -> TuneInProcess:
    return without_ray(monkeypatch)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A service with code of its own, in a folder that can be moved."""
    (folder := tmp_path / "old").mkdir()
    (folder / "mine.py").write_text(CODE)
    (folder / "helper.py").write_text("")
    return folder


def searched(result: StudyResult) -> int:
    return sum(t.purpose == "search" for t in result.trials)


def begun(folder: Path, trials: int = 2) -> None:
    with pytest.raises(KeyboardInterrupt):
        study(folder / "run", text=OWN, folder=folder, searcher="random").run(5, progress=StopAfter(trials))


def test_code_does_not_change_in_the_middle(folder, in_process):
    begun(folder)
    in_process.sessions.clear()
    (folder / "helper.py").write_text("faster = True")
    with pytest.raises(RunError, match=r"cannot resume .*run: helper.py changed since .* another --out, or put back"):
        study(folder / "run", (machine := Machine()), OWN, folder=folder).run(resume=True)
    assert machine.asked == in_process.sessions == []  # nobody waits for a cluster to be told
    (folder / "helper.py").write_text("")
    assert searched(study(folder / "run", text=OWN, folder=folder).run(resume=True)) == 5


def test_files_are_read_once_as_a_run_begins_and_once_as_it_ends(folder, monkeypatch):
    read = []

    def spied(service):
        read.append(model_digests(service))
        return read[-1]

    monkeypatch.setattr("raytune_infer.study.fingerprint.fingerprint.model_digests", spied)
    begun(folder)
    assert len(read) == 1
    study(folder / "run", text=OWN, folder=folder).run(resume=True)
    assert len(read) == 3 and set(read[0]) == {"mine.py", "helper.py"}


def test_a_file_that_an_argument_names_does_not_change_either(folder):
    (folder / "mine.py").write_text("def build(weights):\n    return lambda batch: batch\n")
    (folder / "w.bin").write_text("1")
    text = OWN.replace("{build: 'mine:build'}", "{build: 'mine:build', args: {weights: w.bin}}")
    with pytest.raises(KeyboardInterrupt):
        study(folder / "run", text=text, folder=folder, searcher="random").run(5, progress=StopAfter(1))
    (folder / "w.bin").write_text("2")
    with pytest.raises(RunError, match="cannot resume .*run: w.bin changed since"):
        study(folder / "run", text=text, folder=folder).run(resume=True)


def test_a_change_while_trials_run_is_told(folder):
    class Edits(Notes):
        def finished(self, trial):
            (folder / "mine.py").write_text(CODE + "# faster")

    study(folder / "run", text=OWN, folder=folder, searcher="random").run(2, progress=(told := Edits()))
    assert "mine.py changed during the run, so its trials may not be of one model" in told.told
    study(folder / "again", text=OWN, folder=folder, searcher="random").run(2, progress=(quiet := Notes()))
    assert not any("changed" in said for said in quiet.told)


def head_of(run: Path) -> str:
    """The config that `export` would print."""
    database, record = open_run(run).load()
    database.close()
    return serve_config(open_run(run).spec_of(record), Settings(), AS_JSON)


def test_a_run_and_its_service_may_be_moved(folder):
    """It goes on at the new place, and what it exports from then on names that."""
    begun(folder)
    assert "is not on this machine" not in head_of(folder / "run") and f"folder: {folder}" in head_of(folder / "run")
    new = folder.rename(folder.parent / "new")
    assert f"# {folder}, the folder of service.yaml in the run, is not on this machine." in head_of(new / "run")
    assert searched(study(new / "run", text=OWN, folder=new).run(resume=True)) == 5
    assert str(folder) not in head_of(new / "run") and f"folder: {new}" in head_of(new / "run")
