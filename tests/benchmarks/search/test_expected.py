"""Predictions from totals, the emulated space of the paper, and what a search is told under each condition."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.search.emulated import paper_space, predicted
from benchmarks.search.emulated.suites import suite_at
from benchmarks.search.expected import CONDITIONS, body
from cluster.emulated.roofline import Rates
from raytune_infer.spec.standard_knobs import encode
from raytune_infer.suites.suites import MeasuredTask, Suite
from searchers.objective import Expression, Objective
from searchers.space import Space, Value

PAPER = suite_at(Path(paper_space.NAME))
CPU: dict[str, tuple[Value, ...]] = {
    "cpu_cores": (1, 2),
    "precision": ("float32", "bfloat16"),
    "max_batch_size": (1, 4, 16),
}
TOTALS = {"gflop_per_item": 4.0, "parameters_million": 20.0, "traffic_mb_per_item": 30.0, "kernels": 100.0}


def cpu_suite(**levels: float) -> Suite:
    """Services of a known CPU, each slower by its own factor."""
    space = Space([encode(name, values) for name, values in CPU.items()])
    rates = Rates({"float32": 50e9, "bfloat16": 150e9}, 10e9, 20e-6, 0.0)
    tasks = {}
    for number, (name, level) in enumerate(levels.items()):
        facts = {key: total * (1 + number) for key, total in TOTALS.items()}
        task = MeasuredTask(name, name, space, (None,) * len(space), np.ones(len(space)), facts)
        seconds = predicted._on_cpu(predicted.profile_of(task), space, rates) * level
        batches = [float(space[i]["max_batch_size"]) for i in range(len(space))]
        metrics = tuple({"rps": b / s, "latency_ms": 1e3 * s} for b, s in zip(batches, seconds.tolist(), strict=True))
        tasks[name] = replace(task, metrics=metrics)
    return Suite("cpu", {"free": Objective(Expression("rps"))}, tasks, tuple(tasks))


def test_the_space_is_the_papers_and_every_family_is_a_group_with_one_model():
    assert len(PAPER.tasks) == 15 == len({task.group for task in PAPER.tasks.values()})
    for name in PAPER.judged:
        assert len(PAPER.tasks[name].space) == 1440
        assert name not in PAPER.sources_of(name) and len(PAPER.sources_of(name)) == 14
        assert (PAPER.table(name, "free", sources="none").values() > 0).any()


def test_more_memory_never_stops_an_emulated_model_from_running():
    task = PAPER.tasks["bert-large"]
    runs = np.array([metrics is not None for metrics in task.metrics]).reshape(6, 5, 4, 3, 4)
    assert (np.diff(runs.astype(int), axis=2) >= 0).all() and (np.diff(runs.astype(int), axis=0) <= 0).all()
    assert not runs.all() and runs.any()


def test_of_services_that_the_roofline_describes_the_prediction_is_right_and_knows_it():
    suite = cpu_suite(a=1.0, b=1.0, c=1.0, d=1.0)
    expected = predicted.expected_of(suite, "d")
    truth = np.log([metrics["rps"] for metrics in suite.tasks["d"].metrics if metrics is not None])
    assert expected.log_mean["rps"] == pytest.approx(truth, abs=0.05)
    assert expected.log_std["rps"].max() < 0.05 and expected.level_std["rps"] < 0.05
    latency = np.log([metrics["latency_ms"] for metrics in suite.tasks["d"].metrics if metrics is not None])
    assert expected.log_mean["latency_ms"] == pytest.approx(latency, abs=0.05)


def test_how_far_other_families_are_off_is_how_far_it_may_be_off():
    narrow, wide = (cpu_suite(a=1.0, b=factor, c=1 / factor, d=1.0) for factor in (1.1, 3.0))
    stds = [predicted.expected_of(suite, "d").level_std["rps"] for suite in (narrow, wide)]
    assert stds[1] > 5 * stds[0] > 0


def test_a_tasks_own_table_has_no_part_in_what_is_expected_of_it():
    one, other = cpu_suite(a=1.0, b=1.2, c=0.9, d=1.0), cpu_suite(a=1.0, b=1.2, c=0.9, d=50.0)
    left, right = (predicted.expected_of(suite, "d") for suite in (one, other))
    assert np.array_equal(left.log_mean["rps"], right.log_mean["rps"])


def test_facts_that_are_missing_are_named():
    suite = cpu_suite(a=1.0, b=1.0, c=1.0)
    task = replace(suite.tasks["a"], facts={"gflop_per_item": 1.0})
    with pytest.raises(ValueError, match="a has no parameters_million among its facts"):
        predicted.profile_of(task)


def test_conditions_differ_in_the_sources_and_in_what_is_expected_alone():
    suite = cpu_suite(a=1.0, b=1.2, c=0.9, d=1.0)
    told = {each.name: each.table(suite, "d", "free", seed=0).problem for each in CONDITIONS}
    assert {name: (len(p.sources), p.expected is not None) for name, p in told.items()} == {
        "other families": (3, False), "other families, prediction": (3, True),
        "no service": (0, False), "no service, prediction": (0, True),
    }  # fmt: skip


def test_trials_are_multiples_of_those_without_the_prediction():
    columns = ["suite", "objective", "group", "task", "searcher", "condition", "seed", "trial", "fraction"]
    found = {"no service": [0.5, 0.5, 0.5, 1.0], "no service, prediction": [0.5, 1.0, 1.0, 1.0]}
    rows = [
        ("cpu", "free", "a", "a", "meta", name, 0, k + 1, f) for name, fs in found.items() for k, f in enumerate(fs)
    ]
    text = body(pd.DataFrame(rows, columns=columns), [cpu_suite(a=1.0, b=1.1, c=0.9)], ["a note"], 0.95)
    assert "| meta | no service | 1 | 4 / 4 / 4 | 0 | 4.00 |  |" in text
    assert "| meta | no service, prediction | 1 | 2 / 2 / 2 | 0 | 2.00 | 0.50 (0.50–0.50) |" in text
    assert text.endswith("- a note") and "Predictions of cpu: rank correlation" in text
