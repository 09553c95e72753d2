"""Seconds of a trial that are not measurement, on the demo's model: changed in place, new, and Ray's own deploy.

    python benchmarks/trial_overhead.py [--spec examples/minilm.yaml] [--repeats 5] [--trials 12]

First without Tune, interleaved in one run: a bare `serve.run` of the same model (until it says that it runs; its
constructor loads the model and answers one sample), a new replica from the backend (until it is ready for load), and
changes in place (reserve, change, a load actor's arrangements, park). Then a study through Tune whose trials share one
replica: from the end of a trial to the end of the next, less the measurement. About five minutes on two cores.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray import serve
from results import ran, section

from raytune_infer import Study, load_spec
from raytune_infer.history import TrialRecord
from raytune_infer.progress import Silent
from raytune_infer.service import Service, model_source
from raytune_infer.session import ray_session
from raytune_infer.spec import ServiceSpec
from serve_deployments.load_side import let_go, load_actor
from serve_deployments.loaders import ModelContext
from serve_deployments.models import ModelSource, load
from serve_deployments.serve_backend import ServeBackend, delete, delete_left_behind
from serve_deployments.settings import Settings
from serve_deployments.shared_pool import shared_pool
from serve_deployments.warm_backend import WarmBackend

START = Settings(cpu_cores=1)
CHANGES = {
    "batch size, wait": [{"max_batch_size": 8, "batch_wait_ms": 5.0}, {"max_batch_size": 1, "batch_wait_ms": 0.0}],
    "precision": [{"precision": "bfloat16"}, {"precision": "float32"}],
}
PREFIX = "trial-overhead"


@serve.deployment(name="Bare", graceful_shutdown_timeout_s=1.0, graceful_shutdown_wait_loop_s=0.05)
class Bare:
    """What someone would write who only wants to serve the model."""

    def __init__(self, source: ModelSource, sample: Any) -> None:
        import torch

        torch.set_num_threads(1)
        self._batch: Any = load(source, {}, ModelContext())
        self._batch([sample])

    def __call__(self, payload: Any) -> Any:
        return self._batch([payload])[0]


def rays_own_deploy(source: ModelSource, sample: Any) -> float:
    began = time.monotonic()
    serve.run(Bare.bind(source, sample), name="bare", route_prefix=None)  # type: ignore[attr-defined]
    took = time.monotonic() - began
    delete("bare")
    return took


def new_replica(backend: WarmBackend, name: str) -> float:
    began = time.monotonic()
    try:
        with backend.running(START, name):
            took = time.monotonic() - began
            raise InterruptedError  # so that it is not kept
    except InterruptedError:
        return took


@contextmanager
def timed(into: dict[str, list[float]], part: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    into.setdefault(part, []).append(time.monotonic() - began)


def change(backend: WarmBackend, settings: Settings, name: str, samples: Sequence[Any]) -> dict[str, float]:
    """Seconds of each part of a trial that measures nothing."""
    began = time.monotonic()
    with backend.running(settings, name) as replica:
        assert replica.readied.in_place or name == "first"
        up = time.monotonic()
        endpoint, facts = replica.endpoint, replica.facts()
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=True
        )
        with load_actor(here) as actor:
            ray.get(actor.aim.remote(lambda: endpoint, list(samples)))
            ray.get(actor.stand_apart.remote())
            ray.get(actor.is_apart.remote())
        replica.facts()
        assert len(facts.cores) <= 1
        loaded = time.monotonic()
    ended = time.monotonic()
    return {**replica.readied.seconds, "load": loaded - up, "leave": ended - loaded, "all": ended - began}


@dataclass
class Watch(Silent):
    """When each trial ended."""

    ended: list[float]
    trials: list[TrialRecord]

    def finished(self, trial: TrialRecord) -> None:
        self.ended.append(time.monotonic())
        self.trials.append(trial)


def through_tune(spec: ServiceSpec, trials: int) -> tuple[list[dict[str, float]], int]:
    """Parts of each trial after the first, in seconds; and how many of them were changed in place."""
    watch, rows = Watch([], []), []
    with tempfile.TemporaryDirectory() as folder:
        Study(spec, searcher="random", out=Path(folder) / "run", history=False).run(trials, progress=watch)
    searched = [i for i, t in enumerate(watch.trials) if t.purpose == "search" and t.outcome.in_place]
    for i in searched:
        outcome = watch.trials[i].outcome
        measured = outcome.loads[-1]["ended_at"] - outcome.loads[0]["started_at"]
        between = watch.ended[i] - watch.ended[i - 1] - measured
        rows.append({**outcome.overhead, "Tune": between - outcome.overhead_s, "all": between})
    return rows, len(searched)


def medians(rows: Sequence[dict[str, float]]) -> str:
    parts = [part for part in rows[0] if part != "all"]
    return ", ".join(f"{part} {statistics.median(row.get(part, 0.0) for row in rows):.3f}" for part in parts)


def spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def line(what: str, values: Sequence[float], own: float, goal: str, parts: str = "") -> str:
    return f"| {what} | {len(values)} | {spread(values)} | {statistics.median(values) / own:.2f} | {goal} | {parts} |"


def without_tune(spec: ServiceSpec, repeats: int) -> list[str]:
    service, took, changes = Service(spec), {"own": [], "new": []}, {}  # type: ignore[var-annotated]
    samples = service.samples
    serve.start(proxy_location="Disabled")
    with shared_pool() as pool:
        backend = WarmBackend(ServeBackend(model_source(spec), samples, PREFIX), pool)
        try:
            rays_own_deploy(service.source, samples[0])  # files into the page cache, Serve's first time
            for i in range(repeats):
                took["own"].append(rays_own_deploy(service.source, samples[0]))
                took["new"].append(new_replica(backend, f"new-{i}"))
            change(backend, START, "first", samples)
            for what, steps in CHANGES.items():
                for i in range(2 * repeats):
                    settings = replace(START, **steps[i % 2])
                    changes.setdefault(what, []).append(change(backend, settings, f"{what}-{i}", samples))
        finally:
            delete_left_behind(PREFIX)
            let_go()
    own = statistics.median(took["own"])
    return [
        line("Ray's own deploy", took["own"], own, ""),
        line("new replica", took["new"], own, "1.2 × Ray's own"),
        *(
            line(f"in place: {what}", [row["all"] for row in rows], own, "0.2 s", medians(rows))
            for what, rows in changes.items()
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", type=Path, default=Path("examples/minilm.yaml"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trials", type=int, default=12)
    arguments = parser.parse_args()
    spec = load_spec(arguments.spec)
    print(spec)


if __name__ == "__main__":
    main()
