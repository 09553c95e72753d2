"""Commands of README and of docs/your-model.md as they stand there, one after another, on each page's own service.yaml.

The lines of Python too.

What runs trials is a stand-in (`whole_studies`): of the replicas nothing is real, of the commands everything is.
"""

import ast
import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from cluster.inventory import Inventory, Node
from raytune_infer import Study
from raytune_infer.commands.app import app
from tests.docs.test_docs import YOUR_MODEL, blocks, shown_commands, whole_service
from tests.raytune_infer.study.whole_studies import Machine, by_our_clock, without_ray
from tests.repository import ROOT

README = ROOT / "README.md"
NODES = tuple(
    Node(node_id=gpu, hostname=gpu, cpu_cores=8, memory_gib=64.0, gpu_type=gpu, gpus=1.0, gpu_memory_gib=gib)
    for gpu, gib in {"T4": 16.0, "L4": 24.0, "A100-40G": 40.0}.items()
)
PRETENDED = tuple(replace(NODES[0], node_id=gpu, gpu_type=gpu, emulated=True) for gpu in ("T4", "V100", "M60"))


def block(language: str, words: str) -> str:
    [found] = [text for spoken, text in blocks(YOUR_MODEL) if spoken == language and words in text]
    return found


def on(monkeypatch: pytest.MonkeyPatch, *nodes: Node) -> Machine:
    machine = Machine(samples=["one", "another"])
    without_ray(monkeypatch, None, *nodes)
    by_our_clock(monkeypatch, machine.clock)
    monkeypatch.setattr(Study, "_on_ray_serve", lambda self, study: machine.serving(study))
    return machine


def said(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, (words, done.output, done.exception)
    return done.stdout


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The page's own service with its builder, in a folder that is the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "serving.py").write_text(block("python", "def build(checkpoint"))
    (tmp_path / "my-service.yaml").write_text(whole_service())
    (tmp_path / "requests.jsonl").write_text('{"text": "one"}\n{"text": "another"}\n')
    return on(monkeypatch, *NODES)


def test_its_commands_do_what_they_say_one_after_another(service, tmp_path, monkeypatch):
    commands = {(words[0], "--resume" in words): words for words in shown_commands(YOUR_MODEL)}
    book = ROOT / "cluster" / "books" / "cloud-2026.yaml"
    (tmp_path / "mine.yaml").write_text(book.read_text().replace("cloud-2026", "our own prices"))
    tuned = said(*commands["tune", False])
    assert "Recommendation" in tuned and "20/20" in tuned
    trials = pd.read_csv("run/trials.csv")
    assert len(trials[trials.purpose == "search"]) == 20 and trials.could_not_run.isna().all()
    before = len(service.asked)
    assert "Recommendation" in said(*commands["tune", True])
    assert len(service.asked) == before  # nothing was left to do

    assert "20 of 20 trials" in " ".join(said(*commands["show", False]).split())
    ranked = said(*commands["recommend", False])
    best = json.loads(Path("run/recommendation.json").read_text())["best"]["config"]
    assert "p99_ms ≤ 50" in ranked and "our own prices" in ranked
    config = yaml.safe_load(said(*commands["export", False]))
    settings = config["applications"][0]["args"]["settings"]
    assert {name: settings[name] for name in best if name in settings} == {n: best[n] for n in best if n in settings}
    assert settings["args"]["beams"] == best["beams"]

    monkeypatch.setattr("raytune_infer.study.connection.session.ray_session", lambda **options: nullcontext())
    monkeypatch.setattr("cluster.inventory.from_ray", lambda: Inventory(NODES))
    listed = said(*commands["cluster", False])
    assert all(node.gpu_type in listed for node in NODES)


def test_its_lines_of_python_give_what_they_name(service, monkeypatch):
    monkeypatch.setattr("raytune_infer.study.run_start.DEFAULT", "random")  # `meta` has searched this space above
    *statements, last = ast.parse(block("python", "load_spec")).body
    assert isinstance(last, ast.Expr)
    names: dict[str, object] = {}
    exec(compile(ast.Module(statements, []), YOUR_MODEL.name, "exec"), names)
    config, metrics = eval(compile(ast.Expression(last.value), YOUR_MODEL.name, "eval"), names)
    assert set(config) == set(yaml.safe_load(Path("my-service.yaml").read_text())["knobs"])
    assert metrics["rps"] > 0 and metrics["p99_ms"] <= 100


def test_readme_s_service_is_tuned_by_its_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my-service.yaml").write_text(whole_service(README))
    Path("my-model").mkdir()
    for file in ("config.json", "model.safetensors"):
        Path("my-model", file).write_text("{}")
    on(monkeypatch)
    [words] = shown_commands(README)
    assert "Recommendation" in said(*words, "--searcher", "random", "--trials", "3")


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda file: file.stem)
def test_each_example_is_tuned_to_its_end(tmp_path, monkeypatch, file):
    emulated = "--emulate" in file.read_text().splitlines()[1]
    on(monkeypatch, *(PRETENDED if emulated else ()))
    more = ["--emulate", "T4:1,V100:1,M60:1"] if emulated else []
    assert "Recommendation" in said("tune", str(file), *more, "--trials", "3", "--out", str(tmp_path / "run"))
