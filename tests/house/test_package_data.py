"""What the wheel holds beside code can be read, or has a card that says what it is and which command makes it again."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from tests.docs.test_docs import of, shown_commands
from tests.repository import ROOT

SETUP: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
PATTERNS = [(package, pattern) for package, patterns in SETUP["package-data"].items() for pattern in patterns]
FILES = sorted({file for package, pattern in PATTERNS for file in (ROOT / package.replace(".", "/")).glob(pattern)})
WEIGHTS = [file for file in FILES if file.suffix == ".safetensors"]


def names(files: list[Path]) -> list:
    return [pytest.param(file, id=file.relative_to(ROOT).as_posix()) for file in files]


def is_text(file: Path) -> bool:
    try:
        file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True


def test_the_wheel_holds_every_file_that_lies_beside_the_code():
    packages = [ROOT / name.rstrip("*") for name in SETUP["packages"]["find"]["include"]]
    beside = [file for package in packages for file in package.rglob("*") if file.is_file() and file.suffix != ".py"]
    assert sorted(file for file in beside if file.parent.name != "__pycache__") == FILES
    assert all(any((ROOT / package.replace(".", "/")).glob(pattern)) for package, pattern in PATTERNS)


@pytest.mark.parametrize("file", names(FILES))
def test_what_can_be_read_says_first_what_it_is_and_what_cannot_has_a_card(file):
    if is_text(file):
        assert file.read_text(encoding="utf-8").startswith({".css": "/* ", ".js": "// "}.get(file.suffix, "# "))
    else:
        assert file.with_suffix(".md") in FILES and file in WEIGHTS


@pytest.mark.parametrize("weights", names(WEIGHTS))
def test_a_card_has_one_command_which_makes_the_file_by_the_recipe_that_is_in_it(weights):
    [words] = shown_commands(weights.with_suffix(".md"))
    asked = of(words).make_context(words[0], words[1:]).params
    assert words[0] == "meta-train" and not asked["studied"]
    assert (asked["model"], str(asked["out"])) == (weights.stem, weights.name)
    with safe_open(weights, framework="pt") as file:
        [about] = (file.metadata() or {}).values()
    recipe = json.loads(about)["card"]["recipe"]
    steps = recipe["episodes"] if "episodes" in recipe else recipe["training"]["steps"]
    assert (asked["steps"], asked["seed"]) == (steps, recipe["seed"])


@pytest.mark.parametrize("weights", names(WEIGHTS))
def test_a_card_says_when_from_what_and_in_which_format_the_file_was_made(weights):
    text = weights.with_suffix(".md").read_text(encoding="utf-8")
    for said in ("Written on 20", " from revision ", "**Format.** safetensors", "**Data.**", "**Checked** on 20"):
        assert said in text, said
