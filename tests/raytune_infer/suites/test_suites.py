"""Suites of measured tables: what is read, what is refused, what may be learned from; and replays of them."""

import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from cluster.catalogue import NO_GPU_FEATURES
from cluster.gpu_names.gpu_names import find
from cluster.gpus import FEATURE_NAMES
from raytune_infer.commands.app import app
from raytune_infer.errors import SuiteError, UserError
from raytune_infer.spec.standard_knobs import encode, encode_found
from raytune_infer.suites.replays import COLUMNS, Plan, Search, Unit, searches
from raytune_infer.suites.suites import load_suite
from searchers.baselines.random_search import RandomSearch
from searchers.registry import NAMED
from searchers.replay import replay
from searchers.surfaces.belief import PRETRAINED, pretrained
from tests.repository import ROOT

torch.set_num_threads(1)

TASKS = {"a_short": "a", "a_long": "a", "b_short": "b", "c_short": "c"}
HEAD = "gpu_type,size,gpus,dollars,rps,p99_ms"


def description() -> dict:
    return {
        "name": "tiny",
        "about": "made up",
        "parameters": [
            {"name": "gpu_type", "kind": "categorical", "values": ["t4", "Nvidia A100 GPU", "SN40L"]},
            {"name": "size", "kind": "ordinal", "values": ["small", "medium", "large"]},
            {"name": "gpus", "kind": "ordinal", "values": [1, 2]},
        ],
        "cost": "dollars",
        "metrics": {"rps": "requests/s", "p99_ms": "ms"},
        "objectives": [
            {"name": "free", "maximize": "rps / dollars"},
            {"name": "tight", "maximize": "rps", "at_most": {"p99_ms": 60, "dollars": 5}},
        ],
        "tasks": {"source": list(TASKS)},
        "groups": dict(TASKS),
        "descriptors": {"a_short": {"model": "m", "tokens": 128, "quantised": True}, "b_short": {"tokens": 2.5}},
    }


def rows(scale: float = 1.0) -> list[str]:
    """Thirteen of the eighteen configurations; the first one fails."""
    lines = ["t4,small,1,0.5,,"]
    for i, gpu in enumerate(("t4", "Nvidia A100 GPU", "SN40L")):
        for j, size in enumerate(("small", "medium")):
            lines += [f"{gpu},{size},{n}.0,{n * (i + 1)},{scale * (10 * i + 3 * j + n):g},{20 * n * (j + 1)}"
                      for n in (1, 2) if (i, j, n) != (0, 0, 1)]  # fmt: skip
    return [*lines, "t4,large,2,2,1,500"]


def write(folder: Path, suite: dict, tables: dict[str, list[str]] | None = None) -> Path:
    (folder / "suite.json").write_text(json.dumps(suite, indent=1))
    for k, name in enumerate(TASKS):
        lines = (tables or {}).get(name, rows(1 + k))
        (folder / f"{name}.csv").write_text("\n".join([HEAD, *lines]) + "\n")
    return folder


def test_a_table_as_it_is_read(tmp_path):
    suite = load_suite(write(tmp_path, description()))
    table = suite.table("a_short", "free")
    space = table.problem.space
    assert len(space) == 13
    failed = space.position({"gpu_type": "t4", "size": "small", "gpus": 1})
    assert table.metrics[failed] is None and table.problem.usd_per_hour[failed] == 0.5
    good = space.position({"gpu_type": "Nvidia A100 GPU", "size": "medium", "gpus": 2})
    assert table.metrics[good] == {"rps": 15, "p99_ms": 80} and table.value(good) == 15 / 4
    assert suite.table("a_short", "tight").value(good) is None  # too slow
    dear = space.position({"gpu_type": "SN40L", "size": "small", "gpus": 2})
    assert suite.table("a_short", "tight").value(dear) is None  # 6 dollars
    with pytest.raises(KeyError):
        space.position({"gpu_type": "SN40L", "size": "large", "gpus": 2})
    assert table.problem.facts == {"tokens": 128} and suite.tasks["c_short"].facts == {}
    assert [k.values for k in space.knobs][1] == ("small", "medium", "large")


def test_a_row_that_lacks_one_of_its_numbers_failed(tmp_path):
    table = load_suite(write(tmp_path, description(), {"a_short": [*rows()[:-1], "t4,large,2,2,,500"]})).table
    [lacks] = {table("a_short", "free").problem.space.position({"gpu_type": "t4", "size": "large", "gpus": 2})}
    assert table("a_short", "free").metrics[lacks] is None and table("a_long", "free").metrics[lacks] is not None


