"""Where figures of benchmarks come from and go to."""

from pathlib import Path

import pytest

from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import ROOT, Origin
from benchmarks.recording.sections import markdown, put

ORIGIN = Origin("a CPU, 2 cores", "python -m benchmarks x", "2026-01-31", "abc123")


def test_sections_are_replaced_in_place_and_the_others_stay(tmp_path):
    file = tmp_path / "made" / "RESULTS.md"
    for heading, body in (("One", "first"), ("Two", "### part\nsecond"), ("Three", "third"), ("Two", "again")):
        put(file, heading, ORIGIN, body)
    text = file.read_text()
    assert [line for line in text.splitlines() if line.startswith("#")] == ["# Results", "## One", "## Two", "## Three"]
    assert "again" in text and "second" not in text and "first" in text and "third" in text
    assert "`python -m benchmarks x`, 2026-01-31, revision abc123, a CPU, 2 cores." in text
    put(file, "Three", ORIGIN, "third")
    assert file.read_text() == text
    assert [path.name for path in file.parent.iterdir()] == ["RESULTS.md"]


def test_what_was_written_by_hand_before_the_sections_stays(tmp_path):
    file = tmp_path / "RESULTS.md"
    file.write_text("# Ours\nRead this first.\n")
    put(file, "One", ORIGIN, "first")
    assert file.read_text().startswith("# Ours\nRead this first.\n\n## One\n")


@pytest.mark.parametrize(("heading", "body"), [("One", "text\n## Two\n"), ("One\nTwo", "text"), (" ", "text")])
def test_a_section_cannot_break_the_file(tmp_path, heading, body):
    with pytest.raises(ValueError, match="heading"):
        put(tmp_path / "RESULTS.md", heading, ORIGIN, body)
    assert not list(tmp_path.iterdir())


def test_tables():
    assert markdown(("a", "b"), [("x|y", "1")]) == "| a | b |\n| :-- | --: |\n| x\\|y | 1 |"
    assert markdown(("a", "b"), [], text=(1,)) == "| a | b |\n| --: | :-- |"
    with pytest.raises(ValueError, match="2 cells"):
        markdown(("a", "b"), [("x",)])


def test_origin_names_no_path_of_this_machine(tmp_path):
    origin = Origin.here("benchmarks.search.noise", [str(Path(__file__)), str(tmp_path), "--seeds", "3"])
    *command, file, where, option, number = origin.command.split()
    assert command == ["python", "-m", "benchmarks", "noise"]
    assert (file, option, number) == ("tests/benchmarks/test_recording.py", "--seeds", "3")
    assert Path(where).name == tmp_path.name and not Path(where).is_absolute() and where.count("..") <= 1
    assert origin.machine and origin.revision


def test_figures_go_into_the_results_of_the_benchmark_s_folder(tmp_path):
    parser = recording_parser_of("benchmarks.search.noise", "What noise costs.")
    assert parser.parse_args([]).out == ROOT / "benchmarks" / "search" / "RESULTS.md"
    assert parser.parse_args(["--out", str(tmp_path)]).out == tmp_path
    assert "python -m benchmarks noise" in parser.format_usage()
