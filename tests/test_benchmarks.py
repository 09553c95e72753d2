"""The benchmarks of searchers: their arithmetic by hand, what they write, and small real runs."""

import json
import math
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from belief_coverage import SHARES, inside
from belief_coverage import body as coverage_body
from belief_coverage import rows_of as coverage_rows
from calibration import Asked, answered, calibration, doubting
from calibration import body as calibration_body
from conditions import recommended, searches
from found import Found, found_by, ratio
from meta_training_speed import Work, batched, by_autograd, looped
from noise import Noise, for_good, noisy
from noise import body as noise_body
from results import Origin, markdown, put
from search import Run
from search import body as search_body
from search import main as search_main
from shuffled import KINDS, Sources, learns, shuffled
from shuffled import body as shuffled_body
from suggest_time import KNOBS, SIZES, Timed, _next, knobs, observed, setting
from switching import body as switching_body
from switching import searches as switching_searches
from switching import switched

import searchers.registry
from cluster.emulated.profiles import PROFILES
from raytune_infer.priors.emulated_tasks import time_batches
from raytune_infer.suites.replays import Plan, Unit
from raytune_infer.suites.suites import Suite, load_suite
from searchers.base import Observation
from searchers.baselines.random_search import RandomSearch
from searchers.replay import Step
from searchers.space import Space