def test_an_optional_knob_does_not_exist_where_its_cell_is_empty(tmp_path):
    lines = [*rows()[:-1], "t4,large,,2,1,500"]
    with pytest.raises(SuiteError, match="a_short.csv:14: gpus is ''; suite.json allows 1, 2; .*\"optional\": true"):
        load_suite(write(tmp_path, description(), {"a_short": lines}))
    suite = description()
    suite["parameters"][2]["optional"] = True
    task = load_suite(write(tmp_path, suite, {"a_short": lines})).tasks["a_short"]
    at = task.space.position({"gpu_type": "t4", "size": "large"})
    assert task.metrics[at] == {"rps": 1.0, "p99_ms": 500.0} and task.usd_per_hour[at] == 2.0
    assert len(task.space) == 13


def test_without_a_cost_prices_are_unknown(tmp_path):
    suite = description()
    del suite["cost"]
    suite["objectives"] = [{"name": "fast", "minimize": "p99_ms", "at_least": {"rps": 2}}]
    table = load_suite(write(tmp_path, suite)).table("a_short", "fast")
    assert np.isnan(table.problem.usd_per_hour).all()
    assert table.values().max() == 1 / 20


def test_no_problem_may_learn_from_its_own_group_and_equal_lessons_are_one_object(tmp_path):
    suite = load_suite(write(tmp_path, description()))
    assert suite.judged == tuple(TASKS)
    for task in suite.judged:
        problem = suite.table(task, "free").problem
        assert {t.name for t in problem.sources} == {t for t, g in TASKS.items() if g != TASKS[task]}
        assert problem.sources is suite.table(task, "tight").problem.sources
        assert suite.table(task, "free", sources="none").problem.sources == ()
    short, long, other = (suite.table(t, "free").problem.sources for t in ("a_short", "a_long", "b_short"))
    assert short is long and short is not other
    [lesson] = {t for t in short if t.name == "c_short"}
    assert lesson in other and len(lesson.observed) == 13


def test_a_history_has_what_a_study_for_the_objective_tried(tmp_path, monkeypatch):
    monkeypatch.setattr("raytune_infer.suites.histories.TRIALS", 5)
    suite = load_suite(write(tmp_path, description()))
    whole, part = (suite.table("a_short", "free", sources=kind).problem.sources for kind in ("tables", "histories"))
    assert [t.name for t in part] == [t.name for t in whole] and [t.group for t in part] == [t.group for t in whole]
    for table, history in zip(whole, part, strict=True):
        assert len({o.position for o in history.observed}) == 5 < len(table.observed)
        assert all(o in table.observed for o in history.observed)  # prices and failures as they are
    assert suite.table("a_long", "free", sources="histories").problem.sources is part
    tight = suite.table("a_short", "tight", sources="histories").problem.sources
    assert [t.observed for t in tight] != [t.observed for t in part]
    # One of two was searched by whoever looks for the best, which a study at random does not follow.
    at_random = [
        [s.position for s in replay(t, RandomSearch(t.problem), budget=5, seed=0)]
        for t in (suite.table(source.name, "free", sources="none") for source in part)
    ]
    same = [[o.position for o in history.observed] == trials for history, trials in zip(part, at_random, strict=True)]
    assert same == [suite.sources.index(history.name) % 2 == 0 for history in part]


def test_targets_learn_from_sources_but_not_from_their_own_group(tmp_path):
    text = description()
    text["tasks"] = {"source": ["a_short", "b_short"], "target": ["a_long", "c_short"]}
    suite = load_suite(write(tmp_path, text))
    assert suite.judged == ("a_long", "c_short")
    assert suite.sources_of("a_long") == ("b_short",) and suite.sources_of("c_short") == ("a_short", "b_short")


def changed(**parts: object) -> dict:
    return {**description(), **parts}


def objective(**parts: object) -> dict:
    return changed(objectives=[{"name": "x", **parts}])


