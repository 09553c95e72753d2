"""The table of cases names tests that there are, one for each case that is said to be settled."""

import ast
import re
from functools import cache

import pytest

from tests.repository import ROOT

ROWS = [
    [cell.strip() for cell in line.strip("|\n").split(" | ")]
    for line in (ROOT / "docs" / "cases.md").read_text(encoding="utf-8").splitlines()
    if re.match(r"\| c\d\d ", line)
]
OPEN = "…"


@cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_each_case_is_there_once_and_in_order():
    numbers = [int(case[1:]) for case, *_ in ROWS]
    assert len(numbers) == 53 and numbers == sorted(set(numbers))


@pytest.mark.parametrize(("case", "does", "before", "now", "test"), ROWS)
def test_what_is_said_to_be_settled_is_held_by_a_test(case, does, before, now, test):
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", test)
    assert does and before and bool(named) == (now != OPEN and test != "by hand")
    for file, function in named:
        assert function in functions(file), f"{case}: {file} has no {function}"
