"""What the product says stays as it was, to twelve digits, unless a change is meant; see figures.py."""

import json

import pytest

from tests.characterisation.figures import CASES, STORED, rounded


@pytest.mark.parametrize("name", CASES)
def test_figures_are_as_they_were(name):
    stored = json.loads((STORED / f"{name}.json").read_text(encoding="utf-8"))
    found = json.loads(json.dumps(rounded(CASES[name]())))
    if isinstance(stored, dict):
        assert list(found) == list(stored)
        for inner in stored:
            assert found[inner] == stored[inner], inner
    assert found == stored


def test_nothing_is_stored_that_no_case_makes():
    assert {file.stem for file in STORED.iterdir()} == set(CASES)
