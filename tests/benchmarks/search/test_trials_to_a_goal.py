"""What searches found: its arithmetic by hand, how it is written and drawn, and a small real run."""

import argparse
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks.recording.origin import Origin
from benchmarks.search.replaying.found import Found, found_by, ratio
from benchmarks.search.replaying.runs import Run, searched
from benchmarks.search.search import body, by_default, heading, main
from raytune_infer.suites.replays import Plan, Results, searches, units
from searchers.registry import DEFAULT, LEARNS, NAMED

ORIGIN = Origin("a CPU, 2 cores", "python -m benchmarks x", "2026-01-31", "abc123")


def found(*curves: list[float], tasks: str = "abcdefgh") -> Found:
    return Found(tuple(("s", "o", task, task, 0) for task, _ in zip(tasks, curves, strict=False)), np.array(curves))


def test_trials_by_hand():
    mine = found([0.2, 1.0, 1.0, 1.0], [0.95, 0.95, 0.95, 1.0], [0.1, 0.1, 0.1, 0.9])
    assert mine.trials(0.95).tolist() == [2, 1, 4]  # not found counts as the budget
    assert mine.cells(0.95) == ["2 / – / –", "1", "2.33"]
    assert mine.regret(2) == "0.317" and mine.regret(5) == "–"
    other = found([1.0] * 4, [1.0] * 4, [1.0] * 4)
    assert ratio(mine, other, 0.95).value == pytest.approx(7 / 3)
    assert str(ratio(mine, mine, 0.95)) == "1.00 (1.00–1.00)"


def test_a_ratio_is_over_the_searches_that_both_did():
    mine, other = found([0.0, 1.0], tasks="a"), found([0.0, 1.0], [1.0, 1.0], tasks="ba")
    assert ratio(mine, other, 0.9).value == 2
    assert ratio(mine, found([1.0, 1.0], tasks="z"), 0.9) is None


def test_a_ratio_takes_the_mean_over_seeds_first():
    """One needs three seeds and the other one: all of its seeds count, each as a third."""
    labels = tuple(("s", "o", "g", "t", seed) for seed in range(3))
    drawn = Found(labels, np.array([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]))
    sure = Found(labels[:1], np.array([[1.0, 1.0, 1.0]]))
    assert ratio(drawn, sure, 0.95).value == 2 and ratio(sure, drawn, 0.95).value == 0.5
    assert (drawn.seeds, sure.seeds) == (3, 1)


def test_workloads_of_one_model_do_not_narrow_an_interval():
    """Two models, on one of which it needs three times the trials: whatever the workloads, that is two draws."""

    def of(workloads: int) -> tuple[float, float]:
        labels = tuple(("s", "o", model, f"{model} {w}", 0) for model in "ab" for w in range(workloads))
        late = np.array([np.arange(1, 4) >= (3 if label[2] == "a" else 1) for label in labels], dtype=float)
        multiple = ratio(Found(labels, late), Found(labels, np.ones_like(late)), 0.95)
        assert multiple.value == 2
        return multiple.low, multiple.high

    assert of(1) == of(20) == (1, 3)


def test_a_search_that_found_the_best_keeps_it_to_the_end_of_the_budget():
    columns = ["suite", "objective", "group", "task", "searcher", "seed", "trial", "fraction", "suggest_s"]
    rows = pd.DataFrame([("s", "o", "g", "t", "a", 0, k, f, 0.5) for k, f in ((1, 0.25), (2, 1.0))], columns=columns)
    text = body(Run("heading", ORIGIN, rows, 10), 0.95, None)
    assert "| a | 1 | 1 | 2 / 2 / 2 | 0 | 2.00 |  | 2 / 2 / 2 | 0 | 0.000 | 0.000 | – | 0.500 |" in text


def test_a_ratios_interval_covers_what_is_true():
    rng = np.random.default_rng(0)
    labels = tuple(("s", "o", f"group {i}", "task", 0) for i in range(60))
    late = np.array([np.arange(1, 41) >= rng.integers(1, 21) for _ in labels], dtype=float)
    later = np.array([np.arange(1, 41) >= 2 * (1 + int(np.argmax(one))) for one in late], dtype=float)
    multiple = ratio(Found(labels, later), Found(labels, late), 1.0)
    assert multiple.value == 2 and (multiple.low, multiple.high) == (2, 2)  # paired: no task differs in it
    shuffled_tasks = Found(labels, later[rng.permutation(60)])
    wide = ratio(shuffled_tasks, Found(labels, late), 1.0)
    assert wide.low < 2 < wide.high


def test_curves_from_rows_where_one_search_ended_early():
    rows = pd.DataFrame(
        [("s", "o", "g", "t", "r", seed, k, f) for seed, curve in ((0, [0.5]), (1, [0.1, 0.2, 1.0]))
         for k, f in enumerate(curve, start=1)],
        columns=["suite", "objective", "group", "task", "searcher", "seed", "trial", "fraction"],
    )  # fmt: skip
    assert found_by(rows)["r"].fractions.tolist() == [[0.5, 0.5, 0.5], [0.1, 0.2, 1.0]]
    assert found_by(rows, budget=2)["r"].fractions.tolist() == [[0.5, 0.5], [0.1, 0.2]]
    with pytest.raises(ValueError, match="not numbered 1, 2, 3"):
        found_by(pd.concat([rows, rows]))


