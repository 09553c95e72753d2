"""Every benchmark that is listed is there once, can be imported and says what it can be asked."""

import subprocess
import sys
from argparse import ArgumentTypeError
from importlib import import_module

import pytest

from benchmarks.__main__ import main
from benchmarks.listing import FOLDER, FOLDERS, LISTED, about, listing, module_of
from benchmarks.recording.origin import ROOT
from benchmarks.search.replaying.suite_arguments import suite_folder


def test_each_name_is_listed_once():
    names = [name for folder in FOLDERS.values() for name in folder]
    assert sorted(names) == sorted(LISTED)


def test_what_can_be_run_is_listed():
    # What a benchmark starts as a process of its own has a `main` without arguments.
    there = {
        file.stem: file.parent.name
        for file in FOLDER.glob("*/*.py")
        if "\ndef main(arguments: Sequence[str])" in file.read_text(encoding="utf-8")
    }
    assert there == LISTED


@pytest.mark.parametrize("name", LISTED)
def test_a_benchmark_can_be_imported_and_prints_its_help(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert said.startswith(f"usage: python -m benchmarks {name} ") and about(name) in said
    assert f"\n    python -m benchmarks {name}" in (import_module(module_of(name)).__doc__ or "")


def test_the_list_has_a_line_each_and_imports_none():
    code = "import sys; sys.argv = ['benchmarks']; import runpy; runpy.run_module('benchmarks', run_name='__main__');"
    code += "assert not {'ray', 'torch', 'numpy'} & set(sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (said.returncode, said.stdout) == (0, listing() + "\n"), said.stderr
    assert all(f"  {name} " in said.stdout and about(name) in said.stdout for name in LISTED)


def test_what_there_is_is_said_to_who_asks_for_something_else():
    with pytest.raises(SystemExit, match=r"no benchmark 'serach'; there are(?s:.*)\n  search "):
        main(["serach"])


def test_a_suite_is_found_by_its_name_or_its_folder(tmp_path, monkeypatch):
    assert suite_folder("planes-cpu") == ROOT / "data" / "planes-cpu"
    assert suite_folder(str(tmp_path)) == tmp_path
    with pytest.raises(ArgumentTypeError, match="no folder 'nowhere' and no suite of .*there are .*planes-cpu"):
        suite_folder("nowhere")
