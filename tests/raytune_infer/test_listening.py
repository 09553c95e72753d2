"""What listens while Ray, Serve or a study of ours runs: on loopback alone, in processes that ask for Ray's token."""

import ipaddress
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from cluster.starting.own_ray import START

SPEC = """\
name: listened
model: {build: "cluster.emulated:model", args: {profile: bert-base}}
samples: [x, y]
knobs: {max_batch_size: [1, 2, 4]}
objective: {maximize: rps}
budget: {trials: 3, compare_s: 1.0e-6}
load: {level_min_s: 0.2, level_max_s: 0.5, total_max_s: 3, max_concurrency: 8}
"""
ONLY_READ = SPEC.replace(
    '{build: "cluster.emulated:model", args: {profile: bert-base}}', "{path: m.pt, loader: torchscript}"
)
EVIL = "from pathlib import Path\nPath(__file__).with_suffix('.ran').touch()\nraise ImportError(__name__)\n"
"""A module beside service.yaml with the name of one that Python or a library imports."""
TOKEN = "(umask 077; ray get-auth-token --generate)"
"""How the documents say that a token is made."""
SERVE = """\
from benchmarks.replica.served import local_serve, up
from benchmarks.replica.services import echo

with local_serve() as port, up(echo(), port):
    print("up", flush=True)
"""


def listening(process: psutil.Process) -> set[tuple[str, str, str]]:
    """What listens in a process and in those below it: its name, the address, and how its Ray authenticates."""
    found = set()
    for each in (process, *process.children(recursive=True)):
        try:
            sockets = [open_ for open_ in each.net_connections(kind="inet") if open_.status == psutil.CONN_LISTEN]
            name, mode = (each.cmdline() or [each.name()])[0], each.environ().get("RAY_AUTH_MODE", "")
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        found |= {(Path(name.split()[0]).name, open_.laddr.ip, mode) for open_ in sockets}
    return found


def is_loopback(text: str) -> bool:
    """Also of an IPv4 address as a socket of IPv6 has it, `::ffff:127.0.0.1`."""
    address = ipaddress.ip_address(text)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def check(found: set[tuple[str, str, str]], *kinds: str) -> None:
    """Only loopback is listened on, and processes of these kinds were seen, which ask for a token."""
    names = {name for name, _, _ in found}
    for kind in kinds:
        assert any(kind in name for name in names), f"no {kind} listens among {names}"
    assert [each for each in found if not is_loopback(each[1])] == []
    assert {mode for name, _, mode in found if name in ("gcs_server", "raylet")} == {"token"}


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


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_serve_that_is_reached_over_http_listens_on_loopback_alone(tmp_path, ray_starts_alone):
    found = heard((sys.executable, "-c", SERVE), tmp_path, ray_starts_alone)
    check(found, "gcs_server", "raylet", "ray::ServeReplica", "ray::ProxyActor")


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_ray_that_a_user_starts_as_we_say_listens_on_loopback_alone(
    tmp_path, monkeypatch, short_folder, ray_starts_alone
):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    ours = f" --block --num-cpus=1 --object-store-memory={128 * 1024**2} --port=0 --dashboard-agent-listen-port=0"
    shell = f"{TOKEN} && {START}{ours} --disable-usage-stats --temp-dir {short_folder}"
    said = []
    with ray_starts_alone(), started(("sh", "-c", shell), tmp_path) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if "will now block" in line:
                break
        of_ray = psutil.Process(process.pid).children(recursive=True)
        found = listening(psutil.Process(process.pid))
        for each in of_ray:  # a shell does not take with it what it runs
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(of_ray)
    assert found, "".join(said)
    check(found, "gcs_server", "raylet")


def test_the_ray_of_the_tests_listens_on_loopback_alone(local_ray):
    check(listening(psutil.Process()), "gcs_server", "raylet")
