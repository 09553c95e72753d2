"""The walks of docs/architecture.md lead through functions that are there, and through no file twice."""

import ast
import re

import pytest

from tests.repository import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
WALKS = dict(
    re.findall(
        r"^\*\*(.+?)\.\*\*\n\n(\|.*?)(?:\n\n|\Z)", PAGE.split("## Three walks")[1].split("\n## ")[0], re.M | re.S
    )
)


def steps(walk: str) -> list[tuple[str, str]]:
    return re.findall(r"^\| `([\w.]+)` \| `([\w./]+)` \|", WALKS[walk], re.M)


def functions(path: str) -> set[str]:
    """Functions, classes and methods of a file, by their names."""
    found: set[str] = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            inner = (n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
            found |= {f"{node.name}.{method.name}" for method in inner}
    return found


@pytest.mark.parametrize("walk", WALKS)
def test_a_walk_leads_through_functions_that_are_there_and_no_file_twice(walk):
    found = steps(walk)
    assert len(found) >= 10 and len(found) == len(WALKS[walk].strip().splitlines()) - 2  # but the two of the head
    assert [step for step in found if step[0] not in functions(step[1])] == []
    assert len({path for _, path in found}) == len(found)


def test_there_are_three_walks():
    assert len(WALKS) == 3
