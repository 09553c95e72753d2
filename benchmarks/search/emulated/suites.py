"""The emulated suites by name, made in memory from a seed; nobody tunes a searcher on them.

Nothing here is a measurement: "emulated" is part of every name. Limits are set as an owner would who knows what the
service can do: so that the share of the configurations which run and keep the limit is the one of the suite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path

import numpy as np

from benchmarks.search.emulated.odd_knobs import odd_knobs
from benchmarks.search.emulated.odd_service import OddService, odd_service
from benchmarks.search.emulated.paper_space import NAME as PAPER_SPACE
from benchmarks.search.emulated.paper_space import paper_suite
from raytune_infer.suites.suites import MeasuredTask, Suite, load_suite
from searchers.objective import Expression, Objective
from searchers.space import Space

LIMIT_MS = 200.0
"""The limit on p99; the unit of a service's latency is such that the share that the suite asks for keeps it."""
MODEL, WORKLOAD = 0.5, 0.15
"""By how much models, and workloads of one model, differ (`OddService.varied`). Our choice."""


@dataclass(frozen=True)
class Recipe:
    """What an emulated suite is made from.

    Args:
        seed: of everything that is drawn.
        sizes: number of values of each knob; those of two are flags.
        feasible: share of the configurations that run and keep the limit, below 0.85.
        models: number of models, each a group of its own.
        workloads: tasks of each model.
    """

    seed: int
    sizes: tuple[int, ...]
    feasible: float
    models: int = 4
    workloads: int = 2

    def __len__(self) -> int:
        return prod(self.sizes)


RECIPES: Mapping[str, Recipe] = {
    "emulated-flags": Recipe(seed=1, sizes=(2, 2, 2, 2, 2, 3, 4, 5), feasible=0.3),
    "emulated-tight": Recipe(seed=2, sizes=(2, 3, 4, 5, 8), feasible=0.05),
    "emulated-large": Recipe(seed=3, sizes=(2, 2, 2, 3, 3, 3, 4, 4, 5, 6), feasible=0.05, models=3, workloads=1),
}
"""Name → recipe: flags alone matter in one, few configurations count in the second, the third has ten knobs and
103,680 configurations of which 5 % count."""


EMULATED = (*RECIPES, PAPER_SPACE)
"""Names of all emulated suites."""


def suite_at(folder: Path) -> Suite:
    """The emulated suite of this name, or else the suite of measured tables in this folder.

    Raises:
        SuiteError: a file of the folder is invalid.
    """
    return emulated(folder.name) if folder.name in EMULATED and not folder.exists() else load_suite(folder)


@cache
def emulated(name: str) -> Suite:
    """An emulated suite, the same whenever and wherever it is made."""
    if name == PAPER_SPACE:
        return paper_suite()
    recipe = RECIPES[name]
    rng = np.random.default_rng(recipe.seed)
    space = Space(odd_knobs(recipe.sizes, rng))
    software = odd_service(len(recipe.sizes), rng)
    tasks = {}
    for model in (f"model-{i + 1}" for i in range(recipe.models)):
        service = software.varied(rng, MODEL)
        for workload in range(recipe.workloads):
            task = f"{model}-{'abcdefgh'[workload]}"
            tasks[task] = _task(task, model, space, service.varied(rng, WORKLOAD), recipe.feasible)
    objective = Objective(Expression("rps / usd_per_hour"), at_most={"p99_ms": LIMIT_MS})
    return Suite(name, {"limited": objective}, tasks, tuple(tasks))


def _task(name: str, group: str, space: Space, service: OddService, feasible: float) -> MeasuredTask:
    places = space.ranks / np.array([len(knob.values) - 1 for knob in space.knobs])
    rps, latency, usd, runs = service.measured(places)
    p99_ms = LIMIT_MS * latency / np.quantile(latency[runs], feasible / runs.mean())
    metrics = tuple(
        {"rps": r, "p99_ms": p} if run else None
        for r, p, run in zip(rps.tolist(), p99_ms.tolist(), runs.tolist(), strict=True)
    )
    return MeasuredTask(name, group, space, metrics, usd, {"stage_rps": float(np.exp(service.levels.mean()))})
