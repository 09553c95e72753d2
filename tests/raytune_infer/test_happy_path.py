"""What a user does from first to last, with a model of our own: tune it, lose the process, go on, look, export, deploy,
and ask the deployed model over HTTP; deployed beside it are the exports of services with every other kind of sample."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from typer.testing import CliRunner

from cluster.starting.own_ray import START
from raytune_infer.commands.app import app
from raytune_infer.report.export.serve_config import STATUS, serve_config
from raytune_infer.spec.service import Service
from raytune_infer.spec.service_spec import load_spec
from serve_deployments.settings import Settings
from tests.cluster.starting.listening import check, listening

MODEL = """\
import time
from pathlib import Path

BUILT, INTERRUPTED = (Path(__file__).with_name(name) for name in ("built", "interrupted"))


def build(factor, part):
    while BUILT.exists() and not INTERRUPTED.exists():
        time.sleep(0.01)
    BUILT.touch()
    return lambda numbers: [factor * number + 1 for number in numbers]
"""
"""Its first replica is there at once, any other only after the interruption: of three trials one needs another, so that
the search cannot have ended before."""
SPEC = """\
name: tripled
model: {build: "tripling:build", args: {factor: 3}}
samples: [1, 2, 3]
knobs: {max_batch_size: [1, 4], part: {kind: args, values: [a, b]}}
default: {max_batch_size: 4, part: b}
objective: {maximize: rps}
budget: {trials: 3, compare_s: 1.0e-6}
load: {level_min_s: 0.2, level_max_s: 0.5, total_max_s: 3, max_concurrency: 2}
"""
TELLING = """\
def build():
    return lambda payloads: [[type(payload).__name__, str(getattr(payload, "dtype", ""))] for payload in payloads]
"""
"""It says what it was given."""
KINDS = {
    "rows.npy": ("application/json", b"[1, 2, 3]", ["ndarray", "float32"]),
    "texts.txt": ("text/plain", b"a text", ["str", ""]),
    "photos": ("image/png", b"\x89PNG", ["bytes", ""]),
}
"""Samples → media type and body of a request, and what the model is given then."""
NOT_UP = "timed out during startup|Ray did not start within|Failed to bind to address|[Pp]roxies not available"
TOKEN = "(umask 077; ray get-auth-token --generate)"
"""How the documents say that a token is made."""
BESIDE_OTHERS = (
    f"--block --num-cpus=2 --object-store-memory={128 * 1024**2} --port=0 --dashboard-agent-listen-port=0 "
    "--disable-usage-stats --temp-dir"
)
"""What a Ray needs beside other clusters of this machine, to live as long as the process; its folder is to follow."""
DEPLOYS = r"^#\s+(.*\bserve deploy serve_config\.yaml)$"
"""Lines of an exported config that say how to deploy it."""


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
    for attempts_left in (2, 1, 0):
        process = subprocess.Popen(
            words,
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
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


def answered(port: int, body: bytes, media: str = "application/json", route: str = "") -> object:
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/{route}", body, {"Content-Type": media})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return json.load(answer)


def exported_beside(folder: Path) -> Iterator[dict[str, object]]:
    """The exported applications of services with each kind of sample; they take no cores from it."""
    (folder / "telling.py").write_text(TELLING)
    np.save(folder / "rows.npy", np.zeros((2, 3), np.float32))
    (folder / "texts.txt").write_text("one\nanother\n")
    (folder / "photos").mkdir()
    (folder / "photos" / "1.png").write_bytes(b"\x89PNG")
    for samples in KINDS:
        (folder / "telling.yaml").write_text(
            f"name: telling\nmodel: {{build: 'telling:build'}}\nsamples: {samples}\nknobs: {{max_batch_size: [1]}}\n"
            "objective: {maximize: rps}\n"
        )
        service = Service(load_spec(folder / "telling.yaml"))
        config = serve_config(service.spec, Settings(emulated=True), service.payload_type)
        [application] = yaml.safe_load(config)["applications"]
        application["deployments"][0]["ray_actor_options"]["num_cpus"] = 0
        yield {**application, "name": samples, "route_prefix": f"/{samples}"}


def of_a_newcomer(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """For all that is run: no Ray has run here before, none is chosen, and the environment is active."""
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)


def shell(command: str) -> str:
    """What a command of the documents prints."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def until_it_runs(address: str, token: str) -> None:
    """Asks Serve until all applications run and can be reached over HTTP."""
    asked = urllib.request.Request(f"{address}/api/serve/applications/", headers={"Authorization": f"Bearer {token}"})
    while True:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            status = json.load(answer)
        states = {application["status"] for application in status["applications"].values()}
        assert states <= {"NOT_STARTED", "DEPLOYING", "RUNNING"}, status
        if states == {"RUNNING"} and {proxy["status"] for proxy in status["proxies"].values()} == {"HEALTHY"}:
            return
        time.sleep(0.2)


