"""Overhead of a trial beside its measurement: a replica changed in place, a new one, and Ray's own deploy.

    python -m benchmarks trial_overhead [--spec examples/minilm.yaml] [--repeats 5] [--trials 12]

First without Tune, on the demo's model and in one run: a bare `serve.run` of the same model (until it reports that it
runs; its constructor loads the model and answers one sample), interleaved with a new replica from the backend (until it
is ready for load); then changes in place (reserve, change, set up a load actor, park). Then a study through Tune whose
trials share one replica: from the end of a trial to the end of the next, less the measurement. About four minutes on
two cores.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import serve

from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import ROOT, Origin
from benchmarks.recording.sections import markdown, put
from benchmarks.recording.spread import middle
from raytune_infer import Study
from raytune_infer.spec.document import Document
from raytune_infer.spec.service import Service, model_source
from raytune_infer.spec.service_spec import ServiceSpec, parse_spec
from raytune_infer.store.records import TrialRecord
from raytune_infer.study.connection.session import ray_session
from raytune_infer.study.progress import Silent
from serve_deployments.device.limits import machine_cores
from serve_deployments.measuring.in_cluster.load_side import load_actor, release_cores
from serve_deployments.models.context import ModelContext
from serve_deployments.models.model import ModelSource, load
from serve_deployments.replicas.serve_backend import ServeBackend, delete, delete_left_behind
from serve_deployments.replicas.warm.shared_pool import shared_pool
from serve_deployments.replicas.warm.warm_backend import WarmBackend
from serve_deployments.settings import Settings

START = Settings(cpu_cores=1)
CHANGES: dict[str, list[dict[str, Any]]] = {
    "batch size, wait": [{"max_batch_size": 8, "batch_wait_ms": 5.0}, {"max_batch_size": 1, "batch_wait_ms": 0.0}],
    "precision": [{"precision": "bfloat16"}, {"precision": "float32"}],
    "another idle replica": [{"cpu_cores": 2}, {"cpu_cores": 1}],
}
PREFIX = "trial-overhead"


@serve.deployment(name="Bare", graceful_shutdown_timeout_s=1.0, graceful_shutdown_wait_loop_s=0.05)
class Bare:
    """A minimal deployment of the model, as one would write it only to serve the model."""

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
            raise InterruptedError  # so that the replica is not kept in the pool
    except InterruptedError:
        return took


def change(backend: WarmBackend, settings: Settings, name: str, samples: Sequence[Any]) -> dict[str, float]:
    """Runs a trial that measures nothing; the seconds of each of its parts."""
    began = time.monotonic()
    with backend.running(settings, name) as replica:
        assert replica.startup.in_place or name.startswith("first")
        up = time.monotonic()
        endpoint = replica.endpoint
        replica.facts()
        here = ray.get_runtime_context().get_node_id()
        with load_actor(here) as actor:
            ray.get(actor.set_target.remote(lambda: endpoint, list(samples)))
            ray.get(actor.pin_to_free_cores.remote())
            ray.get(actor.is_apart.remote())
        replica.facts()
        loaded = time.monotonic()
    ended = time.monotonic()
    return {**replica.startup.seconds, "load": loaded - up, "leave": ended - loaded, "all": ended - began}


@dataclass
class Watch(Silent):
    """Records when each trial ended."""

    ended: list[float]
    trials: list[TrialRecord]

    def finished(self, trial: TrialRecord) -> None:
        self.ended.append(time.monotonic())
        self.trials.append(trial)


def through_tune(spec: ServiceSpec, trials: int) -> list[dict[str, float]]:
    """Runs a study; the seconds of each part of the trials whose replica was changed in place."""
    watch, rows = Watch([], []), []
    with tempfile.TemporaryDirectory() as folder:
        Study(spec, searcher="random", out=Path(folder) / "run", history=False).run(trials, progress=watch)
    for i in (i for i, t in enumerate(watch.trials) if t.purpose == "search" and t.outcome.in_place):
        outcome = watch.trials[i].outcome
        measured = outcome.levels[-1].ended_at - outcome.levels[0].started_at
        between = watch.ended[i] - watch.ended[i - 1] - measured
        rows.append({**outcome.overhead, "Tune": between - outcome.overhead_s, "all": between})
    return rows


def medians(rows: Sequence[dict[str, float]]) -> str:
    parts = [part for part in rows[0] if part != "all"]
    return ", ".join(f"{part} {statistics.median(row.get(part, 0.0) for row in rows):.3f}" for part in parts)


def row_of(what: str, values: Sequence[float], own: float, goal: str, parts: str = "") -> list[str]:
    spread = middle(values, ".2f", between="–")
    return [what, str(len(values)), spread, f"{statistics.median(values) / own:.3f}", goal, parts]


def without_tune(spec: ServiceSpec, repeats: int) -> tuple[float, list[list[str]]]:
    """Measures without Tune; the median seconds of Ray's own deploy, and the rows of the table."""
    service = Service(spec)
    samples = service.samples
    own: list[float] = []
    new: list[float] = []
    changes: dict[str, list[dict[str, float]]] = {what: [] for what in ("batch size, wait", "precision")}
    serve.start(proxy_location="Disabled")
    with shared_pool() as pool:
        backend = WarmBackend(ServeBackend(model_source(spec), samples, PREFIX), pool)
        try:
            rays_own_deploy(service.source, samples[0])  # not counted: fills the page cache, and is Serve's first
            for i in range(repeats):
                own.append(rays_own_deploy(service.source, samples[0]))
                new.append(new_replica(backend, f"new-{i}"))
            change(backend, START, "first", samples)
            if len(machine_cores()) > 1:
                change(backend, replace(START, cpu_cores=2), "first-of-two", samples)
                changes["another idle replica"] = []
            for what, steps in CHANGES.items():
                for i in range(2 * repeats if what in changes else 0):
                    settings = replace(START, **steps[i % 2])
                    changes[what].append(change(backend, settings, f"{what}-{i}".replace(" ", ""), samples))
        finally:
            backend.close()
            delete_left_behind(PREFIX)
            release_cores()
    own_s = statistics.median(own)
    table = [row_of("Ray's own deploy", own, own_s, ""), row_of("new replica", new, own_s, "1.2 × Ray's own")]
    for what, rows in changes.items():
        table.append(row_of(f"in place: {what}", [row["all"] for row in rows], own_s, "0.2 s", medians(rows)))
    return own_s, table


