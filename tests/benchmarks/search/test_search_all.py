"""All sections from one revision: what is done is skipped, what fails does not end the rest, what is old is removed."""

import json
from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.listing import FOLDERS
from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import drop, made, put
from benchmarks.search import search_all
from benchmarks.search.emulated.suites import RECIPES
from benchmarks.search.search_all import CHOSEN_ON, LOOKED_AT, close, commands, of_command, run_all, waiting

OLD, NEW = "aaaaaaa", "bbbbbbb"


def origin(command: str, revision: str) -> Origin:
    return Origin("a CPU, 2 cores, Python 3", command, "2026-01-31", revision)


@pytest.fixture
def two(monkeypatch) -> None:
    monkeypatch.setattr(search_all, "commands", lambda: iter([("noise", "tiny"), ("search", "tiny", "--seeds", "2")]))


class Runs:
    """Writes the section of a command, or fails."""

    def __init__(self, out, *, fails: str = "") -> None:
        self.out, self.fails = out, fails
        self.ran: list[tuple[str, ...]] = []

    def __call__(self, name, arguments) -> None:
        self.ran.append((name, *arguments))
        if name == self.fails:
            raise SystemExit("it cannot")
        said = f"python -m benchmarks {name} {' '.join(arguments)}"
        put(self.out, f"Of {name}", origin(said, NEW), "figures")


@pytest.mark.usefixtures("two")
def test_what_is_done_at_this_revision_is_skipped_and_the_rest_goes_on(tmp_path, capsys):
    out, times = tmp_path / "RESULTS.md", tmp_path / "times.json"
    put(out, "Of noise", origin("python -m benchmarks noise tiny --jobs 2", OLD), "older figures")
    first = Runs(out, fails="noise")
    assert run_all(out, NEW, 3, first, times) == {"python -m benchmarks noise tiny": "SystemExit: it cannot"}
    assert first.ran == [("noise", "tiny", "--jobs", "3"), ("search", "tiny", "--seeds", "2", "--jobs", "3")]
    assert waiting(out, NEW) == [("noise", "tiny")]  # it failed, and what there is of it is old
    second = Runs(out)
    assert run_all(out, NEW, 1, second, times) == {} and second.ran == [("noise", "tiny", "--jobs", "1")]
    assert waiting(out, NEW) == [] and "2 of 2: python -m benchmarks noise tiny" in capsys.readouterr().out
    assert set(json.loads(times.read_text())) == {
        "python -m benchmarks noise tiny", "python -m benchmarks search tiny --seeds 2",
    }  # fmt: skip


def test_at_the_end_all_are_of_one_revision_and_their_seconds_are_told(tmp_path):
    out, times = tmp_path / "RESULTS.md", tmp_path / "times.json"
    put(out, "Old", origin("python -m benchmarks noise tiny", OLD), "figures")
    put(out, "New", origin("python -m benchmarks noise tiny --out x.md --jobs 2", NEW), "figures")
    times.write_text(json.dumps({"python -m benchmarks noise tiny": 90.4, "python -m benchmarks search tiny": 89.6}))
    close(out, origin("python -m benchmarks search_all", NEW), times)
    assert [(s.heading, s.command, s.revision) for s in made(out)] == [
        ("New", "python -m benchmarks noise tiny", NEW),
        (search_all.HEADING, "python -m benchmarks search_all", NEW),
    ]
    assert "they took 3 minutes" in out.read_text() and "| `python -m benchmarks noise tiny` | 90 |" in out.read_text()
    drop(out, ["New", "nobody's"])
    assert [section.heading for section in made(out)] == [search_all.HEADING]


def test_every_suite_has_its_beliefs_judged_and_every_benchmark_is_run():
    asked = list(commands())
    assert {name for name, *_ in asked} == {*FOLDERS["search"]} - {"search_all"}
    for name in ("search", "calibration", "belief_coverage", "noise"):
        assert {*CHOSEN_ON, *LOOKED_AT} <= {argument for command in asked if command[0] == name for argument in command}
    assert set(RECIPES) <= {argument for command in asked for argument in command}
    assert len({of_command(command) for command in asked}) == len(asked)


@pytest.mark.parametrize("command", [c for c in commands() if c[0] != "search_all"], ids=of_command)
def test_every_command_is_understood(command, monkeypatch):
    """Up to where the work would begin."""

    class Understood(Exception):
        pass

    def parsed(self, *given):
        original(self, *given)
        raise Understood

    original = ArgumentParser.parse_args
    # Tables beside the repository may not be there.
    monkeypatch.setattr("benchmarks.search.replaying.suite_arguments.suite_folder", Path)
    monkeypatch.setattr(ArgumentParser, "parse_args", parsed)
    with pytest.raises(Understood):
        import_module(f"benchmarks.search.{command[0]}").main(list(command[1:]))
