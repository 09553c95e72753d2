"""A Ray of our own: nobody without its token can use it, and the token is for its user alone."""

import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.repository import ROOT

STARTED = """\
import os
from cluster.starting.own_ray import closed_ray
from ray._private import ray_constants, services
from ray._raylet import AuthenticationTokenLoader, get_authentication_mode

with closed_ray():
    print(services.get_node_ip_address(), services.canonicalize_bootstrap_address("127.0.0.1:1"))
    print(os.environ.get("RAY_AUTH_MODE"), ray_constants.ENABLE_RAY_CLUSTER)
    print("asks for", AuthenticationTokenLoader.instance().get_raw_token(ignore_auth_mode=True))
print("after", ray_constants.ENABLE_RAY_CLUSTER, os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"))
print(os.environ.get("RAY_AUTH_MODE"), int(get_authentication_mode()), os.environ.get("RAY_AUTH_TOKEN"))
"""


def started(home: Path, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    there = {**clean, "HOME": str(home), "PYTHONPATH": os.getcwd(), **environment}
    words = [sys.executable, "-c", STARTED]
    both = subprocess.run(words, env=there, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    return both.stdout


def token_in(said: str) -> str:
    """The token that Ray would have asked for."""
    found = re.search(r"^asks for (\w+)$", said, re.MULTILINE)
    assert found is not None, said
    return found[1]


def test_what_is_started_is_on_loopback_with_a_token_for_its_user_alone_and_what_comes_later_is_not(tmp_path):
    said = started(tmp_path)
    token = tmp_path / ".ray" / "auth_token"
    lines = ["127.0.0.1 127.0.0.1:1", "token False", f"asks for {token.read_text()}", "after True None", "None 0 None"]
    assert [line for line in said.splitlines() if " -- " not in line] == lines
    assert stat.S_IMODE(token.stat().st_mode) == 0o600 and token.read_text()
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700, "nor was it open until it was closed"
    assert token_in(started(tmp_path)) == token.read_text(), "the next one has the same"


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that others can enter, as pytest's own folders are not."""
    with TemporaryDirectory(prefix="raytune-infer-home-", dir="/tmp") as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def token(home: Path) -> Path:
    """A token's file that others can read, as they can enter the folders around it."""
    (home / ".ray").mkdir(mode=0o755)
    file = home / ".ray" / "auth_token"
    file.write_text("a" * 40)
    file.chmod(0o644)
    return file


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o622])
def test_a_token_that_others_could_read_or_write_is_not_the_one_that_is_asked_for(home, token, mode):
    token.chmod(mode)
    said = started(home)
    assert len(token_in(said)) >= 32 and token_in(said) != "a" * 40
    assert f"the token in {token}, so this Ray has a token of its own" in said
    assert token.read_text() == "a" * 40 and stat.S_IMODE(token.stat().st_mode) == mode, "another Ray may run with it"
    link = home / "link"
    link.symlink_to(token)
    assert token_in(started(home, RAY_AUTH_TOKEN_PATH=str(link))) != "a" * 40
    assert token_in(started(home, RAY_AUTH_TOKEN="c" * 40)) == "c" * 40, "the file is not asked"


@pytest.mark.parametrize("closed", [".", ".ray", ".ray/auth_token"])
def test_a_token_that_nobody_else_can_get_at_is_kept(home, token, closed):
    (home / closed).chmod(0o600 if closed.endswith("token") else 0o700)
    said = started(home)
    assert token_in(said) == "a" * 40 and "of its own" not in said


def test_another_users_token_is_not_the_one_that_is_asked_for(home, token):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    token.chmod(0o600)
    os.chown(token, 12345, -1)
    said = started(home)
    assert token_in(said) != "a" * 40 and f"the token in {token} is another user's" in said


@pytest.mark.parametrize("mode", ["disabled", "token"])
def test_who_has_chosen_how_ray_authenticates_keeps_it(tmp_path, mode):
    said = started(tmp_path, RAY_AUTH_MODE=mode)
    assert f"{mode} False" in said and f"{mode} {int(mode == 'token')} None" in said
    assert (tmp_path / ".ray" / "auth_token").exists() == (mode == "token")


def test_whoever_starts_a_ray_closes_it_to_others():
    """What listens is looked at in tests/raytune_infer/test_listening.py; this finds a start that is missing there."""
    starts = re.compile(r"ray\.init\([^)]*\"local\"|(?<!class )\bCluster\(initialize_head|\(\"local\", num_cpus")
    files = [path for path in ROOT.rglob("*.py") if not {".venv", "site"} & set(path.relative_to(ROOT).parts)]
    found = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files}
    starting = {name: text for name, text in found.items() if starts.search(text)}
    known = {"raytune_infer/study/connection/session.py", "cluster/emulated/devices.py", "tests/conftest.py"}
    assert known <= set(starting)
    assert [name for name, text in starting.items() if "closed_ray" not in text] == []
