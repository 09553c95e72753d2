"""What a study says and refuses as it begins: of its cluster, its space and its default."""

from zipfile import ZipFile

import pytest
import ray

from cluster.inventory import Node
from raytune_infer.errors import NothingFits, RunError, UserError
from raytune_infer.store.run_folder import open_run, refuse_taken
from tests.raytune_infer.study.stop_after import Notes, StopAfter
from tests.raytune_infer.study.whole_studies import NODE, SPEC, Machine, study, without_ray

EMULATED = Node(
    node_id="b", hostname="b", cpu_cores=4, memory_gib=8.0, gpu_type="T4", gpus=1.0, gpu_memory_gib=16.0, emulated=True
)

REAL = SPEC.replace('"cluster.emulated:model", args: {profile: bert-base}', '"collections:Counter"')


def test_a_real_model_is_not_measured_on_devices_that_are_emulated(tmp_path, monkeypatch):
    without_ray(monkeypatch, None, EMULATED)
    with pytest.raises(UserError, match="'known' is a real model, but GPUs of this cluster are emulated"):
        study(tmp_path / "run", text=REAL, searcher="random").run()
    assert not (tmp_path / "run").exists()
    result = study(tmp_path / "emulated", searcher="random").run()
    assert all(trial.emulated for trial in result.trials)
    without_ray(monkeypatch)
    result = study(tmp_path / "real", text=REAL, searcher="random").run()
    assert not any(trial.emulated for trial in result.trials)


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (SPEC, {"out": "taken"}, "taken already has a run; continue it with --resume, or choose another --out"),
        (SPEC, {"out": "file/run"}, "file/run: .*file is not a writable folder; choose another --out"),
        (SPEC, {"out": "run", "db": "sqlite:////nowhere/there/h.db"}, "nowhere/there"),
        (REAL, {"out": "run", "emulate": "T4:1"}, "'known' is a real model, but GPUs of this cluster are emulated"),
    ],
)
def test_what_stands_in_the_way_is_said_before_a_cluster_is_started(tmp_path, monkeypatch, text, options, said):
    instead = without_ray(monkeypatch)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    (tmp_path / "file").write_text("")
    study(tmp_path / "taken", searcher="random").run(1)
    instead.sessions.clear()
    out = tmp_path / options.pop("out")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=said):
        study(out, text=text, searcher="random", **options).run()
    assert instead.sessions == [] and sorted(tmp_path.rglob("*")) == before


def test_where_a_run_may_go(tmp_path):
    (tmp_path / "file").write_text("")
    refuse_taken(tmp_path)
    refuse_taken(tmp_path / "new" / "and" / "newer")
    with pytest.raises(RunError, match="file is not a writable folder"):
        refuse_taken(tmp_path / "file")
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(RunError, match="already has a run"):
        refuse_taken(tmp_path)


def test_what_does_not_fit_is_told_and_left_out(tmp_path, monkeypatch):
    without_ray(monkeypatch)
    text = SPEC.replace("cpu_cores: [1, 2, 4]", "cpu_cores: [8, 2, 4]")
    result = study(tmp_path / "run", machine := Machine(), text, searcher="random").run(12, progress=(notes := Notes()))
    assert any(told.startswith("4 configurations left out: needs 8 cores") for told in notes.told)
    assert f"the run's folder is {tmp_path / 'run'}" in notes.told
    # The first value of every knob is the default, and this one fits nowhere.
    assert "the default configuration does not fit on this cluster: nothing to compare with" in notes.told
    assert result.default is None and result.ratio is None
    assert {settings.cpu_cores for _, settings, _ in machine.asked} == {2, 4}
    with pytest.raises(
        NothingFits, match="no configuration of 'known' fits on this cluster: 4 configurations: needs 8"
    ):
        study(tmp_path / "none", text=SPEC.replace("[1, 2, 4]", "[8]"), searcher="random").run()


def test_where_all_is_well_nothing_but_the_folder_and_what_is_run_is_told(tmp_path, monkeypatch):
    without_ray(monkeypatch, None, NODE)
    result = study(tmp_path / "run", searcher="random").run(progress=(notes := Notes()))
    runs = "this runs cluster.emulated:model, with . first on Python's path"
    assert sorted(notes.told) == sorted([f"the run's folder is {tmp_path / 'run'}", runs])
    assert result.prices.startswith("cloud-2026, 20") and result.run.path == tmp_path / "run"


def test_a_resume_asks_for_the_cluster_that_the_run_began_with(tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    instead = without_ray(monkeypatch, None, EMULATED)
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "run", searcher="random", emulate="T4:1", folder=tmp_path).run(progress=StopAfter(2))
    study(tmp_path / "run", folder=tmp_path).run(resume=True)
    study(tmp_path / "run", folder=tmp_path, emulate="T4:1").run(resume=True)
    asked = {
        "address": None,
        "emulate": "T4:1",
        "folder": tmp_path,
        "runs_code": True,
        "modules": ("cluster.emulated",),
    }
    assert instead.sessions == [asked] * 3
    database, record = open_run(tmp_path / "run").load()
    database.close()
    assert record.emulated == "T4:1"


def test_a_cluster_of_the_users_may_be_another_for_the_resume(tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    instead = without_ray(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "run", searcher="random", address="auto").run(progress=StopAfter(2))
    study(tmp_path / "run").run(resume=True)
    study(tmp_path / "run", address="auto").run(resume=True)
    assert [asked["address"] for asked in instead.sessions] == ["auto", None, "auto"]
    assert all(asked["emulate"] is None for asked in instead.sessions)


@pytest.mark.parametrize(("file", "loader"), [("a.pt2", "pt2"), ("a.pt", "torchscript"), ("a.onnx", None)])
def test_who_serves_a_file_that_may_execute_code_is_warned_at_every_start(tmp_path, monkeypatch, file, loader):
    without_ray(monkeypatch)
    with ZipFile(tmp_path / file, "w") as archive:  # of which nothing is read before a replica is
        archive.writestr("a/constants.pkl", "")
    model = f"path: {file}" + (f", loader: {loader}" if loader else "")
    text = SPEC.replace('build: "cluster.emulated:model", args: {profile: bert-base}', model)
    begun, resumed = Notes(1), Notes()
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "run", text=text, folder=tmp_path, searcher="random").run(2, progress=begun)
    study(tmp_path / "run", text=text, folder=tmp_path).run(resume=True, progress=resumed)
    warning = (
        f"loader {loader!r} may execute code from {tmp_path / file}: go on only if you trust where the file comes "
        "from; safetensors and onnx execute none"
    )
    for notes in (begun, resumed):
        assert [told for told in notes.told if "folder" not in told] == ([warning] if loader else [])
