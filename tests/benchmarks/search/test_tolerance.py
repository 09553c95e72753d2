"""The tolerance of the default searcher: it is passed on, and trials are counted to other goals than its own."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.search.tolerance import Tolerance, body, main
from searchers.base import History


def rows(**found: list[float]) -> pd.DataFrame:
    columns = ["suite", "objective", "group", "task", "searcher", "condition", "seed", "trial", "fraction"]
    lines = [
        ("s", "o", "g", "t", "meta", tolerance.replace("t", "0."), 0, k, fraction)
        for tolerance, fractions in found.items()
        for k, fraction in enumerate(fractions, start=1)
    ]
    return pd.DataFrame(lines, columns=columns)


def test_trials_are_counted_to_goals_of_any_tolerance():
    text = body(rows(t1=[0.92, 0.92, 0.96, 1.0], t05=[0.5, 0.96, 0.96, 1.0], t01=[0.5, 0.5, 0.5, 0.995]), ["a note"])
    assert "| 0.05 | 1 | 2 / 2 / 2 | 0 |  | 2 / 2 / 2 | 0 |  | 4 / 4 / 4 | 0 |  | – | – | – |" in text
    assert "| 0.1 | 1 | 1 / 1 / 1 | 0 | 0.50 (0.50–0.50) | 3 / 3 / 3 | 0 | 1.50 (1.50–1.50) |" in text
    assert text.index("| 0.01 |") < text.index("| 0.05 |") < text.index("| 0.1 |") and text.endswith("- a note")


def test_the_acquisition_gets_the_tolerance_that_is_asked_for(suite, monkeypatch):
    got = []

    def acquisition(values: np.ndarray, taken: np.ndarray, tolerance: float) -> np.ndarray:
        got.append(tolerance)
        return values.mean(axis=0)

    monkeypatch.setattr("searchers.meta.meta.acquisition", acquisition)
    condition = Tolerance(0.02)
    table = condition.table(suite, "a1", "free", seed=0)
    condition.make("meta")(table.problem).suggest(History(), np.random.default_rng(0))
    assert got == [0.02] and condition.name == "0.02"


def test_what_is_no_tolerance_is_refused(folder, capsys):
    with pytest.raises(SystemExit):
        main([str(folder), "--tolerances", "0.05", "1"])
    assert "from 0 to below 1" in capsys.readouterr().err
