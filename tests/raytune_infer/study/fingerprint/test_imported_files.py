"""Whatever a user's module executes from its folder is found, and nothing is run for it."""

import sys
from pathlib import Path

import pytest

from raytune_infer.study.fingerprint.imported_files import imported_files


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


CODE = {
    "model.py": "raise SystemExit\nimport numpy, helper\nfrom package.deep import net\ndef f():\n    import later\n",
    "helper.py": "from importlib import import_module\nimport model\nlazy = lambda: import_module('named.plugin')\n",
    "later.py": "import json as random_name, broken\n",
    "broken.py": "this is no Python",
    "package/__init__.py": "from . import layers\n",
    "package/layers.py": "from .deep.parts import *\n",
    "package/deep/__init__.py": "",
    "package/deep/net.py": "from ..sibling import weights\nfrom . import parts\n",
    "package/deep/parts.py": "s = '\\d'\n",  # a warning of Python's
    "package/sibling.py": "from ..outside import x\nfrom .... import y\n",
    "named/plugin.py": "import statistics\n",  # a package without __init__.py
    "outside.py": "", "unused.py": "", "package/unused.py": "", "numbers.py": "", "statistics.py": "",
}  # fmt: skip


def test_all_that_is_imported_beside_a_module_counts_however_it_is_imported(tmp_path):
    found = imported_files("model", written(tmp_path, CODE))
    unused = {"unused.py", "package/unused.py", "numbers.py", "statistics.py"}
    assert set(found) == CODE.keys() - unused
    assert all(path == tmp_path / name for name, path in found.items())


def test_a_module_in_a_package_brings_its_packages(tmp_path):
    assert set(imported_files("package.deep.net", written(tmp_path, CODE))) == {
        name for name in CODE if name.startswith("package/") and "unused" not in name
    } | {"outside.py"}


def test_compiled_modules_count(tmp_path):
    written(tmp_path, {"model.py": "import fast\n", "fast.so": "", "fast.txt": ""})
    assert set(imported_files("model", tmp_path)) == {"model.py", "fast.so"}


def test_a_module_elsewhere_has_its_own_folder(tmp_path, monkeypatch):
    source = written(tmp_path / "src", {"mine/__init__.py": "", "mine/a.py": "from mine import b", "mine/b.py": ""})
    monkeypatch.syspath_prepend(str(source))
    (tmp_path / "service").mkdir()
    found = imported_files("mine.a", tmp_path / "service")
    assert set(found) == {"mine/__init__.py", "mine/a.py", "mine/b.py"}
    assert found["mine/b.py"] == source / "mine" / "b.py"


def test_of_an_installed_package_only_the_module_counts(tmp_path, monkeypatch):
    installed = written(
        tmp_path / "site-packages", {"engine/__init__.py": "import engine.core", "engine/core.py": "import engine.rest"}
    )
    monkeypatch.syspath_prepend(str(installed))
    assert set(imported_files("engine.core", tmp_path)) == {"engine/core.py"}


@pytest.mark.parametrize("module", ["cluster.emulated", "json", "no_such_module", "builtins"])
def test_what_is_not_the_users_does_not_count(tmp_path, module):
    assert imported_files(module, tmp_path) == {}
    assert "no_such_module" not in sys.modules


def test_a_module_that_was_made_at_run_time_has_no_file(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "made_up", type(sys)("made_up"))
    assert imported_files("made_up", tmp_path) == {}
