"""Searches replayed on tables: each by its own seed and within its budget, judged against the best there is, and never
taught by its own group."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raytune_infer.errors import SuiteError
from raytune_infer.report.replay_report import summary
from raytune_infer.suites.replays import COLUMNS, Plan, Results, Search, Unit, check_out, run, searches, units, write
from raytune_infer.suites.suites import MeasuredTask, Suite
from raytune_infer.suites.workers import WorkerDied
from searchers.objective import Expression, Objective
from searchers.registry import NAMED
from searchers.replay import Step, replay
from searchers.space import Knob, Space
from tests.raytune_infer.report.shown_views import headings, texts

SPACE = Space([Knob("batch", (1, 2, 4, 8)), Knob("mode", ("a", "b"), "categorical")])
GROUPS = {"a_short": "a", "a_long": "a", "b": "b", "c": "c"}


def task(name: str, scale: float, fails: int = 3) -> MeasuredTask:
    """Position p gives 1 + p times the scale and costs the same everywhere; one of them fails."""
    metrics = tuple(None if p == fails else {"rps": scale * (1 + p)} for p in range(len(SPACE)))
    return MeasuredTask(name, GROUPS[name], SPACE, metrics, np.full(len(SPACE), 2.0), {"size": scale})


def suite(**more) -> Suite:
    objectives = {"fast": Objective(Expression("rps")), "enough": Objective(Expression("rps"), at_least={"rps": 20})}
    tasks = {name: task(name, scale) for name, scale in zip(GROUPS, (1.0, 2.0, 3.0, 4.0), strict=True)}
    return Suite("tiny", objectives, tasks, **{"sources": tuple(GROUPS), **more})


def plan(**more) -> Plan:
    return Plan(Path("nowhere"), **{"searchers": ("random",), "objectives": ("fast",), "budget": 4, "seeds": 2, **more})


@pytest.mark.parametrize(
    "wrong", [{"searchers": ()}, {"budget": 0}, {"seeds": 0}, {"parallel": 0}, {"budget": -1}]
)  # fmt: skip
def test_a_plan_of_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match="budget, seeds and parallel must be 1 or more"):
        plan(**wrong)
    assert plan(budget=1, seeds=1, parallel=1)


def test_a_plan_names_what_there_is_once_each():
    asked = plan(searchers=("random", "ernest", "random"), objectives=()).checked(suite())
    assert (asked.searchers, asked.objectives) == (("random", "ernest"), ("fast", "enough"))
    assert plan(objectives=("enough", "enough")).checked(suite()).objectives == ("enough",)
    with pytest.raises(SuiteError, match="unknown searcher 'nobody'"):
        plan(searchers=("random", "nobody")).checked(suite())
    with pytest.raises(SuiteError, match="tiny has no objective 'slow'; there are fast, enough"):
        plan(objectives=("fast", "slow")).checked(suite())


@pytest.mark.parametrize("parallel", [1, 3])
def test_each_search_is_the_one_of_its_seed_on_its_own_table(parallel):
    known = suite()
    found = list(searches(known, plan(parallel=parallel, seeds=3), Unit("random", ("b", "a_long"))))
    assert [(s.objective, s.task, s.searcher, s.seed) for s in found] == [
        ("fast", name, "random", seed) for name in ("b", "a_long") for seed in (0, 1, 2)
    ]
    for search in found:
        table = known.table(search.task, "fast")
        made = NAMED["random"](table.problem)
        steps = list(replay(table, made, budget=4, seed=search.seed, parallel=parallel))
        assert [(s.position, s.value, s.best) for s in search.steps] == [(s.position, s.value, s.best) for s in steps]
        # The best there is, whether it was found or not.
        assert search.best == {"b": 24.0, "a_long": 16.0}[search.task] and len(search.steps) == 4
        assert all(step.suggest_s > 0 for step in search.steps)
    assert len({tuple(step.position for step in s.steps) for s in found[:3]}) == 3


def test_a_seed_starts_elsewhere_on_another_task():
    known = suite()
    asked = plan(seeds=1, budget=2, objectives=("fast", "enough"))
    starts = [
        [step.position for step in search.steps]
        for unit in units(asked, known)
        for search in searches(known, asked, unit)
    ]
    assert len(starts) == 6  # "enough" counts on two tasks only
    assert len(set(map(tuple, starts))) > 3


@pytest.mark.parametrize("parallel", [1, 3])
def test_as_many_trials_run_at_a_time_as_are_asked_for(monkeypatch, parallel):
    running = []

    class Watches:
        def __init__(self, problem) -> None:
            pass

        def suggest(self, history, rng):
            running.append(len(history.pending))
            return min(set(range(len(SPACE))) - history.taken)

    monkeypatch.setattr(Plan, "factory", lambda self, name: Watches)
    assert len(list(searches(suite(), plan(parallel=parallel, seeds=1, budget=6), Unit("watches", ("b",))))) == 1
    assert running == [min(number, parallel - 1) for number in range(6)]


def test_a_search_may_end_with_the_best_there_is():
    asked = plan(seeds=3, budget=8)
    for whole, short in zip(
        *(searches(suite(), replace(asked, until_best=ends), Unit("random", ("b",))) for ends in (False, True)),
        strict=True,
    ):
        at = [step.value for step in whole.steps].index(24.0)
        assert [s.position for s in short.steps] == [s.position for s in whole.steps[: at + 1]] and len(
            whole.steps
        ) == 8


def test_where_nothing_counts_there_is_nothing_to_search():
    found = list(searches(suite(), plan(objectives=("enough",)), Unit("random", ("a_short", "b"))))
    assert {s.task for s in found} == {"b"}  # the first gives 8 at most


def test_who_learns_is_taught_by_other_groups_alone(monkeypatch):
    taught: dict[str, set[str]] = {}

    class Asks:
        now = ""

        def __init__(self, problem) -> None:
            taught[self.now] = {source.name for source in problem.sources}

        def suggest(self, history, rng):
            return 0 if not history.observed else None

    monkeypatch.setattr(Plan, "factory", lambda self, name: Asks)
    for name in GROUPS:
        Asks.now = name
        assert len(list(searches(suite(), plan(), Unit("asks", (name,))))) == 2
    assert taught == {
        "a_short": {"b", "c"}, "a_long": {"b", "c"}, "b": {"a_short", "a_long", "c"}, "c": {"a_short", "a_long", "b"},
    }  # fmt: skip
    for name in GROUPS:
        Asks.now = name
        list(searches(suite(), plan(sources="none"), Unit("asks", (name,))))
    assert set(map(frozenset, taught.values())) == {frozenset()}


def test_tasks_that_learn_from_the_same_go_together():
    assert units(plan(searchers=("random", "ernest")), suite()) == [
        Unit(name, tasks) for name in ("random", "ernest") for tasks in (("a_short", "a_long"), ("b",), ("c",))
    ]
    alone = suite().together(with_sources=False)
    assert alone == (("a_short",), ("a_long",), ("b",), ("c",))
    judged = suite(sources=("a_short", "b"), targets=("a_long", "c"))
    assert judged.judged == ("a_long", "c") and suite().judged == tuple(GROUPS)
    assert judged.sources_of("a_long") == ("b",) and judged.sources_of("c") == ("a_short", "b")


def test_what_was_measured_is_a_source_with_its_price():
    source = suite().tasks["b"].as_source
    assert (source.name, source.group, source.facts) == ("b", "b", {"size": 3.0})
    assert source.observed[0].metrics == {"rps": 3.0, "usd_per_hour": 2.0} and source.observed[3].metrics is None
    assert [o.position for o in source.observed] == list(range(8))
    unpriced = replace(task("c", 1.0), usd_per_hour=np.full(8, math.nan)).as_source
    assert unpriced.observed[0].metrics == {"rps": 1.0}


def in_order(known: Suite, asked: Plan, monkeypatch, stop: BaseException | None = None) -> Results:
    """A run whose work is done here; backwards, as processes may."""

    def here(work, given, all_units, jobs):
        assert jobs == 3
        for unit in reversed(all_units):
            yield from searches(known, given, unit)
        if stop is not None:
            raise stop

    monkeypatch.setattr("raytune_infer.suites.replays.in_processes", here)
    seen: list[tuple[int, int]] = []
    results = run(asked, known, jobs=3, watch=lambda done, of: seen.append((done, of)))
    assert seen == [(k, seen[-1][1]) for k in range(len(seen))]
    return results


def test_results_are_in_the_order_of_what_was_asked_for(monkeypatch):
    results = in_order(suite(), plan(searchers=("ernest", "random"), objectives=("enough", "fast")), monkeypatch)
    keys = [(s.objective, s.task, s.searcher, s.seed) for s in results.searches]
    hopeless = (("enough", "a_short"), ("enough", "a_long"))
    assert results.hopeless == hopeless and results.stopped is None
    assert keys == [
        (objective, name, searcher, seed)
        for objective in ("enough", "fast") for name in GROUPS if (objective, name) not in hopeless
        for searcher in ("ernest", "random") for seed in (0, 1)
    ]  # fmt: skip
    assert len(results.of("random")) == 12 and len(results.of("random", "enough")) == 4
    assert {s.searcher for s in results.of("ernest", "fast")} == {"ernest"}
    assert results.notes() == ["left out, as no configuration is feasible there: a_short (enough), a_long (enough)"]


def test_each_process_reads_the_suite_as_the_plan_says(monkeypatch):
    read = []

    def load(folder):
        read.append(folder)
        return suite()

    monkeypatch.setattr(
        "raytune_infer.suites.replays.in_processes", lambda work, given, all_units, jobs: work(given, iter(all_units))
    )
    results = run(plan(load=load, seeds=1), suite())
    assert read == [Path("nowhere")] and len(results.searches) == 4


@pytest.mark.parametrize(
    ("stop", "said"),
    [
        (KeyboardInterrupt(), "stopped early; the figures cover the finished searches only"),
        (WorkerDied("it is gone"), "stopped early; the figures cover the finished searches only (it is gone)"),
    ],
)
def test_what_stops_the_work_leaves_what_was_done(monkeypatch, stop, said):
    results = in_order(suite(), plan(seeds=1), monkeypatch, stop)
    assert results.stopped is stop and len(results.searches) == 4 and results.notes() == [said]


def results_of(*found: Search) -> Results:
    return Results(plan(objectives=("fast", "enough")), suite(), found, None, ())


def test_a_row_is_a_trial(tmp_path):
    steps = (Step(5, None, None, 0.5), Step(0, 3.0, 3.0, 0.25), Step(6, 21.0, 21.0, 0.125), Step(1, 6.0, 21.0, 0.0))
    results = results_of(Search("fast", "b", "random", 7, 24.0, steps))
    frame = results.frame()
    assert tuple(frame.columns) == COLUMNS and frame.trial.tolist() == [1, 2, 3, 4]
    assert set(zip(frame.suite, frame.objective, frame.task, frame.searcher, frame.seed, strict=True)) == {
        ("tiny", "fast", "b", "random", 7)
    }
    assert [json.loads(text) for text in frame.config] == [SPACE[p] for p in (5, 0, 6, 1)]
    assert frame.feasible.tolist() == [False, True, True, True]
    assert frame.value.fillna(0).tolist() == [0, 3, 21, 6] and frame.best.fillna(0).tolist() == [0, 3, 21, 21]
    assert frame.fraction.tolist() == [0, 0.125, 0.875, 0.875] and frame.suggest_s.tolist() == [0.5, 0.25, 0.125, 0]
    out = tmp_path / "deep" / "r.csv"
    check_out(out)
    write(results, out)
    assert len(out.read_text().splitlines()) == 5


def test_the_time_to_make_a_searcher_is_that_of_its_first_suggestion(monkeypatch):
    times = iter([10.0, 14.0, 20.0, 21.0])
    monkeypatch.setattr("raytune_infer.suites.replays.perf_counter", lambda: next(times))
    monkeypatch.setattr(
        "raytune_infer.suites.replays.replay",
        lambda table, made, **how: [Step(0, 1.0, 1.0, 0.5), Step(1, 1.0, 1.0, 0.25)],
    )
    found = list(searches(suite(), plan(), Unit("random", ("b",))))
    assert [[step.suggest_s for step in search.steps] for search in found] == [[4.5, 0.25], [1.5, 0.25]]


def test_the_summary_counts_trials_until_fractions_of_the_best():
    def search(seed: int, *values: float, objective: str = "fast") -> Search:
        best = np.maximum.accumulate(values)
        steps = tuple(Step(i, v, float(b), 0.0) for i, (v, b) in enumerate(zip(values, best, strict=True)))
        return Search(objective, "b", "random", seed, 100.0, steps)

    table = summary(results_of(search(0, 91, 96, 100, 1), search(1, 50, 60, 92, 92)))
    rows = texts(table)
    # 90 % after 1 and 3 trials, 95 % after 2 and never, all of it after 3 and never; of two, the median is the worse.
    cells = ["2", "3 / 3 / 3 (0)", "– / – / – (1)", "– / – / – (1)"]
    assert rows[0][:6] == ["random", "", *cells] and rows[1][:6] == ["random", "fast", *cells]
    assert rows[2][:3] == ["random", "enough", "0"]
    assert headings(table)[3:6] == ["90% of the best", "95% of the best", "100% of the best"]
    assert headings(table)[6:] == ["after 5", "after 10", "after 30"]


@pytest.mark.parametrize("out", [".", "file/r.csv"])
def test_results_that_could_not_be_written_are_refused_before_the_work(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SuiteError, match="cannot write the results to .*; name a file with --out"):
        check_out(Path(out))
    check_out(Path("new/folder/r.csv"))
    check_out(Path("file"))
