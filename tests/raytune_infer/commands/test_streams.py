"""Output in a terminal that is not UTF-8, and into a file: nothing ends a command, and no mark is lost."""

import csv
import os
import subprocess
import sys

import pytest

from tests.raytune_infer.ranking.measured_runs import CONFIGS, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose rate is a lower bound under a looser limit."""
    return write_run(tmp_path_factory.mktemp("runs") / "run", configs=CONFIGS[:1])


def told(encoding, *words, **more):
    """The bytes that a command writes where Python is told that the terminal has this encoding."""
    main = "from raytune_infer.commands.app import main; main()"
    command = [sys.executable, "-c", main, *map(str, words)]
    env = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run(command, env=env, check=True, timeout=120, **more)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
@pytest.mark.parametrize("form", ["console", "csv:notes"])
def test_what_a_terminal_lacks_has_a_stand_in_of_the_same_meaning(run, encoding, form):
    shown = told(encoding, "recommend", run, "--limit", "p99_ms=200", "--format", form, capture_output=True).stdout
    text = shown.decode(encoding)
    assert ">=: that rate kept the limits" in text


@pytest.mark.parametrize("form", ["console", "csv:notes", "html", "json"])
def test_a_file_is_utf_8_whatever_the_terminal_is(run, form, tmp_path):
    path = tmp_path / "out"
    with path.open("wb") as file:
        told("ascii", "recommend", run, "--limit", "p99_ms=200", "--format", form, stdout=file)
    text = path.read_bytes().decode()
    if form == "csv:notes":
        assert any(row["text"].startswith("≥: that rate") for row in csv.DictReader(text.splitlines()))
    else:
        assert ("\\u2265: that rate" if form == "json" else "≥: that rate") in text