def is_deployed_and_answers(
    config: dict[str, Any],
    command: str,
    token: str,
    monkeypatch: pytest.MonkeyPatch,
    alone: Callable[[], AbstractContextManager[None]],
    ray_folder: str,
) -> None:
    """What is exported runs on a Ray that is started as we say, which listens on loopback alone and asks for a token.

    Args:
        config: what was exported, and the applications beside it.
        command: how it is deployed.
        token: the one that `tune` has made, which this Ray asks for too.
        monkeypatch: for the environment of the commands.
        alone: what to be in while a Ray starts.
        ray_folder: an empty folder for it.
    """
    config["http_options"]["port"] = port = free_port()
    Path("serve_config.yaml").write_text(yaml.safe_dump(config))
    begun = r"RAY_API_SERVER_ADDRESS='(http://[^']+)'"
    # Serve ends a proxy that is not ready within 5 s, which on a machine as busy as CI's is soon.
    monkeypatch.setenv("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "120")
    # `exec`, as this Ray lives as long as the process, which is to be Ray's and not the shell's.
    as_we_say = f"{START} {BESIDE_OTHERS} {ray_folder}".replace("ray start", "exec ray start")
    with started("sh", "-c", as_we_say, alone=alone, cwd=Path.cwd(), until=begun) as (of_ray, said):
        found = re.search(begun, said)
        assert found
        monkeypatch.setenv("RAY_DASHBOARD_ADDRESS", found[1])
        shell(command)
        until_it_runs(found[1], token)
        assert set(yaml.safe_load(shell(STATUS))["proxies"].values()) == {"HEALTHY"}
        check(listening(psutil.Process(of_ray.pid)), "gcs_server", "raylet", "ray::ServeReplica", "ray::ProxyActor")
        assert [answered(port, body) for body in (b"0", b"1", b"14")] == [1, 4, 43]
        for samples, (media, body, given) in KINDS.items():
            assert answered(port, body, media, samples) == given


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_a_model_is_tuned_killed_resumed_shown_exported_deployed_and_asked(
    tmp_path, monkeypatch, ray_starts_alone, short_folder
):
    of_a_newcomer(monkeypatch, home=tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tripling.py").write_text(MODEL)
    (tmp_path / "tripled.yaml").write_text(SPEC)
    alone = ray_starts_alone
    with started(*tuned("--searcher", "random"), alone=alone, cwd=tmp_path, until=r"^ +1/3 ") as (driver, _):
        os.kill(driver.pid, signal.SIGKILL)
    (tmp_path / "interrupted").touch()
    before = printed("show", "run")
    assert re.search("[12] of 3 trials, searcher random", " ".join(before.split()))

    up = r"the run's folder is run|Serve config: +run/serve_config.yaml"
    with started(*tuned("--resume"), alone=alone, cwd=tmp_path, until=up) as (driver, said):
        # By the same reader as so far: it may have taken in lines that came at once, which `communicate` would not see.
        assert driver.stdout is not None
        said += driver.stdout.read()
        assert "3/3" in said and "Recommendation" in said
        assert driver.wait() == 0
    trials = pd.read_csv(tmp_path / "run" / "trials.csv")
    searched = trials[trials.purpose == "search"]
    assert len(searched) == len(searched.drop_duplicates(["max_batch_size", "part"])) == 3
    assert searched.could_not_run.isna().all() and (trials.rps > 0).all() and not trials.emulated.any()
    best = json.loads((tmp_path / "run" / "recommendation.json").read_text())["best"]["config"]

    assert "3 of 3 trials" in " ".join(printed("show", "run").split())
    assert "max_batch_size" in printed("recommend", "run", "--limit", "p99_ms=60000")
    exported = printed("export", "run")
    assert exported == (tmp_path / "run" / "serve_config.yaml").read_text()

    command = re.findall(DEPLOYS, exported, re.MULTILINE)[0]
    config = yaml.safe_load(exported)
    config["applications"] += exported_beside(tmp_path)
    settings = config["applications"][0]["args"]["settings"]
    assert settings["max_batch_size"] == best["max_batch_size"] and settings["args"]["part"] == best["part"]
    monkeypatch.chdir(tmp_path / "run")
    token = (tmp_path / ".ray" / "auth_token").read_text()
    is_deployed_and_answers(config, command, token, monkeypatch, alone, short_folder)


def test_who_has_never_run_tune_makes_a_token_that_nobody_else_can_read(tmp_path, monkeypatch):
    of_a_newcomer(monkeypatch, home=tmp_path)
    assert shell(TOKEN).strip().endswith((token := tmp_path / ".ray" / "auth_token").read_text())
    assert token.stat().st_mode & 0o777 == 0o600
