"""A refusal is a sentence, and it comes before what takes seconds to import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import ROOT

HEAVY = {"ray", "torch", "scipy.stats", "botorch", "matplotlib", "optuna", "hyperopt", "transformers"}

# In one fresh process, as each would take a second to start: what is imported after one command was imported by it or
# by one before it, so each is asked about whatever the earlier ones left.
REFUSALS = """
import contextlib, io, json, sys
from raytune_infer.commands.app import main
found = []
for words in json.loads(sys.argv[1]):
    sys.argv, said = ["raytune-infer", *words], io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main()
    except SystemExit as ended:
        found.append([ended.code, said.getvalue(), sorted(set(HEAVY) & set(sys.modules))])
print("\\n" + json.dumps(found))
""".replace("HEAVY", repr(sorted(HEAVY)))

SPEC = """\
name: tiny
model: {path: no-such-folder}
samples: [a text]
knobs: {cpu_cores: [1, 2]}
objective: {maximize: rps}
"""
MODEL = "def build():\n    return lambda payloads: payloads\n"

REFUSED = {
    "tune wrong.yaml --trails 3": "No such option: --trails",
    "tune no-such.yaml": "no-such.yaml",
    "tune wrong.yaml": "wrong.yaml:5: objective",
    "tune no-model.yaml": "no-such-folder",
    "tune works.yaml --searcher no-such": "unknown searcher 'no-such'",
    "tune works.yaml --searcher random --prior no-such": "--prior",
    "tune works.yaml --out full": "full already has a run; continue it with --resume",
    "tune works.yaml --out works.yaml": "cannot create a run in works.yaml",
    "tune works.yaml --out works.yaml/run": "cannot create a run in works.yaml/run: works.yaml is not a writable",
    "tune works.yaml --out none --resume": "no run in none",
    "tune works.yaml --resume": "no run of 'tiny' under runs/ to resume",
    "tune works.yaml --db bogus": "cannot use the database 'bogus'",
    "tune works.yaml --db sqlite:///no-such/history.db": "/no-such/history.db': (sqlite3.OperationalError) unable",
    "tune works.yaml --db no-driver://localhost/history": "cannot use the database 'no-driver://localhost/history'",
    "tune works.yaml --emulate T4": "'tiny' is a real model, but GPUs of this cluster are emulated",
    "tune works.yaml --emulate FOO:1": "--emulate FOO:1: ",
    "tune works.yaml --emulate T4 --address 127.0.0.1:1": "--emulate starts its own local cluster",
    "tune works.yaml --address 127.0.0.1:1": "nothing answers at '127.0.0.1:1'",
    "show no-such": "no run in no-such",
    "report no-such": "no run in no-such",
    "report no-such -o report.html": "no run in no-such",
    "report no-such --watch -o report.html": "--watch shows the report to a browser, and writes no file",
    "report no-such --watch --format json": "leave out --out and --format, or --watch",
    "show no-such --format xml": "--format xml: there are console, json, csv",
    "recommend no-such": "no run in no-such",
    "recommend full --limit p99_ms": "p99_ms",
    "export no-such": "no run in no-such",
    "replay no-such": "no-such",
    "cluster --emulate no-such-GPU": "no-such-GPU",
    "cluster --prices no-such": "no-such",
    "meta-train --out weights --from no-such": "no run in no-such",
}
"""Command → what it is refused with."""


def in_a_fresh_process(code: str, *words: str, cwd: Path) -> str:
    root = str(ROOT)
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=cwd, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": root},
    ).stdout  # fmt: skip


def test_no_refusal_waits_for_torch_or_ray_or_leaves_anything_behind(tmp_path):
    works = SPEC.replace("path: no-such-folder", "build: 'tiny_model:build'")
    files = {"no-model.yaml": SPEC, "wrong.yaml": SPEC.replace("maximize", "maximise"), "works.yaml": works}
    for name, text in (files | {"tiny_model.py": MODEL, "full/run.json": "{}"}).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = {*tmp_path.rglob("*")}
    helps = [["--help"], *([name, "--help"] for name in ("tune", "show", "recommend", "export", "replay"))]
    refusals = [command.split() for command in REFUSED]
    found = json.loads(in_a_fresh_process(REFUSALS, json.dumps([*helps, *refusals]), cwd=tmp_path).splitlines()[-1])
    assert [code for code, _, _ in found] == [0] * len(helps) + [2] + [1] * (len(refusals) - 1)
    said = {
        command: " ".join(words.split()) for command, (_, words, _) in zip(REFUSED, found[len(helps) :], strict=True)
    }
    assert {command: words for command, words in said.items() if REFUSED[command] not in words} == {}
    assert {" ".join(w): heavy for w, (_, _, heavy) in zip([*helps, *refusals], found, strict=True) if heavy} == {}
    assert {p for p in tmp_path.rglob("*") if "__pycache__" not in p.parts} == before


@pytest.mark.parametrize(
    "modules",
    [
        "raytune_infer, raytune_infer.study.study",
        "raytune_infer.report.export.serve_config, raytune_infer.report.export.trust",
        "raytune_infer.report.study_report, raytune_infer.study.result, raytune_infer.comparing.comparison_dict",
        "raytune_infer.report.recommendation_report, raytune_infer.report.renderers.curve_drawing",
        "serve_deployments.fakes.virtual_replicas, serve_deployments.backend, searchers.registry, searchers.base",
    ],
)
def test_what_reads_a_run_or_stands_in_for_a_replica_needs_neither_torch_nor_ray(modules, tmp_path):
    code = f"import json, sys\nimport {modules}\nprint(json.dumps(sorted(sys.modules)))"
    assert not HEAVY & set(json.loads(in_a_fresh_process(code, cwd=tmp_path)))
