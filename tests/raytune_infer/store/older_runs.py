"""Runs as revisions from before `earlier_runs` wrote them: made with their code, so with what all of them have.

    git worktree add /tmp/older REVISION && cd /tmp/older
    PYTHONPATH=. REPO/.venv/bin/python REPO/tests/raytune_infer/store/older_runs.py REPO/…/data/REVISION

    c2a8297  knows of no replicas that stay, of nothing that ends early or is lost, and of no intervals
    9fd7be4  all but the intervals of rates; the first whose `load:` is as it is now, so the first to be gone on with

As in `earlier_runs` one run is done, one was killed in its fifth trial, and rates are 40 requests/s times the root of
cores, times the root of the batch size. Ray is real, and a trial takes 10 s by the clock that dates are written by.
What earlier revisions left (e447602) cannot be read: there a study did not say what it was comparable with.
"""

import datetime as dt
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import ray
from ray._private import ray_constants

import raytune_infer
from raytune_infer import Study
from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import parse_spec
from raytune_infer.store import database as history
from raytune_infer.study.progress import Silent

SPEC = """\
name: known
model: {build: "cluster.emulated:model", args: {profile: bert-base}}
samples: [x]
knobs: {cpu_cores: [1, 2, 4], max_batch_size: [1, 4, 16, 64], batch_wait_ms: [0, 5], MODE: {kind: env, values: [a]}}
default: {cpu_cores: 2, max_batch_size: 1, batch_wait_ms: 0, MODE: a}
objective: {maximize: rps / usd_per_hour}
budget: {trials: 24}
load: {level_max_s: 5, find: peak}
prices: book.yaml
"""
BOOK = """\
name: ours
date: 2026-01-15
source: made up
base_usd_per_hour: 0
cpu_core_usd_per_hour: 0.5
gpu_usd_per_hour: {T4: 1}
"""
TRIAL_S = 10.0
REVISION = Path(raytune_infer.__file__).parent.parent


def of(name: str, *modules: str) -> Any:
    """What is called so, from that of these modules which the revision has; what is installed has others."""
    for module in modules:
        if (REVISION / Path(*module.split(".")).with_suffix(".py")).exists():
            return getattr(import_module(module), name)
    raise ImportError(f"{name} is in none of {', '.join(modules)}")


def refuses(settings: Any) -> Any:
    out_of_memory = of("OutOfMemory", "serve_deployments.backend", "serve_deployments.backend")
    return out_of_memory("64 do not fit") if settings.max_batch_size == 64 else None


def measure(running: Any, settings: Any, **to_beat: Any) -> Any:
    places = "serve_deployments.measurement", "serve_deployments.measurement"
    rps = 40.0 * (settings.cpu_cores * settings.max_batch_size) ** 0.5
    level = of("Load", *places)(
        mode="closed", concurrency=4, requested_rps=None, achieved_rps=rps, duration_s=TRIAL_S,
        completed=round(rps * TRIAL_S), errors=0, error_rate=0.0,
        latencies=of("Latencies", *places).of([0.02] * 90 + [0.03] * 10), steady=True, overloaded=False,
        client_cpu_share=0.1, client_lag_ms=0.1, client_limited=False, warmup_s=0.0, started_at=0.0, ended_at=TRIAL_S,
    )  # fmt: skip
    return of("Measurement", *places)(
        method="peak_rate", loads=(level,), reported=0, found=True, client_limited=False, seconds=TRIAL_S,
        reason="it is known",
    )  # fmt: skip


@contextmanager
def serving(study: Any) -> Iterator[Any]:
    places = "serve_deployments.fakes.fake_backend", "serve_deployments.fake_backend"
    backend = of("FakeBackend", *places)(lambda settings, batch: 0.01, refuses)
    trial: Any = import_module("raytune_infer.study.trials.trial")
    if "measure_again" in trial.TrialRuntime.__annotations__:
        yield trial.TrialRuntime(backend, measure, measure)
    else:
        yield trial.TrialRuntime(backend, measure, lambda number: measure)


class KilledIn(Silent):
    """Ends the driver in that trial."""

    def __init__(self, trial: int) -> None:
        self.trial = trial

    def started(self, number: int, purpose: Any, config: Any) -> None:
        if number == self.trial:
            raise KeyboardInterrupt


def write(folder: Path) -> None:
    (folder / "book.yaml").write_text(BOOK)
    spec = parse_spec(Document(SPEC, "known.yaml"), folder=folder)
    moments = iter(dt.datetime(2026, 1, 1) + i * dt.timedelta(seconds=TRIAL_S) for i in range(1000))
    history._now = lambda: next(moments)
    for run, killed_in in (("done", 0), ("cut", 5)):
        try:
            Study(spec, out=folder / run, serving=serving, searcher="random").run(progress=KilledIn(killed_in))
        except KeyboardInterrupt:
            continue


if __name__ == "__main__":
    ray_constants.ENABLE_RAY_CLUSTER = False  # on loopback alone, as in `closed_ray`, which an earlier revision lacks
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    (elsewhere := Path(tempfile.gettempdir()) / "earlier").mkdir()  # a study keeps where its service.yaml was
    try:
        write(elsewhere)
        for run in ("done", "cut"):
            (kept := Path(sys.argv[1]) / run).mkdir(parents=True)
            for name in ("run.json", "history.db"):
                shutil.copy(elsewhere / run / name, kept)
    finally:
        shutil.rmtree(elsewhere)
