"""What a user does from first to last, with a model of our own: tune it, lose the process, go on, look, export, deploy,
and ask the deployed model over HTTP."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from raytune_infer.commands.app import app

MODEL = """\
def build(factor):
    return lambda numbers: [factor * number + 1 for number in numbers]
"""
SPEC = """\
name: tripled
model: {build: "tripling:build", args: {factor: 3}}
samples: [1, 2, 3]
knobs: {max_batch_size: [1, 4], batch_wait_ms: [0, 2]}
default: {max_batch_size: 4, batch_wait_ms: 2}
objective: {maximize: rps}
budget: {trials: 3, compare_s: 1.0e-6}
load: {level_min_s: 0.2, level_max_s: 0.5, total_max_s: 1, max_concurrency: 8}
"""
NOT_UP = "timed out during startup|Ray did not start within|Failed to bind to address|[Pp]roxies not available"
DEPLOY = """\
import socket
import sys
import ray
import yaml
from ray.serve._private.api import serve_start
from ray.serve.schema import ServeDeploySchema

config = ServeDeploySchema.model_validate(yaml.safe_load(open(sys.argv[1])))
with socket.create_server(("127.0.0.1", 0)) as free:
    config.http_options.port = free.getsockname()[1]
ray.init(address="local", include_dashboard=False, log_to_driver=False)
client = serve_start(http_options=config.http_options.model_dump(), proxy_location=config.proxy_location)
client.deploy_apps(config, _blocking=True)
print("deployed at", config.http_options.port, flush=True)
sys.stdin.readline()
"""
"""What `serve run` does with a config, but at a free port; and it waits until the application runs, and says so."""


@contextmanager
def started(
    *words: str, alone: Callable[[], AbstractContextManager[None]], cwd: Path, until: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process and what it has said until a line had what is wanted; it is gone afterwards, whatever happens.

    Up to twice more where its Ray was not up in time: the bound is Ray's own, and busy machines break it (as in
    conftest); or where something else took the port between its being found and used.

    Args:
        words: what is run.
        alone: what to be in until then, as no other Ray may start meanwhile.
        cwd: where.
        until: a pattern of the line that is wanted.
    """
    outside = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"PYTHONUNBUFFERED": "1"}
    for attempts_left in (2, 1, 0):
        process = subprocess.Popen(
            words,
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=outside,
        )
        try:
            with alone():
                found, said = told(process, until)
            if not found and attempts_left and re.search(NOT_UP, said):
                continue
            assert found, f"it ended without {until!r}:\n{said}"
            yield process, said
            return
        finally:
            process.kill()
            process.communicate()


def told(process: subprocess.Popen[str], wanted: str) -> tuple[bool, str]:
    """Whether the process says what is wanted, and all that it said until then."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if re.search(wanted, line):
            return True, "".join(said)
    return False, "".join(said)


def tuned(*more: str) -> Sequence[str]:
    return (sys.executable, "-m", "raytune_infer", "tune", "tripled.yaml", "--out", "run", *more)


def printed(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def answered(port: int, number: int) -> object:
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/", json.dumps(number).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return json.load(answer)


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_model_is_tuned_killed_resumed_shown_exported_deployed_and_asked(tmp_path, monkeypatch, ray_starts_alone):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tripling.py").write_text(MODEL)
    (tmp_path / "tripled.yaml").write_text(SPEC)
    alone = ray_starts_alone
    with started(*tuned("--searcher", "random"), alone=alone, cwd=tmp_path, until=r"^ +1/3 ") as (driver, _):
        os.kill(driver.pid, signal.SIGKILL)
    before = printed("show", "run")
    assert "1 of 3 trials, searcher random" in " ".join(before.split())

    up = r"the run's folder is run|Serve config: +run/serve_config.yaml"
    with started(*tuned("--resume"), alone=alone, cwd=tmp_path, until=up) as (driver, said):
        said += driver.communicate()[0]
        assert "2/3" in said and "3/3" in said and "Recommendation" in said
        assert driver.wait() == 0
    trials = pd.read_csv(tmp_path / "run" / "trials.csv")
    searched = trials[trials.purpose == "search"]
    assert len(searched) == len(searched.drop_duplicates(["max_batch_size", "batch_wait_ms"])) == 3
    assert searched.could_not_run.isna().all() and (trials.rps > 0).all() and not trials.emulated.any()
    best = json.loads((tmp_path / "run" / "recommendation.json").read_text())["best"]["config"]

    assert "3 of 3 trials" in " ".join(printed("show", "run").split())
    assert "max_batch_size" in printed("recommend", "run", "--limit", "p99_ms=60000")
    exported = printed("export", "run")
    assert exported == (tmp_path / "run" / "serve_config.yaml").read_text()

    config = yaml.safe_load(exported)
    settings = config["applications"][0]["args"]["settings"]
    assert {name: settings[name] for name in best} == best
    deploy = sys.executable, "-c", DEPLOY, "run/serve_config.yaml"
    with started(*deploy, alone=alone, cwd=tmp_path, until=r"^deployed at \d+$") as (_, said):
        port = int(said.split()[-1])
        assert [answered(port, number) for number in (0, 1, 14)] == [1, 4, 43]
