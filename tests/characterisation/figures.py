"""What the product says today, in numbers: measurements and studies in virtual time, rankings, replays.

Each case is a function that ends in plain numbers and texts, so that a case outlives the types in between. A change
that is meant is written anew, and shows as a difference of the stored files:

    python -m tests.characterisation.figures [CASE ...]
"""

import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from tests.repository import ROOT

STORED = Path(__file__).parent / "stored"

CASES: dict[str, Callable[[], Any]] = {}


def case(function: Callable[[], Any]) -> Callable[[], Any]:
    CASES[function.__name__] = function
    return function


def rounded(value: Any) -> Any:
    """Twelve digits: as many as any processor's logarithm has in common with another's."""
    if isinstance(value, bool | int | str | None):
        return value
    if isinstance(value, float):
        return float(f"{value:.12g}") if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(name): rounded(inner) for name, inner in value.items()}
    return [rounded(inner) for inner in value]


# Measurements


def measurements() -> Iterator[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """Name, server, plan, question."""
    from serve_deployments.load.arrivals import CONSTANT, Renewal, Trace

    small = {"level_max_s": 8, "total_max_s": 40}
    yield "peak one at a time", {}, small, {}
    yield "peak batches", {"max_batch": 16}, small, {}
    yield "peak batches that wait", {"max_batch": 16, "wait_s": 0.02}, small, {}
    yield "peak few clients", {"max_batch": 16}, {**small, "max_concurrency": 4}, {}
    yield "peak out of reach", {"max_batch": 4}, small, {"to_beat_rps": 10_000.0}
    yield "rate p99", {"max_batch": 8}, small, {"at_most": {"p99_ms": 100.0}}
    yield "rate p99 seed 1", {"max_batch": 8}, {**small, "seed": 1}, {"at_most": {"p99_ms": 100.0}}
    yield "rate p50 and errors", {"max_batch": 8}, small, {"at_most": {"p50_ms": 30.0, "error_rate": 0.01}}
    yield "rate mean", {"max_batch": 4}, small, {"at_most": {"mean_ms": 40.0}}
    yield "rate constant", {"max_batch": 8}, {**small, "arrivals": CONSTANT}, {"at_most": {"p99_ms": 100.0}}
    yield "rate bursts", {"max_batch": 8}, {**small, "arrivals": Renewal(3.0)}, {"at_most": {"p99_ms": 200.0}}
    yield (
        "rate trace", {"max_batch": 8}, {**small, "arrivals": Trace((0.0, 0.1, 0.15, 0.9, 1.0, 1.7))},
        {"at_most": {"p99_ms": 200.0}},
    )  # fmt: skip
    yield "rate out of reach", {"max_batch": 8}, small, {"at_most": {"p99_ms": 100.0}, "to_beat_rps": 5000.0}
    yield "rate that just wins", {"max_batch": 8}, small, {"at_most": {"p99_ms": 100.0}, "to_beat_rps": 300.0}
    yield "limit that every rate breaks", {"max_batch": 8}, small, {"at_most": {"p99_ms": 5.0}}
    yield (
        "rate beside stalls",
        {"max_batch": 8, "stalls": ((3.0, 0.3), (9.0, 0.3))},
        small,
        {"at_most": {"p99_ms": 100.0}},
    )
    yield "rate where one in fifty fails", {"fails": lambda n: n % 50 == 7}, small, {"at_most": {"error_rate": 0.05}}
    yield "short of time", {"max_batch": 8}, {"level_max_s": 1.5, "total_max_s": 4}, {"at_most": {"p99_ms": 100.0}}


@case
def measured_in_virtual_time() -> Any:
    from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
    from serve_deployments.measuring.load_test import LoadTest
    from serve_deployments.measuring.plan import LoadPlan
    from serve_deployments.settings import Settings

    found = {}
    for name, server, plan, question in measurements():
        to_beat_rps = question.pop("to_beat_rps", None)
        settings = Settings(max_batch_size=server.get("max_batch", 1), batch_wait_ms=1000 * server.get("wait_s", 0.0))
        plan = {"max_concurrency": 256, "level_max_s": 20.0, **plan}  # the defaults when these were stored
        asked = LoadTest(LoadPlan(**plan), **question).run(
            FakeServer(lambda batch: 0.008 + 0.003 * batch, **server), ["x"], settings,
            clock=VirtualClock(), to_beat_rps=to_beat_rps,
        )  # fmt: skip
        answer = run_virtual(asked)
        found[name] = {
            "metrics": answer.metrics, "interval": answer.interval_rps, "found": answer.found, "steady": answer.steady,
            "ended_early": answer.ended_early, "seconds": answer.seconds,
            "levels": [
                [load.concurrency, load.requested_rps, load.achieved_rps, load.completed, load.errors, load.duration_s,
                 load.steady, load.overloaded, load.rate_low_rps, load.rate_high_rps]
                for load in answer.levels
            ],
        }  # fmt: skip
    return found


# Rankings of finished runs


@case
def ranked_again() -> Any:
    from raytune_infer import recommend
    from tests.raytune_infer.ranking.measured_runs import SPEC, write_run

    asked: dict[str, dict[str, Any]] = {
        "as the run": {},
        "p99 of 40 ms": {"limits": {"p99_ms": 40.0}},
        "p99 of 25 ms": {"limits": {"p99_ms": 25.0}},
        "p50 of 30 ms": {"limits": {"p50_ms": 30.0}},
        "most requests": {"maximize": "rps"},
        "cheapest above a rate": {"minimize": "usd_per_hour", "at_least": {"rps": 120.0}},
        "old prices": {"prices": "morphling-2021"},
    }
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, text in (("rate", SPEC), ("peak", SPEC.replace("limits: {p99_ms: 100}", "load: {find: peak}"))):
            run = write_run(Path(folder) / kind, text)
            for name in asked if kind == "rate" else list(asked)[:2]:
                answer = recommend(run, **asked[name])
                found[f"{kind}: {name}"] = [
                    [r.config, list(r.trials), r.usd_per_hour, r.figure, r.value, r.could_be,
                     r.known.at_least_rps, r.known.at_most_rps, r.known.estimate_rps, r.known.resolved]
                    for r in (*answer.ranked, *answer.others)
                ]  # fmt: skip
    return found


# Searches


# Not those that train a network for hundreds of steps first: another CPU's rounding makes other choices of that.
SEARCHERS = ("random", "portfolio", "ernest", "meta")
"""None that trains for hundreds of steps first, as another CPU's last bits would then show: see the trajectories."""


@case
def replayed() -> Any:
    from raytune_infer.suites.replays import Plan, run
    from raytune_infer.suites.suites import load_suite

    with tempfile.TemporaryDirectory() as temporary:
        folder = planes(Path(temporary))
        frame = run(Plan(folder, SEARCHERS, ("tight",), 6, 1, 1, "tables", None), load_suite(folder)).frame()
    return table(frame.drop(columns=["suite", "objective", "seed", "suggest_s"]))


# What ships was trained on these


@case
def drawn_for_training() -> Any:
    from raytune_infer.priors.morphling_recipe import MorphlingRecipe, synthetic_tasks
    from raytune_infer.priors.surface_recipe import SurfaceRecipe, emulated_services

    services, _ = emulated_services(replace(SurfaceRecipe(), services=20, held_out=0))
    found: dict[str, Any] = {
        f"surfaces {i}": [
            task.group, dict(task.facts), len(task.space), float(task.space.features.sum()),
            [sum(v for o in task.observed for v in (o.metrics or {}).values()), sum(o.position for o in task.observed)],
        ]
        for i, task in enumerate(services)
    }  # fmt: skip
    tasks, mean, scale = synthetic_tasks(replace(MorphlingRecipe(), tasks=20))
    columns = zip(tasks.columns, mean.tolist(), scale.tolist(), strict=True)
    return found | {"morphling columns": list(columns), "morphling values": tasks.y.double().sum(1).tolist()}


def planes(folder: Path) -> Path:
    """Three tasks of the measured tables of this repository, two of which each search may learn from."""
    tables = ROOT / "data" / "planes-cpu"
    suite = json.loads((tables / "suite.json").read_text())
    kept = ["bert-base", "distilbert", "mobilenet-v2"]
    suite["tasks"] = {kind: [t for t in tasks if t in kept] for kind, tasks in suite["tasks"].items()}
    suite["groups"] = {task: group for task, group in suite["groups"].items() if task in kept}
    suite["descriptors"] = {task: facts for task, facts in suite["descriptors"].items() if task in kept}
    (folder / "suite.json").write_text(json.dumps(suite))
    for task in kept:
        (folder / f"{task}.csv").write_bytes((tables / f"{task}.csv").read_bytes())
    return folder


def table(frame: pd.DataFrame) -> list[str]:
    """A line a row, numbers to twelve digits."""
    return list(frame.to_csv(index=False, float_format="%.12g").splitlines())


def written(value: Any) -> str:
    """JSON with a line an entry of the outermost list or mapping, so that a difference shows which."""
    if isinstance(value, dict):
        lines = [f"{json.dumps(name)}: {json.dumps(inner, ensure_ascii=False)}" for name, inner in value.items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"
    return "[\n" + ",\n".join(json.dumps(inner, ensure_ascii=False) for inner in value) + "\n]\n"


def main() -> None:
    for name in sys.argv[1:] or CASES:
        (STORED / f"{name}.json").write_text(written(rounded(CASES[name]())), encoding="utf-8")


if __name__ == "__main__":
    main()
