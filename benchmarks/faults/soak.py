"""Growth of the driver's memory, files, sockets and workers over many short trials, beside that of Ray Tune alone.

    python -m benchmarks soak [--fake 1000] [--real 100]

The study, Tune, the searcher, the database and the pool's actor are always real. In the fake trials, replicas and
load are virtual: a trial takes some tens of milliseconds. In the real ones, warm replicas on Ray Serve run a model that
answers at once, under load for some tenths of a second. As many trials as the fake ones that do nothing, run by Ray
Tune with random search and nothing of ours, show what Tune keeps of each. The slope is that of a straight line through
the driver's resident memory after each trial of the search, without the first fifth, in which imports and caches fill.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray
from ray import tune

from benchmarks.faults.leftovers import nothing_left, open_things, what_is_there, workers
from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import ROOT, Origin
from benchmarks.recording.sections import markdown, put
from raytune_infer import Study
from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import parse_spec
from raytune_infer.store.records import StudyRecord, TrialRecord
from raytune_infer.study.connection.session import ray_session
from raytune_infer.study.progress import Silent
from raytune_infer.study.search import quiet_tune
from raytune_infer.study.study import Serving
from raytune_infer.study.trials.trial import TrialRuntime
from serve_deployments.fakes.fake_backend import FakeBackend, VirtualMeasure
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.replicas.warm.shared_pool import shared_pool
from serve_deployments.settings import Settings

WARM_UP = 0.2
SPEC = """\
name: soak
model: {{build: "benchmarks.faults.misbehaving:model", args: {{behaviour: works, odd: 0}}}}
samples: [x]
knobs:
  cpu_cores: [1]
  max_batch_size: {batches}
  batch_wait_ms: {waits}
objective: {{maximize: rps}}
load: {{precision: 0.5, level_min_s: 0.1, level_max_s: 2, total_max_s: 4, max_concurrency: 64}}
budget: {{trials: {trials}, compare_s: 0.1}}
"""


@dataclass(frozen=True)
class Look:
    """The driver's resources after a trial.

    Args:
        memory_mb: resident memory, in units of 2^20 bytes.
        things: numbers of open files, open sockets, threads, and Ray's workers below the driver (not idle ones).
    """

    memory_mb: float
    things: dict[str, int]


class Watch(Silent):
    """Records the resources of this process after each trial."""

    def __init__(self) -> None:
        self.looks: list[Look] = []
        self._me = psutil.Process()

    def finished(self, trial: TrialRecord) -> None:
        self.look()

    def look(self) -> None:
        """Records the resources at this moment."""
        things = open_things(self._me) | {"workers": len(workers())}
        self.looks.append(Look(self._me.memory_info().rss / 2**20, things))


class _Watched(tune.Callback):
    """A callback of Ray Tune that passes the end of trials on to a `Watch`."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tuner pickles its callbacks for a later restore; this one is never restored

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._watch.look()


def _nothing(config: Mapping[str, Any]) -> None:
    tune.report({"rps": float(config["max_batch_size"])})


def tune_alone(trials: int, out: Path) -> list[Look]:
    """Runs so many trials of Ray Tune that do nothing, in one reused process and as quietly as ours."""
    watch = Watch()
    with quiet_tune():
        tune.Tuner(
            tune.with_resources(_nothing, tune.PlacementGroupFactory([{"memory": 1.0}])),
            param_space={"max_batch_size": tune.randint(1, 100), "batch_wait_ms": tune.randint(0, 100)},
            tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=1, reuse_actors=True),
            run_config=tune.RunConfig(name="tune", storage_path=str(out), verbose=0, callbacks=[_Watched(watch)]),
        ).fit()
    return watch.looks


def virtual(study: StudyRecord) -> Iterator[TrialRuntime]:
    """Serves a study by replicas in virtual time, kept in a real pool."""
    plan = LoadPlan(level_min_s=0.1, level_max_s=0.2, total_max_s=0.3, max_concurrency=16)
    measure = VirtualMeasure(LoadTest(plan))
    with shared_pool() as pool:
        yield TrialRuntime(FakeBackend(_service_s, pool=pool), measure, lambda number: measure)


def _service_s(settings: Settings, batch: int) -> float:
    return 0.010 + 0.001 * batch


def watched(trials: int, out: Path, serving: Serving | None) -> list[Look]:
    """Runs a study of so many trials; the driver's resources after each trial of its search."""
    side = int(np.ceil(np.sqrt(trials)))
    text = SPEC.format(batches=list(range(1, side + 1)), waits=list(range(side)), trials=trials)
    watch = Watch()
    study = Study(
        parse_spec(Document(text, "soak.yaml"), folder=ROOT), searcher="random", out=out, history=False, serving=serving
    )
    study.run(progress=watch)
    return watch.looks[:trials]  # without the comparison at the end, which imports more


def mb_per_100(looks: list[Look]) -> float:
    """Growth of the memory per 100 trials: slope of a straight line, without the first fifth."""
    settled = [look.memory_mb for look in looks[int(WARM_UP * len(looks)) :]]
    return 100 * float(np.polyfit(np.arange(len(settled)), settled, 1)[0])


def grown(looks: list[Look]) -> dict[str, int]:
    """How many more things there are at the end than after the first fifth."""
    first, last = looks[int(WARM_UP * len(looks))].things, looks[-1].things
    return {name: last[name] - first[name] for name in last}


def row(what: str, looks: list[Look], left: int, seconds: float) -> list[str]:
    memory_mb = [look.memory_mb for look in looks]
    growth = grown(looks)
    return [
        what, f"{len(looks)}", f"{seconds / len(looks):.2f}", f"{memory_mb[0]:.0f}",
        f"{memory_mb[int(WARM_UP * len(looks))]:.0f}", f"{memory_mb[-1]:.0f}", f"{mb_per_100(looks):+.2f}",
        *(f"{looks[-1].things[name]} ({growth[name]:+d})" for name in ("files", "sockets", "threads", "workers")),
        f"{left}",
    ]  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--fake", type=int, default=1000, help="trials in virtual time")
    parser.add_argument("--real", type=int, default=100, help="trials on real replicas")
    asked = parser.parse_args(arguments)
    rows = []
    kinds = (
        ("Ray Tune alone", asked.fake, tune_alone),
        ("virtual replicas", asked.fake, partial(watched, serving=contextmanager(virtual))),
        ("real replicas", asked.real, partial(watched, serving=None)),
    )
    with ray_session(address=None, emulate=None, folder=ROOT, runs_code=True), tempfile.TemporaryDirectory() as folder:
        from ray import serve

        serve.start(proxy_location="Disabled")
        for what, trials, held in kinds:
            if not trials:
                continue
            before, began = what_is_there(), time.monotonic()
            looks = held(trials, Path(folder) / what.split()[0])
            rows.append(row(what, looks, len(nothing_left(before)), time.monotonic() - began))
            print(rows[-1], flush=True)
        assert ray.is_initialized(), "connected until the end"
    header = [
        "trials", "n", "s each", "MB first", "MB after a fifth", "MB last", "MB per 100 trials", "files", "sockets",
        "threads", "Ray's workers", "left behind",
    ]  # fmt: skip
    body = markdown(header, rows) + "\n\nIn brackets: growth since a fifth of the trials."
    print(body)
    put(asked.out, "A soak: many short trials in one study", Origin.here(__name__, arguments), body)
