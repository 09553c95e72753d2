"""The command line as a user has it: a real emulated cluster, a SIGKILL in the middle, and a deployable answer."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import ray
import yaml

from raytune_infer.commands.app import main

SPEC = """\
name: tiny
model: {build: "cluster.emulated:model", args: {profile: bert-large}}
samples: [a text]
knobs:
  gpu_memory: [0.3, 0.4]  # bert-large fits in both
  gpu_share: [0.5]  # so that each is compared beside another like it
  max_batch_size: [1, 8]
  gpu_type: [V100, H100-SXM]
default: {gpu_memory: 0.4, gpu_share: 0.5, max_batch_size: 1, gpu_type: V100}
objective: {maximize: rps / usd_per_hour}
limits: {p99_ms: 2000}
budget: {trials: 2}
prices: morphling-2021
load: {level_min_s: 0.2, level_max_s: 1, total_max_s: 2}
"""


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "raytune_infer", *words]


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), cwd=cwd, capture_output=True, text=True, env=environment())


def in_process(monkeypatch, capsys, *words: str) -> str:
    """What the command prints, without the seconds that a process of its own takes to import everything."""
    monkeypatch.setattr(sys, "argv", ["raytune-infer", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    return capsys.readouterr().out


def environment() -> dict[str, str]:
    without = {"RAY_ADDRESS"}
    return {k: v for k, v in os.environ.items() if k not in without} | {"PYTHONUNBUFFERED": "1"}


def kill_after_first_trial(words: Sequence[str], cwd: Path) -> None:
    with subprocess.Popen(
        command(*words), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    ) as driver:
        assert driver.stdout is not None
        said = []
        for line in driver.stdout:
            said.append(line)
            if re.match(r" +1/2 ", line):
                break
        else:
            raise AssertionError("".join(said))
        os.kill(driver.pid, signal.SIGKILL)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_study_is_resumed_shown_and_exported(tmp_path, monkeypatch, capsys):
    (tmp_path / "tiny.yaml").write_text(SPEC)
    tune = ["tune", "tiny.yaml", "--emulate", "V100:1", "--searcher", "random", "--out", "run"]
    kill_after_first_trial(tune, tmp_path)

    resumed = run("tune", "tiny.yaml", "--resume", "--out", "run", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "4 configurations left out: needs an H100-SXM" in resumed.stdout
    assert "Recommendation (emulated; means of" in resumed.stdout

    trials = pd.read_csv(tmp_path / "run" / "trials.csv")
    searched = trials[trials.purpose == "search"]
    knobs = ["gpu_memory", "max_batch_size", "gpu_type"]
    assert len(searched) == len(searched.drop_duplicates(knobs)) == 2
    assert trials.emulated.all()
    # Alone in the search, and beside a neighbour in every round of the comparison.
    assert (trials.measured_alone == (trials.purpose == "search")).all()

    monkeypatch.chdir(tmp_path)
    shown = in_process(monkeypatch, capsys, "show", "run")
    assert "2 of 2 trials" in shown and "emulated: the numbers are" in shown
    assert "beside 1 copy of itself on the same GPU under the same load" in " ".join(shown.split())

    exported = in_process(monkeypatch, capsys, "export", "run", "--to", "serve")
    from ray.serve.schema import ServeDeploySchema

    schema = ServeDeploySchema.model_validate(yaml.safe_load(exported))
    [application] = schema.applications
    assert application.name == "tiny"
    best = json.loads((tmp_path / "run" / "recommendation.json").read_text())["best"]["config"]
    assert application.deployments[0].ray_actor_options.num_gpus == 0.5
    assert application.args["settings"]["max_batch_size"] == best["max_batch_size"]


def test_what_the_user_can_mend_is_one_sentence_and_no_traceback(tmp_path):
    refused = run("tune", "nowhere.yaml", cwd=tmp_path)
    assert refused.returncode == 1
    assert "cannot read nowhere.yaml" in refused.stderr.replace("\n", " ")
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "nowhere"], "no run in nowhere"),
        (["export", "nowhere"], "no run in nowhere"),
        (["tune", "tiny.yaml", "--searcher", "magic"], "unknown searcher 'magic'"),
        (["tune", "tiny.yaml", "--resume"], "no run of 'tiny' under runs/"),
        (["tune", "tiny.yaml", "--address", "127.0.0.1:1"], "nothing answers at '127.0.0.1:1'"),
        (["tune", "tiny.yaml", "--emulate", "T5:1"], "T5"),
        (["tune", "tiny.yaml", "--prior", "nowhere"], "cannot read the prior nowhere"),
        (["cluster", "--prices", "nowhere"], "no price book 'nowhere'"),
    ],
)
def test_each_refusal_names_what_is_wrong(tmp_path, words, said, monkeypatch, capsys):
    (tmp_path / "tiny.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # by the tests before this one
    monkeypatch.setattr(sys, "argv", ["raytune-infer", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert said in capsys.readouterr().err.replace("\n", " ")