@pytest.mark.usefixtures("names")
def test_search_writes_a_section_that_can_be_made_again(folder, tmp_path, capsys):
    out, kept = tmp_path / "RESULTS.md", tmp_path / "kept" / "results.csv"
    arguments = [str(folder), "--searchers", "random", "--seeds", "2", "--budget", "6", "--jobs", "1"]
    main([*arguments, "--out", str(out), "--keep", str(kept)])
    text = out.read_text()
    assert "## Trials of a search: tiny (at most 6 trials, seeds: 2)" in text
    assert "| random | 2 | 16 | " in text and "free | tight |" in text
    main(["--from", str(kept), "--out", str(out)])
    assert out.read_text() == text  # the origin is that of the searches
    with pytest.raises(SystemExit):
        main([str(folder), "--from", str(kept)])
    assert "either folders" in capsys.readouterr().err


def test_a_heading_says_what_was_learned():
    asked = argparse.Namespace(budget=30, seeds=5, parallel=1, sources="tables")
    assert heading(["a", "b"], asked) == "Trials of a search: a, b (at most 30 trials, seeds: 5)"
    asked.sources = "histories"
    said = "of each other task, 30 trials by random or optuna-tpe"
    assert heading(["a"], asked) == f"Trials of a search: a (at most 30 trials, seeds: 5; {said})"


def test_without_sources_those_that_learn_are_left_out_but_the_default():
    assert by_default("tables") == by_default("histories") == sorted(NAMED)
    assert set(by_default("none")) == set(NAMED) - LEARNS | {DEFAULT}


def test_what_was_searched_at_a_revision_is_not_searched_again(suite, folder, tmp_path, monkeypatch):
    runs = []

    def here(plan, suite, jobs):
        runs.append(plan)
        found = [s for unit in units(plan, suite) for s in searches(suite, plan, unit)]
        return Results(plan, suite, tuple(found), None, ())

    monkeypatch.setattr("benchmarks.search.replaying.runs.run", here)
    monkeypatch.setattr("benchmarks.search.replaying.runs.RUNS", tmp_path / "runs")
    plan = Plan(folder, ("random",), (), 5, 2).checked(suite)
    first, again, later = (searched(plan, suite, 1, revision)[0] for revision in ("abc", "abc", "def"))
    assert len(runs) == 2
    figures = ["objective", "group", "task", "seed", "trial", "fraction"]
    assert again[figures].equals(first[figures]) and later[figures].equals(first[figures])
    searched(replace(plan, budget=6), suite, 1, "abc")
    for _ in range(2):  # of code with changes nobody knows which
        searched(plan, suite, 1, "abc with changes")
    assert len(runs) == 5


def test_the_default_is_what_others_are_compared_with(monkeypatch):
    columns = ["suite", "objective", "group", "task", "searcher", "seed", "trial", "fraction", "suggest_s"]
    rows = [("s", "o", "g", "t", name, 0, k, float(k >= at), 0.25)
            for name, at in (("best", 2), ("other", 3)) for k in (1, 2, 3, 4)]  # fmt: skip
    monkeypatch.setattr("benchmarks.search.search.DEFAULT", "best")
    text = body(Run("heading", ORIGIN, pd.DataFrame(rows, columns=columns), 4, ("a note",)), 0.95, None)
    assert "| best | 1 | 1 | 2 / 2 / 2 | 0 | 2.00 |  | 2 / 2 / 2 | 0 | – | – | – | 0.250 |" in text
    assert "| other | 1 | 1 | 3 / 3 / 3 | 0 | 3.00 | 1.50 (1.50–1.50) | 3 / 3 / 3 | 0 | – | – | – | 0.250 |" in text
    assert text.endswith("- a note")


def test_drawings_are_small_labelled_and_always_the_same(tmp_path):
    pytest.importorskip("matplotlib", reason="drawings need the extra `bench`")
    from benchmarks.search.replaying.drawings import regret, reliability

    rng = np.random.default_rng(0)
    suites = {
        suite: {
            f"searcher {i}": found(*np.sort(rng.random((8, 100)), axis=1).tolist()) for i in range(12)
        } for suite in ("one", "two", "three")
    }  # fmt: skip
    files = [tmp_path / "images" / name for name in ("a.svg", "b.svg")]
    for file in files:
        regret(file, suites, "searcher 3")
    text = files[0].read_text()
    assert text == files[1].read_text() and len(text) < 100_000
    for label in ("trials", "best found, % of the best there is (mean)", "three", "searcher 11"):
        assert f">{label}<" in text
    reliability(files[0], {"toy": ([0.1, 0.9], [0.0, 1.0])}, "something better")
    assert "predicted chance of something better, %" in files[0].read_text()
