"""docs/contributing.md does what it says: each file and line that it shows is put where the page puts it, and used.

What belongs into this repository is put into a copy of it, and used there by processes of their own.
"""

import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import parse_spec
from searchers.contract import CHECKS
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.models.model import Builder
from tests.repository import ROOT
from tests.serve_deployments.replicas.test_backend import CONTRACT, QUICK

PAGE = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
PACKAGES = ("raytune_infer", "searchers", "serve_deployments", "cluster")


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def file_of(heading: str) -> tuple[str, str]:
    """The path and the text of the file that a section shows."""
    found = re.search(r"file is `([^`]+)`:\n\n```python\n(.*?)^```$", section(heading), re.M | re.S)
    assert found is not None
    return found[1], found[2]


def line_of(heading: str) -> tuple[str, str, str]:
    """The table that a section's line stands in, the file of that table, and the line."""
    found = re.search(r"line is in `(\w+)` of `([^`]+)`[^`]*```text\n(.*?)^```$", section(heading), re.M | re.S)
    assert found is not None
    return found[1], found[2], found[3]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the packages and of their tests."""
    for name in (*PACKAGES, "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def contributed(copy: Path, heading: str) -> None:
    """The section's file, and its line as the first of its table."""
    path, text = file_of(heading)
    assert not (copy / path).exists()
    (copy / path).write_text(text, encoding="utf-8")
    table, listed_in, line = line_of(heading)
    registry = copy / listed_in
    opened = rf"^({table}\b.*[({{]\n(?: +[({{]\n)*)( +)"
    text, found = re.subn(opened, rf"\1\2{line.strip()}\n\2", registry.read_text(encoding="utf-8"), flags=re.M)
    assert found == 1
    registry.write_text(text, encoding="utf-8")


