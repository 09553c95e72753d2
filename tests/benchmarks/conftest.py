"""A small suite of tables, and who searches it."""

import json
from pathlib import Path

import numpy as np
import pytest

import searchers.registry
from raytune_infer.suites.suites import Suite, load_suite
from searchers.baselines.random_search import RandomSearch


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


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The only searchers that there are by name."""
    monkeypatch.setattr(searchers.registry, "NAMED", {"random": RandomSearch, "follower": Follower})
