"""A service's folder: its modules and files are found there, and the next service finds its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from serve_deployments.models.context import ModelError
from serve_deployments.models.model import Builder, check, is_emulated
from serve_deployments.models.service_folder import enter, inside

MODULE = """
from beside import WIDTH
HERE = open("words.txt").read()
def build({argument}):
    return list
"""


@pytest.fixture
def services(tmp_path) -> tuple[Path, Path]:
    """Two services whose modules have the same names, with a file that is read when they are imported."""
    for name, argument in (("a", "width"), ("b", "depth")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "same_name.py").write_text(MODULE.format(argument=argument))
        (folder / "beside.py").write_text("WIDTH = 1\n")
        (folder / "words.txt").write_text(name)
    return tmp_path / "a", tmp_path / "b"


def test_each_of_two_services_in_one_process_has_its_own_modules_and_leaves_none(services):
    first, second = services
    before = os.getcwd(), list(sys.path), set(sys.modules)
    for _ in range(2):
        for folder, argument in ((first, "width"), (second, "depth")):
            source = Builder("same_name:build", str(folder))
            check(source, {argument: 1})
            assert not is_emulated(source)
            with pytest.raises(ModelError, match="unexpected keyword argument 'other'; it takes " + argument):
                check(source, {argument: 1, "other": 1})
    assert (os.getcwd(), list(sys.path)) == before[:2]
    assert not {"same_name", "beside"} & (set(sys.modules) - before[2])


def test_a_module_is_imported_once_however_often_it_is_looked_at(services):
    """What it registers with a library must be registered once."""
    first, _ = services
    (first / "same_name.py").write_text("import os\nos.environ['COUNTED'] += 'x'\ndef build(): return list\n")
    os.environ["COUNTED"] = ""
    try:
        for _ in range(3):
            check(Builder("same_name:build", str(first)), {})
        assert os.environ["COUNTED"] == "x"
    finally:
        del os.environ["COUNTED"]


def test_the_users_own_module_of_that_name_is_there_again_afterwards(services, monkeypatch):
    first, _ = services
    mine = type(sys)("same_name")
    mine.__file__ = "/elsewhere/same_name.py"
    monkeypatch.setitem(sys.modules, "same_name", mine)
    check(Builder("same_name:build", str(first)), {"width": 1})
    assert sys.modules["same_name"] is mine


def test_a_folder_with_the_name_of_a_library_does_not_replace_it(tmp_path):
    import numpy

    for name in ("numpy", "json", "logging"):
        (tmp_path / name).mkdir()
    (tmp_path / "logging.py").touch()
    with inside(str(tmp_path)):
        assert sys.modules["numpy"] is numpy
        import json
        import logging

        assert json.__file__ and logging.__file__
    assert sys.modules["numpy"] is numpy


def test_an_error_or_a_folder_that_is_gone_leaves_all_as_it_was(tmp_path):
    before = os.getcwd(), list(sys.path)
    with pytest.raises(KeyError), inside(str(tmp_path)):
        assert Path.cwd() == tmp_path
        raise KeyError
    with inside(str(tmp_path / "gone")):
        pass
    assert (os.getcwd(), list(sys.path)) == before


def test_a_replicas_process_works_in_the_folder_from_then_on(services):
    first, _ = services
    code = (
        "import os, sys; from serve_deployments.models.service_folder import enter\n"
        "enter(sys.argv[1], modules=True); import same_name; print(same_name.HERE, os.getcwd())\n"
        "enter('/not/on/this/node', modules=True); print(os.getcwd())"
    )
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    ran = subprocess.run([sys.executable, "-c", code, first], env=env, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["a", str(first), str(first)]


def test_without_a_folder_the_present_one_is_searched(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    enter("", modules=True)
    assert sys.path[0] == str(tmp_path) and Path.cwd() == tmp_path


def test_where_a_model_is_only_read_no_module_beside_it_runs_in_place_of_a_library(services):
    first, _ = services
    code = (
        "import os, sys; from serve_deployments.models.service_folder import enter\n"
        "enter(sys.argv[1], modules=False); print(os.getcwd(), 'same_name' if sys.argv[1] in sys.path else '')\n"
    )
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    ran = subprocess.run([sys.executable, "-c", code, first], env=env, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [str(first)]