WRONG_FILES = [
    (changed(parameters=[]), r"suite.json:\d+: parameters: list should have at least 1"),
    ({k: v for k, v in description().items() if k != "groups"}, r"'groups' is missing"),
    (
        changed(parameters=[{"name": "x", "kind": "odd", "values": [1]}]),
        r"parameters\[0\].kind: .*'categorical'.*'odd'",
    ),
    (changed(parameters=[{"name": "x", "kind": "ordinal", "values": [1, 1.0]}]), r"values\[1\]: 1.0 occurs twice"),
    (changed(parameters=description()["parameters"][:1] * 2), r"parameters\[1\].name: 'gpu_type' occurs twice"),
    (changed(metrics={"gpus": "1"}), r"metrics.gpus: is also a parameter"),
    (changed(metrics={"dollars": "1"}), r"metrics.dollars: is a price"),
    (changed(cost="size"), r"cost: 'size' is also a parameter"),
    (changed(tasks={"source": []}), r"tasks: names no task"),
    (changed(tasks={"source": [*TASKS, "a_long"]}), r"source\[4\]: 'a_long' occurs twice"),
    (changed(tasks={"source": [*TASKS], "target": ["a_long"]}), r"target\[0\]: 'a_long' is also a source"),
    (changed(tasks={"source": [*TASKS], "targets": []}), r"tasks.targets: unknown key; allowed are source, target"),
    (changed(tasks={"source": ["../a"]}), r"'../a' is not a file name"),
    (changed(groups={**TASKS, "d": "d"}), r"suite.json:\d+: groups.d: no such task; there are a_short"),
    (changed(groups={"a_short": "a"}), r"groups: has no group for the task 'a_long'"),
    (changed(descriptors={"d": {}}), r"descriptors.d: no such task"),
    (changed(descriptors={"a_long": {"x": math.inf}}), r"descriptors.a_long.x: inf is not a finite number"),
    (objective(maximize="speed"), r"objectives\[0\].maximize: 'speed' is not measured; there are dollars, p99_ms, rps"),
    (objective(maximize="rps", at_most={"ttft_ms": 1}), r"at_most.ttft_ms: 'ttft_ms' is not measured"),
    (objective(maximize="rps", at_least={"rps": -1}), r"at_least.rps: rps is 0 or more, got -1"),
    (objective(maximize="rps", at_most={"rps": math.nan}), r"at_most.rps: input should be a finite number"),
    (objective(maximize="rps", atmost={}), r"objectives\[0\].atmost: unknown key; allowed are name, maximize"),
    (objective(maximize="rps +"), r"not an arithmetic expression"),
    (objective(maximize="rps - p99_ms"), r"suite.json:\d+: objectives\[0\].maximize: .*is not always positive"),
    (objective(minimize="-dollars"), r"objectives\[0\].minimize: .*write `maximize: usd_per_hour`"),
    (objective(), r"objectives\[0\]: give either `maximize` or `minimize`"),
    (changed(objectives=description()["objectives"][:1] * 2), r"objectives\[1\].name: 'free' occurs twice"),
]


@pytest.mark.parametrize(("suite", "said"), WRONG_FILES, ids=[said for _, said in WRONG_FILES])
def test_a_malformed_suite_json_is_refused_with_its_place(tmp_path, suite, said):
    with pytest.raises(SuiteError, match=said):
        load_suite(write(tmp_path, suite))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "suite.json:1: not valid JSON"),
        ('{"name": "x", "name": "y"}', "'name' occurs twice"),
        ("[]", "dictionary"),
    ],
)
def test_what_is_no_suite_json(tmp_path, text, said):
    (tmp_path / "suite.json").write_text(text)
    with pytest.raises(SuiteError, match=said):
        load_suite(tmp_path)