ORIGIN = Origin("a CPU, 2 cores", "python benchmarks/x.py", "2026-01-31", "abc123")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A suite of four tasks in two groups over 12 configurations; the best is the last but one everywhere."""
    tasks = {"a1": "a", "a2": "a", "b1": "b", "b2": "b"}
    suite = {
        "name": "tiny",
        "parameters": [
            {"name": "size", "kind": "ordinal", "values": [1, 2, 3, 4]},
            {"name": "engine", "kind": "categorical", "values": ["x", "y", "z"]},
        ],
        "metrics": {"rps": "requests/s", "p99_ms": "ms"},
        "objectives": [
            {"name": "free", "maximize": "rps"},
            {"name": "tight", "maximize": "rps", "at_most": {"p99_ms": 100}},
        ],
        "tasks": {"source": list(tasks)},
        "groups": tasks,
    }
    where = tmp_path / "tiny"
    where.mkdir()
    (where / "suite.json").write_text(json.dumps(suite))
    for scale, task in enumerate(tasks, start=1):
        rows = [f"{size},{engine}" for size in (1, 2, 3, 4) for engine in "xyz"]
        values = [(scale * (i + 1), 10 * i) for i in range(10)] + [(scale * 100, 90), None]
        measured = [",".join(map(str, value)) if value else "," for value in values]
        lines = [f"{row},{value}" for row, value in zip(rows, measured, strict=True)]
        (where / f"{task}.csv").write_text("\n".join(["size,engine,rps,p99_ms", *lines]) + "\n")
    return where


@pytest.fixture
def suite(folder: Path) -> Suite:
    return load_suite(folder)


class Follower:
    """Tries in the order of what its sources measured, or at random; half sure of everything."""

    def __init__(self, problem):
        self._problem = problem

    def suggest(self, history, rng):
        totals = rng.random(len(self._problem.space))
        for task in self._problem.sources:
            for o in task.observed:
                totals[o.position] += o.metrics["rps"] if o.metrics else 0
        free = [p for p in np.argsort(-totals) if p not in history.taken]
        return int(free[0]) if free else None

    def chance_of_more(self, history, margin):
        return 0.5


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searchers.registry, "NAMED", {"random": RandomSearch, "follower": Follower})


# The file of results


def test_sections_are_replaced_in_place_and_the_others_stay(tmp_path):
    file = tmp_path / "made" / "RESULTS.md"
    for heading, body in (("One", "first"), ("Two", "### part\nsecond"), ("Three", "third"), ("Two", "again")):
        put(file, heading, ORIGIN, body)
    text = file.read_text()
    assert [line for line in text.splitlines() if line.startswith("#")] == ["# Results", "## One", "## Two", "## Three"]
    assert "again" in text and "second" not in text and "first" in text and "third" in text
    assert "`python benchmarks/x.py`, 2026-01-31, revision abc123, a CPU, 2 cores." in text
    put(file, "Three", ORIGIN, "third")
    assert file.read_text() == text
    assert [path.name for path in file.parent.iterdir()] == ["RESULTS.md"]


def test_what_was_written_by_hand_before_the_sections_stays(tmp_path):
    file = tmp_path / "RESULTS.md"
    file.write_text("# Ours\nRead this first.\n")
    put(file, "One", ORIGIN, "first")
    assert file.read_text().startswith("# Ours\nRead this first.\n\n## One\n")


@pytest.mark.parametrize(("heading", "body"), [("One", "text\n## Two\n"), ("One\nTwo", "text"), (" ", "text")])
def test_a_section_cannot_break_the_file(tmp_path, heading, body):
    with pytest.raises(ValueError, match="heading"):
        put(tmp_path / "RESULTS.md", heading, ORIGIN, body)
    assert not list(tmp_path.iterdir())


def test_tables():
    assert markdown(("a", "b"), [("x|y", "1")]) == "| a | b |\n| :-- | --: |\n| x\\|y | 1 |"
    with pytest.raises(ValueError, match="2 cells"):
        markdown(("a", "b"), [("x",)])


def test_origin_names_no_path_of_this_machine(tmp_path):
    origin = Origin.here([str(Path(__file__)), str(tmp_path), "--seeds", "3"])
    python, script, where, *rest = origin.command.split()
    assert (python, script, rest) == ("python", "tests/test_benchmarks.py", ["--seeds", "3"])
    assert Path(where).name == tmp_path.name and not Path(where).is_absolute() and where.count("..") <= 1
    assert origin.machine and origin.revision


# What searches found


def found(*curves: list[float], tasks: str = "abcdefgh") -> Found:
    return Found(tuple(("s", "o", task, 0) for task, _ in zip(tasks, curves, strict=False)), np.array(curves))


def test_trials_by_hand():
    mine = found([0.2, 1.0, 1.0, 1.0], [0.95, 0.95, 0.95, 1.0], [0.1, 0.1, 0.1, 0.9])
    assert mine.trials(0.95).tolist() == [2, 1, 4]  # not found counts as the budget
    assert mine.cells(0.95) == ["2 / – / –", "1", "2.33"]
    assert mine.after(2) == "0.683" and mine.after(5) == "–"
    other = found([1.0] * 4, [1.0] * 4, [1.0] * 4)
    assert ratio(mine, other, 0.95).value == pytest.approx(7 / 3)
    assert str(ratio(mine, mine, 0.95)) == "1.00 (1.00–1.00)"


def test_a_ratio_is_over_the_searches_that_both_did():
    mine, other = found([0.0, 1.0], tasks="a"), found([0.0, 1.0], [1.0, 1.0], tasks="ba")
    assert ratio(mine, other, 0.9).value == 2
    assert ratio(mine, found([1.0, 1.0], tasks="z"), 0.9) is None


def test_a_ratios_interval_covers_what_is_true():
    rng = np.random.default_rng(0)
    labels = tuple(("s", "o", f"task {i}", 0) for i in range(60))
    late = np.array([np.arange(1, 41) >= rng.integers(1, 21) for _ in labels], dtype=float)
    later = np.array([np.arange(1, 41) >= 2 * (1 + int(np.argmax(one))) for one in late], dtype=float)
    multiple = ratio(Found(labels, later), Found(labels, late), 1.0)
    assert multiple.value == 2 and (multiple.low, multiple.high) == (2, 2)  # paired: no task differs in it
    shuffled_tasks = Found(labels, later[rng.permutation(60)])
    wide = ratio(shuffled_tasks, Found(labels, late), 1.0)
    assert wide.low < 2 < wide.high


def test_curves_from_rows_where_one_search_ended_early():
    rows = pd.DataFrame(
        [("s", "o", "t", "r", seed, k, f) for seed, curve in ((0, [0.5]), (1, [0.1, 0.2, 1.0]))
         for k, f in enumerate(curve, start=1)],
        columns=["suite", "objective", "task", "searcher", "seed", "trial", "fraction"],
    )  # fmt: skip
    assert found_by(rows)["r"].fractions.tolist() == [[0.5, 0.5, 0.5], [0.1, 0.2, 1.0]]
    assert found_by(rows, budget=2)["r"].fractions.tolist() == [[0.5, 0.5], [0.1, 0.2]]
    with pytest.raises(ValueError, match="count from 1"):
        found_by(pd.concat([rows, rows]))


# Search


def test_search_writes_a_section_that_can_be_made_again(folder, tmp_path, capsys):
    out, kept = tmp_path / "RESULTS.md", tmp_path / "kept" / "results.csv"
    arguments = [str(folder), "--searchers", "random", "--seeds", "2", "--budget", "6", "--jobs", "1"]
    search_main([*arguments, "--out", str(out), "--keep", str(kept)])
    text = out.read_text()
    assert "## Trials of a search: tiny (at most 6 trials, seeds: 2)" in text
    assert "| random | 16 | " in text and "free | tight |" in text
    search_main(["--from", str(kept), "--out", str(out)])
    assert out.read_text() == text  # the origin is that of the searches
    with pytest.raises(SystemExit):
        search_main([str(folder), "--from", str(kept)])
    assert "either folders" in capsys.readouterr().err


def test_the_default_is_what_others_are_compared_with(monkeypatch):
    columns = ["suite", "objective", "task", "searcher", "seed", "trial", "fraction", "suggest_s"]
    rows = [("s", "o", "t", name, 0, k, float(k >= at), 0.25)
            for name, at in (("best", 2), ("other", 3)) for k in (1, 2, 3, 4)]  # fmt: skip
    monkeypatch.setattr("search.DEFAULT", "best")
    text = search_body(Run("heading", ORIGIN, pd.DataFrame(rows, columns=columns), ("a note",)), 0.95, None)
    assert "| best | 1 | 2 / 2 / 2 | 0 | 2.00 |  | – | – | 0.250 |" in text
    assert "| other | 1 | 3 / 3 / 3 | 0 | 3.00 | 1.50 (1.50–1.50) | – | – | 0.250 |" in text
    assert text.endswith("- a note")


def test_drawings_are_small_labelled_and_always_the_same(tmp_path):
    pytest.importorskip("matplotlib", reason="drawings need the extra `bench`")
    from drawings import regret, reliability

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


# Seconds of a suggestion


def test_spaces_of_a_thousand_and_a_million_configurations():
    for size, sizes in SIZES.items():
        assert math.prod(len(knob.values) for knob in knobs(sizes)) == size
        assert tuple(knob.name for knob in knobs(sizes)) == KNOBS


def test_a_few_configurations_are_emulated_as_in_the_whole_space():
    problem, model = setting(1000)
    whole = time_batches(model, problem.space).metrics()
    assert observed(problem.space, model, [7, 999, 0]) == tuple(Observation(p, whole[p]) for p in (7, 999, 0))
    assert len(problem.sources) == 4 and {len(task.observed) for task in problem.sources} == {100}
    assert len({task.name for task in problem.sources} - {model.name}) == 4
    assert isinstance(problem.space, Space) and model in PROFILES


def test_what_a_timed_process_answers():
    ours, theirs = Pipe()
    with pytest.raises(TimeoutError):
        _next(ours, 0)
    theirs.send(0.5)
    assert _next(ours, 1) == 0.5
    theirs.send("needs more than 8 GiB")
    with pytest.raises(RuntimeError, match="8 GiB"):
        _next(ours, 1)
    assert Timed(1.0, (3.0, 1.0, 2.0)).cells() == ["1.000", "2.000"]
    assert Timed(wrong="skipped").cells() == ["–", "skipped"]


# Speed of meta-training


@pytest.mark.parametrize("steps", [1, 3])
def test_the_loop_that_ours_is_compared_with_does_the_same_work(steps):
    work = Work(steps, episodes=4, shots=5, asked=8, tasks=3, columns=4, rows=20)
    ours = batched(work)
    assert looped(work, by_autograd) == pytest.approx(ours, rel=1e-4)
    assert len(set(ours)) == 4 and work.task_steps == 12 * steps


# Conditions


def test_tasks_that_learn_from_the_same_sources_are_together(suite):
    assert suite.together() == (("a1", "a2"), ("b1", "b2"))
    assert suite.together(with_sources=False) == (("a1",), ("a2",), ("b1",), ("b2",))


def test_what_is_recommended_counts_with_its_true_value():
    # Position 2 looks best, and does not keep the limits in truth.
    steps = [Step(0, None, None, 0), Step(1, 5.0, 5.0, 0), Step(2, 9.0, 9.0, 0), Step(3, 8.0, 9.0, 0)]
    assert recommended(steps, np.array([0.0, 5.0, 0.0, 10.0])) == [0, 0.5, 0, 0]
    settled = for_good(found([0.0, 0.9, 0.5, 1.0]))
    assert settled.fractions.tolist() == [[0.0, 0.5, 0.5, 1.0]]


@pytest.mark.parametrize("alike", [False, True])
def test_shuffled_sources_keep_what_was_measured_at_other_configurations(suite, alike):
    tasks = suite.table("a1", "free").problem.sources
    mixed = shuffled(tasks, np.random.default_rng(0), alike=alike)
    moved = []
    for before, after in zip(tasks, mixed, strict=True):
        assert [o.position for o in after.observed] == [o.position for o in before.observed]
        metrics = [o.metrics for o in before.observed]
        moved.append([metrics.index(o.metrics) for o in after.observed])
        assert sorted(moved[-1]) == list(range(12)) != moved[-1]
    assert (moved[0] == moved[1]) == alike


def test_sources_are_shuffled_once_for_all_who_learn_from_them(suite):
    for kind in ("shuffled apart", "shuffled alike"):
        tables = [
            Sources(kind).table(suite, "a1", objective, seed) for objective in ("free", "tight") for seed in (0, 1)
        ]
        assert len({id(table.problem.sources) for table in tables}) == 1
    assert Sources("none").table(suite, "a1", "free", 0).problem.sources == ()
    assert Sources("true").table(suite, "a1", "free", 0).problem.sources is suite.table("a1", "free").problem.sources


def test_who_learns_is_found_by_what_they_do(suite):
    assert learns("follower", suite) and not learns("random", suite)


def test_a_searcher_without_guard_is_found_out_by_shuffled_sources(suite, folder):
    plan = Plan(folder, ("follower",), ("free",), budget=12, seeds=3)
    parts = [rows for kind in KINDS for tasks in suite.together()
             for rows in searches(suite, plan, Unit("follower", tasks), Sources(kind))]  # fmt: skip
    rows = pd.concat(parts, ignore_index=True)
    by = found_by(rows, "condition")
    assert by["true"].trials(1.0).tolist() == [1] * 12
    assert by["none"].trials(1.0).mean() > 1 and by["shuffled alike"].trials(1.0).mean() > 1
    assert "| follower | true | 1 / 1 / 1 | 0 | 1.00 |" in shuffled_body(rows, ["left out"], 0.95)


def test_noise_has_the_size_that_was_asked_for_and_spares_failures(suite):
    table = suite.table("a1", "free")
    assert noisy(table, 0.0, np.random.default_rng(0)) == table
    rng = np.random.default_rng(0)
    logs = [
        math.log(measured["rps"] / true["rps"])
        for _ in range(200)
        for measured, true in zip(noisy(table, 0.15, rng).metrics, table.metrics, strict=True)
        if measured is not None
    ]
    assert len(logs) == 2200  # one of twelve fails
    assert np.mean(logs) == pytest.approx(0, abs=0.01) and np.std(logs) == pytest.approx(0.15, rel=0.05)
    first, again, other = (Noise(0.1).table(suite, "a1", "free", seed) for seed in (0, 0, 1))
    assert first.metrics == again.metrics != other.metrics


def test_a_lucky_measurement_costs_what_it_would_cost_its_user(suite, folder):
    plan = Plan(folder, ("random",), ("free", "tight"), budget=12, seeds=2)
    rows = pd.concat(
        [rows for sigma in (0.0, 2.0) for tasks in suite.together()
         for rows in searches(suite, plan, Unit("random", tasks), Noise(sigma))],
        ignore_index=True,
    )  # fmt: skip
    by = found_by(rows, "condition")
    assert (by["0"].fractions[:, -1] == 1).all() and by["2"].fractions[:, -1].mean() < 1
    assert "| random | 0 |" in (text := noise_body(rows, [], 0.95)) and "| random | 2 |" in text


# Calibration


def test_calibration_by_hand():
    figures = calibration([0.05, 0.3, 0.3, 1.0], [False, True, False, True])
    assert figures.counts.tolist() == [1, 0, 0, 2, 0, 0, 0, 0, 0, 1]
    assert figures.known() == ([0.05, 0.3, 1.0], [0.0, 0.5, 1.0])
    assert figures.brier == pytest.approx((0.05**2 + 0.7**2 + 0.3**2) / 4)
    assert figures.frequency == 0.5 and figures.skill == pytest.approx(1 - figures.brier / 0.25)
    assert math.isnan(calibration([0.5], [True]).skill)


def test_who_gives_true_chances_is_on_the_diagonal():
    rng = np.random.default_rng(0)
    chances = rng.random(20_000)
    figures = calibration(chances.tolist(), (rng.random(20_000) < chances).tolist())
    assert np.abs(figures.predicted - figures.observed).max() < 0.04
    assert figures.brier == pytest.approx(1 / 6, abs=0.005)  # the integral of p (1 - p)


def test_answers_are_those_of_the_table(suite, folder, monkeypatch):
    monkeypatch.setattr("calibration.NAMED", searchers.registry.NAMED)
    assert doubting() == ["follower"]
    plan = Plan(folder, ("follower",), ("free",), budget=3, seeds=1, with_sources=True)
    asked = list(answered(suite, plan, Unit("follower", ("a1",)), (0.0, 50.0)))
    # The first trial has found the best, so nothing is better ever after.
    assert asked == [Asked("follower", margin, 0.5, False) for _ in range(3) for margin in (0.0, 50.0)]
    assert "| follower | 0 | 3 | 0.000 | 0.250 | nan |" in calibration_body(asked, None)
    with pytest.raises(ValueError, match="from 0 to 1"):
        Asked("x", 0.0, 1.5, True)


# Switches of replicas


def test_switches_are_counted_from_trial_to_trial():
    steps = [Step(position, None, None, 0) for position in (3, 0, 1, 2, 3)]
    assert switched(steps, np.array([0, 0, 5, 5])) == [True, True, False, True, False]


def test_who_cares_for_replicas_starts_fewer(suite, folder):
    plan = Plan(folder, ("meta",), ("free",), budget=8, seeds=1)
    rows = pd.concat(list(switching_searches(suite, plan, Unit("meta", ("a1",)), (0.0, 0.5))), ignore_index=True)
    assert rows["trial"].tolist() == [*range(1, 9)] * 2
    # No knob of this suite changes in place.
    assert rows["switched"].all()
    text = switching_body(rows, 0.95)
    assert "| 0 | 1 | " in text and "| 1.00 | 1.00 | 7.0 | 7.0 |" in text


# Coverage of beliefs


def test_who_believes_the_truth_has_it_inside_as_often_as_said():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal(2000)
    samples = centres + rng.standard_normal((500, 2000))
    truth = centres + rng.standard_normal(2000)
    for share in SHARES:
        assert inside(samples, truth, share) == pytest.approx(share, abs=0.03)
        assert inside(5 + samples, truth, share) < 0.02


def test_coverage_is_of_what_is_not_measured_yet(suite, folder):
    plan = Plan(folder, ("meta",), ("free",), budget=20, seeds=1)
    rows = pd.concat(list(coverage_rows(suite, plan, Unit("meta", ("b1",)), (0, 2, 11))), ignore_index=True)
    # After 11 of 12 nothing that can run may be left.
    assert rows["trials"].tolist()[:2] == [0, 2] and set(rows["metric"]) == {"rps"}
    covered = rows[list(SHARES)].to_numpy()
    assert ((covered >= 0) & (covered <= 1)).all()
    assert "| rps | 2 | 1 | " in coverage_body(rows)
