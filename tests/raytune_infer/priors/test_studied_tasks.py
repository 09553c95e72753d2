"""Finished studies as tasks: what was measured, at the price of then, and nothing made up for what failed."""

import datetime as dt
import json
import math
from typing import Any

import pytest

from raytune_infer.priors.studied_tasks import enough, measured_tasks, study_task
from raytune_infer.store.records import Outcome, StudyRecord, TrialRecord

KNOBS = {"max_batch_size": [1, 2, 4, 8], "mode": ["a", "b"]}


def record(spec: str = "name: s", knobs: Any = KNOBS) -> StudyRecord:
    fingerprint = {} if knobs is None else {"knobs": knobs}
    return StudyRecord(9, "bert", spec, "/", "random", 0, 4, fingerprint, None, dt.datetime(2026, 1, 1))


def trial(batch: int, rps: float | None, purpose: Any = "search", usd: float = 0.5, mode: str = "a") -> TrialRecord:
    outcome = Outcome(None, reason="OutOfMemory") if rps is None else Outcome({"rps": rps, "p99_ms": 7.0})
    # The position in the study's own space, which says nothing of the task's.
    return TrialRecord(1, purpose, 77, {"max_batch_size": batch, "mode": mode}, usd, rps, outcome, 1.0, False)


def test_a_study_is_what_was_tried_of_it():
    trials = (trial(8, 3.0), trial(1, 1.0, mode="b"), trial(2, None), trial(8, 4.0, "final", usd=0.25))
    task = study_task(record("facts: {parameters_million: 110, flop: 1e9, note: x, none: 0}"), trials)
    assert (task.name, task.group, task.facts) == ("bert", "bert", {"parameters_million": 110.0, "flop": 1e9})
    assert [task.space[o.position] for o in task.observed] == [t.config for t in trials] and len(task.space) == 3
    assert [o.metrics for o in task.observed] == [
        {"rps": 3.0, "p99_ms": 7.0, "usd_per_hour": 0.5}, {"rps": 1.0, "p99_ms": 7.0, "usd_per_hour": 0.5}, None,
        {"rps": 4.0, "p99_ms": 7.0, "usd_per_hour": 0.25},
    ]  # fmt: skip
    assert [k.name for k in task.space.knobs] == ["max_batch_size", "mode"]
    assert task.space.columns == ("log2_max_batch_size", "mode=a", "mode=b")


def test_a_price_that_was_not_known_is_none():
    task = study_task(record(), (trial(1, 2.0, usd=math.nan),))
    assert task.observed[0].metrics == {"rps": 2.0, "p99_ms": 7.0}


@pytest.mark.parametrize("spec", ["", "- a list", "facts: [1]", "facts:", "name: s"])
def test_a_service_that_tells_no_facts(spec):
    assert study_task(record(spec), (trial(1, 2.0),)).facts == {}


@pytest.mark.parametrize(("rates", "is_enough"), [((1.0, 2.0, 3.0), True), ((1.0, 2.0), False), ((), False)])
def test_three_trials_that_ran_are_enough_however_many_failed(rates, is_enough):
    trials = [trial(1, rps) for rps in rates]
    assert enough(trials) == enough([*trials, trial(2, None), trial(4, None), trial(8, None)]) == is_enough


def test_what_this_version_does_not_know_is_refused():
    with pytest.raises(ValueError, match="T5"):
        study_task(record(knobs={"gpu_type": ["T5"]}), ())
    with pytest.raises(ValueError, match="'mode': 'b'} has a value that its knob does not offer"):
        study_task(record(knobs={"max_batch_size": [1], "mode": ["a"]}), (trial(1, 1.0, mode="b"),))
    with pytest.raises(ValueError, match="needs one or more knobs"):
        study_task(record(knobs=None), (trial(1, 1.0),))


def test_a_suite_is_as_many_tasks_as_it_has_in_their_order(tmp_path):
    """Each with its facts, its group, and what was measured at its price."""
    suite = {
        "name": "mine", "about": "made up", "cost": "dollars", "metrics": {"rps": "requests/s"},
        "parameters": [{"name": "max_batch_size", "kind": "ordinal", "values": [1, 2, 4]}],
        "objectives": [{"name": "fast", "maximize": "rps"}],
        "tasks": {"source": ["one", "two"], "target": ["three"]}, "groups": {"one": "a", "two": "b", "three": "b"},
        "descriptors": {"two": {"tokens": 128}},
    }  # fmt: skip
    (tmp_path / "suite.json").write_text(json.dumps(suite))
    for scale, name in enumerate(("one", "two", "three"), start=1):
        rows = [f"{batch},{0.5 * scale},{10 * scale * batch}" for batch in (1, 2)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["max_batch_size,dollars,rps", *rows, "4,2,"]) + "\n")
    tasks = measured_tasks([str(tmp_path)])
    assert [(task.name, task.group, task.facts) for task in tasks] == [
        ("one", "a", {}), ("two", "b", {"tokens": 128.0}), ("three", "b", {})
    ]  # fmt: skip
    for scale, task in enumerate(tasks, start=1):
        found = [(task.space[o.position]["max_batch_size"], o.metrics) for o in task.observed]
        assert found == [
            (1, {"rps": 10.0 * scale, "usd_per_hour": 0.5 * scale}),
            (2, {"rps": 20.0 * scale, "usd_per_hour": 0.5 * scale}),
            (4, None),
        ]
    # Several places are learned from together.
    assert [task.name for task in measured_tasks([str(tmp_path), str(tmp_path)])] == ["one", "two", "three"] * 2