WRONG_TABLES = [
    (None, r"cannot read .*a_long.csv: no such table"),
    ("", r"a_long.csv"),
    (HEAD, r"a_long.csv: has no rows"),
    ("gpu_type,size,gpus,dollars,rps\nt4,small,1,1,1", r"a_long.csv:1: the column 'p99_ms' is missing"),
    (HEAD + ",rps\nt4,small,1,1,1,1,1", r"a_long.csv:1: the column 'rps' occurs twice"),
    (HEAD + "\nt4,small,1,1,1,1\n\nt5,small,1,1,1,1", r"a_long.csv:4: gpu_type is 't5'; suite.json allows t4, Nvidia"),
    (HEAD + "\nt4,small,3,1,1,1", r"a_long.csv:2: gpus is '3'; suite.json allows 1, 2"),
    (HEAD + "\nt4,small", r"a_long.csv:2: gpus is ''"),
    (HEAD + "\nt4,small,1,1,1,1,7", r"a_long.csv: .*line 2"),
    (HEAD + "\nt4,small,1,1,1,1\nt4,small,2,1,1,1\nt4,small,1.0,2,2,2", r"a_long.csv:4: .* is already in line 2"),
    (HEAD + "\nt4,small,1,1,inf,1", r"a_long.csv:2: rps is 'inf'; it must be a finite number; leave all metrics empty"),
    (HEAD + "\nt4,small,1,1,fast,1", r"a_long.csv:2: rps is 'fast'"),
    (HEAD + "\nt4,small,1,nan,1,1", r"a_long.csv:2: dollars is 'nan'; it must be a finite number"),
    (HEAD + "\nt4,small,1,,1,1", r"a_long.csv:2: dollars is ''"),
    (HEAD + "\nt4,small,1,-1,1,1", r"a_long.csv:2: dollars is -1; a price is 0 or more"),
]


@pytest.mark.parametrize(("text", "said"), WRONG_TABLES, ids=[said for _, said in WRONG_TABLES])
def test_a_malformed_table_is_refused_with_its_line(tmp_path, text, said):
    folder = write(tmp_path, description())
    table = folder / "a_long.csv"
    table.unlink() if text is None else table.write_text(text)
    with pytest.raises(SuiteError, match=said):
        load_suite(folder)


def test_what_was_measured_elsewhere_is_encoded_as_at_home():
    gpus = encode_found("gpu_type", ("t4", "Nvidia A100 GPU", "SN40L"), "categorical")
    t4, a100, unknown = gpus.features
    assert gpus.columns == FEATURE_NAMES and t4 == find("T4").features()
    assert unknown == pytest.approx(np.mean([t4, a100], axis=0))
    assert encode_found("gpu_type", ("x", "y"), "categorical").columns == ("gpu_type=x", "gpu_type=y")
    assert encode_found("gpu_type", ("T4", "cpu"), "categorical").features[1] == NO_GPU_FEATURES
    with pytest.raises(ValueError, match="no GPU 'SN40L'"):
        encode("gpu_type", ("T4", "SN40L"))

    per_cent, fraction = encode_found("gpu_share", (50, 100), "ordinal"), encode("gpu_share", (0.5, 1.0))
    assert (per_cent.columns, per_cent.features) == (fraction.columns, fraction.features)
    with pytest.raises(ValueError, match="'gpu_share' needs fractions"):
        encode("gpu_share", (50, 100))

    for name in ("tensor_parallel", "num_gpus", "gpus", "tp"):
        for knob in (encode_found(name, (1, 8), "ordinal"), encode(name, (1, 8))):
            assert (knob.columns, knob.features) == (("log2_gpus",), ((0.0,), (3.0,)))
    assert encode_found("gpu_memory_gib", (8, 16), "ordinal").columns == ("log2_gpu_memory_cap_gib",)
    assert encode_found("max_batch_size", (8, 1), "ordinal").features == ((3.0,), (0.0,))
    assert encode_found("cpu_cores", (0.5, 1), "ordinal").features == ((-1.0,), (0.0,))
    assert encode_found("size", ("s", "l"), "ordinal").features == ((0.0,), (1.0,))
    assert encode_found("precision", ("fp8", "int8"), "categorical").columns == ("precision=fp8", "precision=int8")


def test_the_command_writes_a_row_a_trial_the_same_in_any_process(tmp_path):
    text, out = description(), tmp_path / "new" / "r.csv"
    text["objectives"].append({"name": "much", "maximize": "rps", "at_least": {"rps": 50}})
    folder = write(tmp_path, text)
    words = ["--searcher", "random", "--objective", "free", "--objective", "much", "--budget", "6", "--seeds", "2"]
    result = CliRunner().invoke(
        app, ["replay", str(folder), "--out", str(out), *words, "--parallel", "2", "--jobs", "2"]
    )
    assert result.exit_code == 0, result.output
    assert "left out, as no configuration is feasible there: a_short (much)" in result.output
    assert "14 searches, each trial in" in result.output

    frame = pd.read_csv(out)
    assert tuple(frame.columns) == COLUMNS and len(frame) == 14 * 6
    suite, plan = load_suite(folder), Plan(folder, ("random",), ("free", "much"), 6, 2, 2)
    here = list(searches(suite, plan, Unit("random", suite.judged)))
    configs = [json.dumps(suite.tasks[s.task].space[step.position]) for s in here for step in s.steps]
    assert frame.config.tolist() == configs
    assert frame.trial.tolist() == [1, 2, 3, 4, 5, 6] * 14 and set(frame.seed) == {0, 1}
    assert frame.feasible.tolist() == frame.value.notna().tolist()
    for (objective, task, _), of_search in frame.groupby(["objective", "task", "seed"]):
        assert of_search.config.nunique() == 6
        table, best = suite.table(str(task), str(objective)), of_search.best.fillna(0)
        values = [table.value(table.problem.space.position(json.loads(c))) or 0 for c in of_search.config]
        assert of_search.value.fillna(0).tolist() == pytest.approx(values)
        assert best.tolist() == of_search.value.fillna(0).cummax().tolist()
        assert of_search.fraction.tolist() == pytest.approx((best / table.values().max()).tolist())


