"""The table of searchers says of each what its page says."""

import re

from searchers.registry import LEARNS, NAMED
from tests.repository import ROOT

PAGE = ROOT / "docs" / "searchers.md"


def rows():
    """(names with their marks, whether they learn) of the page's table."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            names, learns, _ = (cell.strip() for cell in line.strip("|").split("|"))
            yield re.findall(r"`([^`]+)`( ◆)?", names), not learns.startswith("no")


def test_the_page_lists_those_of_the_table_with_what_they_need_and_learn_from():
    marks = {name: bool(mark) for names, _ in rows() for name, mark in names}
    assert marks == {name: listed.needs is not None for name, listed in NAMED.items()}
    assert {name for names, learns in rows() if learns for name, _ in names} == LEARNS