def small(path: Path) -> ServiceSpec:
    """The same service with knobs that change in place, and short load tests."""
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    table["knobs"] = {
        "cpu_cores": [1], "max_batch_size": [1, 2, 4, 8], "batch_wait_ms": [0, 5], "precision": ["float32", "bfloat16"],
    }  # fmt: skip
    table["load"] = {"level_min_s": 0.2, "total_max_s": 2}
    table.pop("budget", None)
    return parse_spec(Document(yaml.safe_dump(table), path.name), folder=path.resolve().parent)


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--spec", type=Path, default=ROOT / "examples" / "minilm.yaml")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trials", type=int, default=12)
    asked = parser.parse_args(arguments)
    spec = small(asked.spec)
    with ray_session(address=None, emulate=None, folder=spec.folder, runs_code=True):
        own, table = without_tune(spec, asked.repeats)
    rows = through_tune(spec, asked.trials)
    table.append(row_of("in place, through Tune", [row["all"] for row in rows], own, "0.2 s", medians(rows)))
    header = [
        "a trial's seconds that are not measurement", "n", "median (range) s", "÷ Ray's own", "goal", "parts, median s",
    ]  # fmt: skip
    body = markdown(header, table)
    print(body)
    put(asked.out, f"Seconds of a trial that are not measurement: {spec.name}", Origin.here(__name__, arguments), body)
