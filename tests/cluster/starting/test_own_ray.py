"""A Ray of our own: nobody without its token can use it, and the token is for its user alone."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import ROOT

STARTED = """\
import os
from cluster.starting.own_ray import closed_ray
from ray._private import ray_constants, services

with closed_ray():
    print(services.get_node_ip_address(), services.canonicalize_bootstrap_address("127.0.0.1:1"))
    print(os.environ.get("RAY_AUTH_MODE"), ray_constants.ENABLE_RAY_CLUSTER)
print("after", ray_constants.ENABLE_RAY_CLUSTER, os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"))
"""


def started(home: Path, before: str = "", **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    there = {**clean, "HOME": str(home), "PYTHONPATH": os.getcwd(), **environment}
    words = [sys.executable, "-c", f"{before}\n{STARTED}"]
    return subprocess.run(words, env=there, capture_output=True, text=True, check=True).stdout


def test_what_is_started_is_on_loopback_with_a_token_for_its_user_alone_and_what_comes_later_is_not(tmp_path):
    said = started(tmp_path)
    assert said.splitlines() == ["127.0.0.1 127.0.0.1:1", "token False", "after True None"]
    token = tmp_path / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600 and token.read_text()
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700, "nor was it open until it was closed"


def test_a_token_that_others_could_read_is_closed_and_kept_and_a_link_is_not_followed(tmp_path):
    token, elsewhere = tmp_path / ".ray" / "auth_token", tmp_path / "elsewhere"
    token.parent.mkdir()
    token.write_text("a" * 40)
    token.chmod(0o644)
    started(tmp_path)
    assert stat.S_IMODE(token.stat().st_mode) == 0o600 and token.read_text() == "a" * 40
    elsewhere.write_text("b" * 40)
    elsewhere.chmod(0o644)
    token.unlink()
    token.symlink_to(elsewhere)
    started(tmp_path)
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o644


def test_what_is_no_file_of_ones_own_in_the_place_of_a_token_stays_as_open_as_it_is(tmp_path):
    """The token is given otherwise, so Ray does not look there."""
    place = tmp_path / ".ray" / "auth_token"
    place.mkdir(parents=True, mode=0o755)
    started(tmp_path, RAY_AUTH_TOKEN="a" * 40)
    assert stat.S_IMODE(place.stat().st_mode) == 0o755
    place.rmdir()
    place.write_text("b" * 40)
    place.chmod(0o644)
    started(tmp_path, "import os; os.geteuid = lambda mine=os.geteuid(): mine + 1", RAY_AUTH_TOKEN="a" * 40)
    assert stat.S_IMODE(place.stat().st_mode) == 0o644
    started(tmp_path, RAY_AUTH_TOKEN="a" * 40)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600, "one's own is closed"


@pytest.mark.parametrize("mode", ["disabled", "token"])
def test_who_has_chosen_how_ray_authenticates_keeps_it(tmp_path, mode):
    assert f"{mode} False" in started(tmp_path, RAY_AUTH_MODE=mode)
    assert (tmp_path / ".ray" / "auth_token").exists() == (mode == "token")


def test_whoever_starts_a_ray_closes_it_to_others():
    """What listens is looked at in tests/raytune_infer/test_listening.py; this finds a start that is missing there."""
    starts = re.compile(r"ray\.init\([^)]*\"local\"|(?<!class )\bCluster\(initialize_head|\(\"local\", num_cpus")
    files = [path for path in ROOT.rglob("*.py") if not {".venv", "site"} & set(path.relative_to(ROOT).parts)]
    found = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files}
    starting = {name: text for name, text in found.items() if starts.search(text)}
    assert {"raytune_infer/study/session.py", "cluster/emulated/devices.py", "tests/conftest.py"} <= set(starting)
    assert [name for name, text in starting.items() if "closed_ray" not in text] == []
