"""`check` says all that a service.yaml would run, read and reach, and runs nothing of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from raytune_infer.commands.app import app
from raytune_infer.errors import SpecError
from raytune_infer.report.words.effects import code_of
from raytune_infer.spec.service import Service
from raytune_infer.spec.service_spec import load_spec
from raytune_infer.study.fingerprint.file_digests import model_digests, named_digests
from serve_deployments.models.loaders import LOADERS
from tests.repository import ROOT

LEAVES = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\n"
BUILT = """\
name: built
model: {build: "own.model:build", args: {name: Qwen/Qwen2.5-0.5B, key: {secret: MY_KEY}, at: "https://x.example/v1"}}
samples: {a.txt: 1, b.txt: 2}
quality: scoring:score
knobs: {cpu_cores: [1], LD_PRELOAD: {kind: env, values: [libtcmalloc.so, none]}, MODE: {kind: env, values: [a, b]}}
objective: {maximize: rps}
load: {arrivals: {trace: trace.csv}}
"""
READ = """\
name: read
model: {path: model}
samples: [x]
knobs: {cpu_cores: [1]}
objective: {maximize: rps}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A service all of whose modules leave a file when they are run."""
    (tmp_path / "own").mkdir()
    for name in ("own/__init__.py", "own/model.py", "scoring.py", "transformers.py", "numpy.py"):
        (tmp_path / name).write_text(LEAVES)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("text\n")
    (tmp_path / "trace.csv").write_text("0\n1\n2\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "model.safetensors").touch()
    (tmp_path / "s.yaml").write_text(BUILT)
    monkeypatch.setenv("MY_KEY", "very secret")
    return tmp_path


def found(folder: Path) -> list[tuple[str, str]]:
    done = CliRunner().invoke(app, ["check", str(folder / "s.yaml"), "--format", "json"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "very secret" not in done.output
    [table] = json.loads(done.stdout)["tables"]
    return [(row["does"], row["what"]) for row in table["rows"]]


def test_all_that_would_run_be_read_and_reached_is_said_and_nothing_runs(folder):
    said = found(folder)
    runs = [what for does, what in said if does == "runs"]
    assert runs == [
        f"own.model:build in {folder / 'own' / 'model.py'}",
        f"scoring:score in {folder / 'scoring.py'}",
        "what LD_PRELOAD=libtcmalloc.so, none may load",
        "what MODE=a, b may load",
    ]
    reads = {what for does, what in said if does == "reads"}
    assert {str(folder / name) for name in ("s.yaml", "a.txt", "b.txt", "trace.csv")} <= reads
    assert "the environment variable MY_KEY" in reads
    reaches = [what for does, what in said if does == "reaches"]
    assert {"Qwen/Qwen2.5-0.5B", "https://x.example/v1", "whatever the code above reaches"} <= set(reaches)
    assert any(what.startswith("runs/built-") for does, what in said if does == "writes")
    assert not list(folder.rglob("*.ran")) and not list(folder.rglob("__pycache__"))


def test_a_service_that_is_only_read_runs_nothing(folder):
    (folder / "s.yaml").write_text(READ)
    said = found(folder)
    assert "runs" not in {does for does, _ in said} and ("reads", str(folder / "model")) in said
    done = CliRunner().invoke(app, ["check", str(folder / "s.yaml")])
    assert "runs no code of this service" in " ".join(done.stdout.split())


@pytest.mark.parametrize("loader", sorted(LOADERS))
def test_a_file_that_is_read_runs_code_only_by_a_loader_that_may_execute_some(folder, loader):
    (folder / "s.yaml").write_text(READ.replace("path: model", f"path: model, loader: {loader}"))
    spec = load_spec(folder / "s.yaml")
    ran = [(effect.what, effect.why) for effect in code_of(spec)]
    may = [(str(folder / "model"), f"model.path: the loader {loader} may execute code from it")]
    assert ran == (may if loader in {"pt2", "torchscript"} else [])


def test_it_refuses_what_a_study_would_refuse(folder):
    (folder / "s.yaml").write_text(READ.replace("path: model", "path: gone"))
    done = CliRunner().invoke(app, ["check", str(folder / "s.yaml")])
    assert done.exit_code == 1 and "does not exist" in str(done.exception)


@pytest.mark.parametrize(("key", "reference"), [("model.build", "own.model:build"), ("quality", "scoring:score")])
@pytest.mark.parametrize("gone", ["gone", "own.gone", "scoring.gone", "gone.model"])
def test_code_whose_module_is_nowhere_is_refused_and_nothing_runs(folder, key, reference, gone):
    (folder / "s.yaml").write_text(BUILT.replace(reference, f"{gone}:name"))
    done = CliRunner().invoke(app, ["check", str(folder / "s.yaml")])
    said = f"{key}: the module {gone!r} of '{gone}:name' is neither in {folder} nor installed"
    assert done.exit_code == 1 and said in str(done.exception)
    assert not list(folder.rglob("*.ran"))


@pytest.mark.parametrize("there", ["json:loads", "sys:exit", "plain.inner.module:build", "tests.repository:ROOT"])
def test_a_module_is_found_where_python_would_find_it(folder, there):
    (folder / "plain" / "inner").mkdir(parents=True)  # folders without __init__.py
    (folder / "plain" / "inner" / "module.py").write_text(LEAVES)
    (folder / "s.yaml").write_text(BUILT.replace("own.model:build", there))
    assert any(what.startswith(f"{there} in ") for does, what in found(folder) if does == "runs")
    assert not list(folder.rglob("*.ran"))


def test_a_secret_that_is_not_set_here_is_a_note(folder, monkeypatch):
    """It may be set where the study runs; `tune` misses it before it starts anything."""
    monkeypatch.delenv("MY_KEY")
    done = CliRunner().invoke(app, ["check", str(folder / "s.yaml")])
    assert done.exit_code == 0
    assert "MY_KEY, which holds the secret model.args.key, is not set here" in " ".join(done.stdout.split())
    (folder / "s.yaml").write_text(READ.replace("path: model", "path: model, args: {key: {secret: MY_KEY}}"))
    with pytest.raises(SpecError, match=r"s.yaml:2: model.args.key: the environment variable MY_KEY, which holds"):
        Service(load_spec(folder / "s.yaml"))


@pytest.mark.parametrize("key", ["samples", "mixed samples", "prices", "trace", "model"])
def test_a_pipe_is_refused_and_not_waited_for(folder, key):
    os.mkfifo(folder / "pipe.txt")
    os.mkfifo(folder / "pipe.onnx")
    text = {
        "samples": READ.replace("samples: [x]", "samples: pipe.txt"),
        "mixed samples": READ.replace("samples: [x]", "samples: {a.txt: 1, pipe.txt: 1}"),
        "prices": READ + "prices: pipe.txt\n",
        "trace": READ + "load: {arrivals: {trace: pipe.txt}}\n",
        "model": READ.replace("path: model", "path: pipe.onnx"),
    }[key]
    (folder / "s.yaml").write_text(text)
    # In a process of its own: one that waits for the pipe has to be ended.
    words = [sys.executable, "-m", "raytune_infer", "check", str(folder / "s.yaml")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "is a pipe, a device or a socket" in " ".join(done.stderr.split()), done.stderr


def test_every_file_that_a_study_reads_for_its_digests_is_said(folder):
    secret = folder.parent / "elsewhere.txt"
    secret.write_text("not theirs")
    (folder / "link.txt").symlink_to(secret)
    (folder / "scoring.py").write_text("import helping\n")
    (folder / "helping.py").write_text(LEAVES)
    named = f"{{kind: env, values: [a.txt, {secret}, link.txt, ../elsewhere.txt]}}"
    (folder / "s.yaml").write_text(BUILT.replace("{kind: env, values: [a, b]}", named))
    service = Service(load_spec(folder / "s.yaml"), runs_code=False)
    digests = {**model_digests(service), **named_digests(service)}
    assert set(digests) == {"own/__init__.py", "own/model.py", "scoring.py", "helping.py", "a.txt"}
    reads = {what for does, what in found(folder) if does == "reads"}
    assert {str(folder / name) for name in digests} <= reads
    assert not {what for what in reads if "elsewhere" in what or "link" in what}
    assert not list(folder.rglob("*.ran"))


def test_what_runs_is_said_by_tune_too(folder):
    said = Service(load_spec(folder / "s.yaml"), runs_code=False).code
    runs = [what.partition(" in ")[0] for does, what in found(folder) if does == "runs"]
    assert len(runs) > 2 and all(what in sentence for what, sentence in zip(runs, said, strict=True))


@pytest.mark.parametrize(
    "written", ["{secret: MY_KEY, header: sk-geheim}", "{Secret: sk-geheim}", "{secret: sk-geheim}", "[{secret: 7}]"]
)
def test_it_refuses_what_looks_like_a_secret_and_is_none_and_does_not_repeat_it(folder, written):
    (folder / "s.yaml").write_text(BUILT.replace("{secret: MY_KEY}", written))
    done = CliRunner().invoke(app, ["check", str(folder / "s.yaml")])
    said = str(done.exception)
    assert done.exit_code == 1 and "s.yaml:2: model.args.key: " in said and "environment variable" in said
    assert "geheim" not in said + done.output


@pytest.mark.parametrize("command", ["check", "tune"])
def test_of_a_service_without_code_no_module_in_its_folder_runs(folder, command):
    """In a process of its own, as the command line is; `tune` ends as its address has no cluster."""
    (folder / "s.yaml").write_text(READ.replace("samples: [x]", "samples: rows.npy"))
    np.save(folder / "rows.npy", np.zeros((2, 3)))
    more = ["--address", "127.0.0.1:1"] if command == "tune" else []
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = "import sys; sys.path.remove(''); from raytune_infer.commands.app import main; main()"
    words = [sys.executable, "-c", code, command, str(folder / "s.yaml"), *more]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == (1 if more else 0) and ("nothing answers at" in done.stderr) == bool(more), done.stderr
    assert not list(folder.rglob("*.ran"))