def test_a_prior_is_for_those_who_take_one(tmp_path):
    folder = write(tmp_path, description())
    suite = load_suite(folder)
    with pytest.raises(UserError, match="not used by random"):
        Plan(folder, ("random",), prior=PRETRAINED).checked(suite)
    shipped = pretrained()
    columns = tuple(f"not {column}" for column in shipped.inputs.columns)
    replace(shipped, inputs=replace(shipped.inputs, columns=columns)).save(tmp_path / "knows.nothing")

    def chosen(prior: Path | None) -> list[int]:
        plan = Plan(folder, ("random", "meta"), ("free",), budget=6, seeds=1, prior=prior).checked(suite)
        assert plan.factory("random") is NAMED["random"]
        found = searches(suite, plan, Unit("meta", suite.judged[:1]))
        return [step.position for search in found for step in search.steps]

    of_none = chosen(None)
    assert chosen(PRETRAINED) == of_none != chosen(tmp_path / "knows.nothing")  # the first is what ships


def test_ctrl_c_keeps_what_was_done(tmp_path, monkeypatch):
    folder, out = write(tmp_path, description()), tmp_path / "r.csv"

    def interrupted(work: Callable, plan: Plan, units: list[Unit], jobs: int) -> Iterator[Search]:
        yield from islice(work(plan, iter(units)), 3)
        raise KeyboardInterrupt

    monkeypatch.setattr("raytune_infer.suites.replays.in_processes", interrupted)
    result = CliRunner().invoke(
        app, ["replay", str(folder), "--searcher", "random", "--out", str(out), "--budget", "5"]
    )
    assert result.exit_code == 130
    assert "stopped early; the figures cover the finished searches only" in result.output
    assert len(pd.read_csv(out)) == 3 * 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--searcher", "nobody"], "unknown searcher 'nobody'; available: .*random"),
        (["--objective", "dear"], "tiny has no objective 'dear'; there are free, tight"),
        (["--out", "."], "cannot write the results to ."),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(tmp_path, words, said):
    folder = write(tmp_path, description())
    result = CliRunner().invoke(app, ["replay", str(folder), "--out", str(tmp_path / "r.csv"), *words])
    assert isinstance(result.exception, SuiteError) and result.exit_code == 1
    with pytest.raises(SuiteError, match=said):
        raise result.exception
    assert not (tmp_path / "r.csv").exists()


SHARED = Path(os.environ.get("RAYTUNE_INFER_TABLES", ROOT / ".." / "shared" / "tables"))
SUITES = sorted(path.parent for path in SHARED.glob("*/suite.json"))


@pytest.mark.skipif(not SUITES, reason=f"no suites in {SHARED}; name their folder in RAYTUNE_INFER_TABLES")
@pytest.mark.parametrize("folder", SUITES, ids=lambda path: path.name)
def test_random_search_on_measured_tables(folder):
    suite = load_suite(folder)
    plan = Plan(folder, ("random",), budget=20, seeds=1).checked(suite)
    for task in suite.judged:
        assert not {suite.tasks[t.name].group for t in suite.table(task, plan.objectives[0]).problem.sources} & {
            suite.tasks[task].group
        }
    done = list(searches(suite, plan, Unit("random", suite.judged[:3])))
    assert len(done) == 3 * len(plan.objectives)
    for search in done:
        assert len(search.steps) == min(20, len(suite.tasks[search.task].space))
        assert all(step.best is None or step.best <= search.best for step in search.steps)