def python(copy: Path, *words: str) -> str:
    """What a process says that has the copy in place of this repository."""
    env = os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run([sys.executable, *words], cwd=copy, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


STUDY = """\
from pathlib import Path
from pytest import MonkeyPatch
from tests.raytune_infer.study.whole_studies import study, without_ray

without_ray(MonkeyPatch())
result = study(Path("run"), searcher="hill-climbing", history=False).run(12)
print(result.best.config)
"""


def test_a_searcher_is_a_file_and_a_line_keeps_the_contract_and_searches(copy):
    contributed(copy, "A searcher")
    # Its stored choices are what the page leaves to a command.
    chosen = "hill-climbing and not stored"
    told = python(copy, "-m", "pytest", "-p", "no:cacheprovider", "tests/searchers/test_contract.py", "-k", chosen)
    assert int(re.findall(r"(\d+) passed", told)[0]) >= 10
    [own] = re.findall(r"^```python\n(import pytest\n.*?)^```$", section("A searcher"), re.M | re.S)
    (copy / "test_own_searcher.py").write_text(own, encoding="utf-8")
    told = python(copy, "-m", "pytest", "-p", "no:cacheprovider", "test_own_searcher.py")
    assert int(re.findall(r"(\d+) passed", told)[0]) == len(CHECKS)
    assert python(copy, "-c", STUDY).strip().endswith("{'cpu_cores': 1, 'max_batch_size': 64}")


LOADED = """\
from raytune_infer import load_spec
from raytune_infer.spec.service import Service
from serve_deployments.models.context import ModelContext
from serve_deployments.models.model import load

service = Service(load_spec("service.yaml"))
print([row.tolist() for row in load(service.source, {}, ModelContext())(service.samples)])
"""
SERVICE = """\
name: linear
model: {path: weights.npz}
samples: [[1, 2], [0, 1]]
knobs: {max_batch_size: [1, 4]}
objective: {maximize: rps}
"""


def test_a_loader_is_a_file_and_a_line_and_serves_what_it_reads(copy):
    contributed(copy, "A loader")
    (copy / "service.yaml").write_text(SERVICE)
    np.savez(copy / "weights.npz", weight=np.array([[1, 0, 2], [0, 1, 3]], "f4"), bias=np.array([0, 0, 1], "f4"))
    assert python(copy, "-c", LOADED).strip() == "[[1.0, 2.0, 9.0], [0.0, 1.0, 4.0]]"
    np.savez(copy / "weights.npz", weight=np.array([[1, 0]], "f4"))
    with pytest.raises(AssertionError, match=r"service.yaml:2: model: .*weights.npz has no bias; save both"):
        python(copy, "-c", LOADED)


def model(behaviour="works"):
    """A model that loads, or does not."""
    if behaviour != "works":
        raise RuntimeError("weights are missing")
    return lambda payloads: payloads


@pytest.fixture
def in_process(tmp_path, monkeypatch):
    """The module that the page shows."""
    path, text = file_of("A backend")
    (tmp_path / path).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield import_module("in_process")
    del sys.modules["in_process"]


SOURCE = Builder(f"{__name__}:model")


class Kit:
    """The page's backend under the contract's terms."""

    def __init__(self, module):
        self.backend = module.InProcess(SOURCE)
        self.measure = module.FromHere(LoadTest(QUICK), ["a"])

    def left(self):
        return self.backend.alive


@pytest.mark.parametrize("kept", CONTRACT)
def test_a_backend_keeps_the_contract(in_process, kept):
    kept(Kit(in_process))


def test_a_study_runs_on_a_backend_of_one_s_own(in_process, tmp_path, monkeypatch):
    from tests.raytune_infer.study.whole_studies import without_ray

    without_ray(monkeypatch)
    text = SERVICE.replace("{path: weights.npz}", f'{{build: "{__name__}:model"}}')
    spec = parse_spec(Document(text.replace("knobs", "budget: {trials: 2}\nknobs"), "s.yaml"), folder=tmp_path)
    monkeypatch.chdir(tmp_path)
    line = re.findall(r"study is made:\n\n```python\nresult = (.*?)\n```", section("A backend"), re.S)[0]
    from raytune_infer import Study

    names = {"Study": Study, "spec": spec, "in_process": in_process.in_process, "source": SOURCE, "samples": [[1]],
             "LoadTest": LoadTest, "LoadPlan": lambda: QUICK}  # fmt: skip
    result = eval(line, names)
    assert len([t for t in result.trials if t.purpose == "search"]) == 2
    assert all(t.outcome.metrics["rps"] > 0 for t in result.trials)


MEASURED = """\
from pathlib import Path
from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import parse_spec
from serve_deployments.fakes.streaming_replica import FakeStreamingServer
from serve_deployments.fakes.virtual_replicas import VirtualClock, run_virtual
from searchers.contract import CHECKS
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.settings import Settings

spec = parse_spec(Document(Path("service.yaml").read_text(), "service.yaml"), folder=Path())
test = LoadTest(LoadPlan(), spec.latency_limits)
server = FakeStreamingServer(first_s=0.002, part_s=0.002, parts=5)
print(run_virtual(test.run(server, ["x"], Settings(), clock=VirtualClock())).metrics["from_send_p99_ms"] <= 30)
"""


def test_a_metric_is_a_line_and_can_be_limited(copy):
    [path] = re.findall(r"goes at the end of `([^`]+)`", section("A metric"))
    [line] = re.findall(r"```text\n(.*?)^```$", section("A metric"), re.M | re.S)
    (copy / "service.yaml").write_text(f"{SERVICE}limits: {{from_send_p99_ms: 30}}\n")
    np.savez(copy / "weights.npz", weight=np.array([[1, 0]], "f4"))
    with pytest.raises(AssertionError, match="limits.from_send_p99_ms: 'from_send_p99_ms' is not measured"):
        python(copy, "-c", MEASURED)
    (copy / path).write_text((copy / path).read_text(encoding="utf-8") + line, encoding="utf-8")
    assert python(copy, "-c", MEASURED).strip() == "True"


def test_a_renderer_is_a_file_and_a_line_and_shows_what_every_command_says(copy):
    contributed(copy, "A renderer")
    shown = python(copy, "-m", "raytune_infer", "cluster", "--format", "markdown")
    assert "| --- |" in shown
    [path] = re.findall(r"file is `([^`]+)`", section("A renderer"))
    assert python(copy, "-c", TYPED, path) == "## \\[/INST\\]\n\n| a\\|b, ms |\n| --- |\n| – |\n\n- 1 \\* 2\n"


TYPED = """\
import sys
from raytune_infer.report.renderers import renderer_of
from raytune_infer.report.view import Column, Note, Row, Table, View

table = Table("t", (Column("a_b", "a|b", "ms"),), (Row((None,)),))
renderer_of("markdown")(View("[/INST]", tables=(table,), notes=(Note("1 * 2"),)), sys.stdout)
"""
