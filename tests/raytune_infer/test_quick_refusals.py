"""A refusal is a sentence, and it comes before what takes seconds to import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"ray", "torch", "scipy.stats", "botorch", "matplotlib", "optuna", "hyperopt", "transformers"}

# In one fresh process, as each would take a second to start: what is imported after one command was imported by it or
# by one before it, so each is asked about whatever the earlier ones left.
REFUSALS = """
import json, sys
from raytune_infer.cli import main
found = {}
for words in json.loads(sys.argv[1]):
    sys.argv = ["raytune-infer", *words]
    try:
        main()
    except SystemExit as ended:
        found[" ".join(words)] = [ended.code, sorted(set(json.loads(sys.argv_heavy)) & set(sys.modules))]
print("\\n" + json.dumps(found))
""".replace("sys.argv_heavy", repr(json.dumps(sorted(HEAVY))))

SPEC = """\
name: tiny
model: {path: no-such-folder}
samples: [a text]
knobs: {cpu_cores: [1, 2]}
objective: {maximize: rps}
"""


def in_a_fresh_process(code: str, *words: str, cwd: Path) -> str:
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=cwd, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": root},
    ).stdout  # fmt: skip


def test_no_refusal_waits_for_torch_or_ray(tmp_path):
    (tmp_path / "no-model.yaml").write_text(SPEC)
    (tmp_path / "wrong.yaml").write_text(SPEC.replace("maximize", "maximise"))
    (tmp_path / "builds.yaml").write_text(SPEC.replace("path: no-such-folder", "build: 'cluster.emulated:model'"))
    helps = [["--help"], *([name, "--help"] for name in ("tune", "show", "recommend", "export", "replay"))]
    refusals = [
        ["tune", "wrong.yaml", "--trails", "3"],
        ["tune", "no-such.yaml"],
        ["tune", "wrong.yaml"],
        ["tune", "no-model.yaml"],
        ["tune", "builds.yaml", "--searcher", "no-such"],
        ["tune", "builds.yaml", "--searcher", "random", "--prior", "no-such"],
        ["show", "no-such"],
        ["recommend", "no-such"],
        ["recommend", "no-such", "--limit", "p99_ms"],
        ["export", "no-such"],
        ["replay", "no-such"],
        ["cluster", "--emulate", "no such GPU"],
        ["cluster", "--prices", "no-such"],
    ]
    said = in_a_fresh_process(REFUSALS, json.dumps([*helps, *refusals]), cwd=tmp_path)
    found = json.loads(said.splitlines()[-1])
    assert {words: imported for words, (_, imported) in found.items() if imported} == {}
    assert [found[" ".join(words)][0] for words in helps] == [0] * len(helps)
    assert all(found[" ".join(words)][0] in (1, 2) for words in refusals)


@pytest.mark.parametrize(
    "modules",
    [
        "raytune_infer, raytune_infer.study, raytune_infer.export",
        "raytune_infer.report, raytune_infer.result, raytune_infer.comparing.verdict",
        "raytune_infer.recommending.recommendation_report, raytune_infer.recommending.curve_drawing",
        "serve_deployments.replicas.fakes, serve_deployments.replicas.backend, searchers.named, searchers.base",
    ],
)
def test_what_reads_a_run_or_stands_in_for_a_replica_needs_neither_torch_nor_ray(modules, tmp_path):
    code = f"import json, sys\nimport {modules}\nprint(json.dumps(sorted(sys.modules)))"
    assert not HEAVY & set(json.loads(in_a_fresh_process(code, cwd=tmp_path)))
