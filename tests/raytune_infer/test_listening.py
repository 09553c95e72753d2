"""What listens while Ray, Serve or a study of ours runs: on loopback alone, in processes that ask for Ray's token.

A Ray that a user starts is looked at in test_happy_path.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.cluster.starting.listening import check, listening

SPEC = """\
name: listened
model: {build: "cluster.emulated:model", args: {profile: bert-base}}
samples: [x, y]
knobs: {max_batch_size: [1]}
objective: {maximize: rps}
budget: {trials: 1, compare_s: 1.0e-6}
load: {level_min_s: 0.2, level_max_s: 0.5, total_max_s: 3, max_concurrency: 2}
"""
"""One replica under little load: what listens depends on neither."""
ONLY_READ = SPEC.replace(
    '{build: "cluster.emulated:model", args: {profile: bert-base}}', "{path: m.pt, loader: torchscript}"
)
EVIL = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\nraise ImportError(__name__)\n"
"""A module beside service.yaml with the name of one that Python or a library imports."""


@contextmanager
def started(words: tuple[str, ...], home: Path) -> Iterator[subprocess.Popen[str]]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = {**clean, "HOME": str(home), "PYTHONUNBUFFERED": "1", "PYTHONPATH": os.getcwd()}
    process = subprocess.Popen(
        words, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def heard(
    words: tuple[str, ...], home: Path, alone: Callable[[], AbstractContextManager[None]]
) -> set[tuple[str, str, str]]:
    """What listened whenever a command had said something."""
    found: set[tuple[str, str, str]] = set()
    with started(words, home) as process:
        assert process.stdout is not None
        said = []
        with alone():
            said.append(process.stdout.readline())
        found |= listening(psutil.Process(process.pid))
        for line in process.stdout:
            said.append(line)
            if process.poll() is None:
                found |= listening(psutil.Process(process.pid))
        assert process.wait() == 0, "".join(said)
    return found


def tuned(*more: str) -> tuple[str, ...]:
    """The command as it is installed, which does not look for modules where it is run."""
    tune = ("-P", "-m", "raytune_infer", "tune", "listened.yaml", "--searcher", "random", "--out", "run")
    return (sys.executable, *tune, *more)


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_study_on_emulated_devices_listens_on_loopback_alone_and_asks_for_a_token(tmp_path, ray_starts_alone):
    (tmp_path / "listened.yaml").write_text(SPEC)
    check(heard(tuned("--emulate", "T4:1"), tmp_path, ray_starts_alone), "gcs_server", "raylet", "ray::ServeReplica")


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_study_of_a_model_that_is_only_read_does_too_and_imports_nothing_from_beside_it(tmp_path, ray_starts_alone):
    import torch

    torch.jit.script(torch.nn.Linear(3, 2).eval()).save(tmp_path / "m.pt")
    (tmp_path / "listened.yaml").write_text(ONLY_READ.replace("[x, y]", "rows.npy"))
    np.save(tmp_path / "rows.npy", np.zeros((4, 3), np.float32))
    for name in ("sitecustomize", "numpy", "torch", "sqlalchemy", "pydantic"):
        (tmp_path / f"{name}.py").write_text(EVIL)
    check(heard(tuned(), tmp_path, ray_starts_alone), "gcs_server", "raylet", "ray::ServeReplica")
    assert (tmp_path / "run" / "serve_config.yaml").exists() and not list(tmp_path.rglob("*.ran"))
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


def test_the_ray_of_the_tests_listens_on_loopback_alone(local_ray):
    check(listening(psutil.Process()), "gcs_server", "raylet")


def test_a_serve_that_is_reached_over_http_listens_on_loopback_alone(local_ray):
    from ray import serve

    from benchmarks.replica.served import local_serve, up
    from benchmarks.replica.services import echo

    serve.shutdown()  # that of the tests before this one has no proxy
    try:
        with local_serve() as port, up(echo(), port):
            check(listening(psutil.Process()), "gcs_server", "raylet", "ray::ServeReplica", "ray::ProxyActor")
    finally:
        serve.shutdown()
