"""How long plans take between two models of 500 operations, anew and cached."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from benchmarks.recording.sections import markdown
from serve_deployments.transform.live.registering import described
from serve_deployments.transform.planning.plan_cache import PlanCache
from serve_deployments.transform.planning.ways import by_operators
from serve_deployments.transform.profiling.profile import costs_here
from serve_deployments.transform.registered.model_store import ModelStore
from serve_deployments.transform.registered.registered_model import Recipe

OPERATIONS, REPEATS = 500, 9


def build(width: int) -> nn.Module:
    """Half dense layers, half norms."""
    layers = [part for _ in range(OPERATIONS // 2) for part in (nn.Linear(width, width), nn.LayerNorm(width))]
    return nn.Sequential(*layers).eval()


def planning_times() -> str:
    """A section: milliseconds of each kind of plan."""
    with TemporaryDirectory() as folder:
        costs = costs_here(ModelStore(Path(folder)))
    one = described(Recipe("one", lambda: build(16)))
    other, wider = (
        replace(described(Recipe("two", lambda: build(16))), name="two"),
        described(Recipe("wider", lambda: build(24))),
    )
    cache = PlanCache(costs)
    for model in (one, other, wider):
        cache.register(model)

    def anew() -> None:
        fresh = PlanCache(costs)
        fresh.register(one)
        fresh.register(other)
        fresh.plan("two", source="one")

    kinds: dict[str, Callable[[], object]] = {
        "registered, all plans between the two made": anew,
        "cached": lambda: cache.plan("two", source="one"),
        "operators, in order": lambda: by_operators(cache.situation("two", source="one"), costs),
        "operators, exact assignment": lambda: by_operators(cache.situation("two", source="one"), costs, exact=True),
        "operators, in order, other sizes": lambda: by_operators(cache.situation("wider", source="one"), costs),
    }
    rows = [[name, f"{_median_ms(run):.3f}"] for name, run in kinds.items()]
    return f"### Planning, two models of {OPERATIONS} operations\n\n{markdown(['plan', 'ms'], rows)}"


def _median_ms(run: Callable[[], object]) -> float:
    found = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        run()
        found.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(found)
