"""Many short trials in one study: what grows in the driver, and on the machine.

    python benchmarks/soak.py [--fake 1000] [--real 100]

The study, Tune, the searcher, the database and the pool's actor are real in both. Of the fake trials, replicas and
load are virtual: a trial takes some tens of milliseconds. Of the real ones, they are not: warm replicas on Ray Serve
of a model that answers at once, under load of some tenths of a second. The slope is that of a straight line through
the driver's resident memory after each trial, the first fifth left out: imports and caches fill there.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import ray
from leftovers import nothing_left, open_things, what_is_there, workers
from results import RESULTS, Origin, markdown, put

from raytune_infer import Study
from raytune_infer.document import Document
from raytune_infer.progress import Silent
from raytune_infer.records import StudyRecord, TrialRecord
from raytune_infer.session import ray_session
from raytune_infer.spec import parse_spec
from raytune_infer.study import Serving
from raytune_infer.trial import Bench
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.replicas.fake_backend import FakeBackend, VirtualMeasure
from serve_deployments.replicas.shared_pool import shared_pool
from serve_deployments.settings import Settings

WARM_UP = 0.2
HERE = Path(__file__).resolve().parent
SPEC = """\
name: soak
model: {{build: "chaos_model:model", args: {{behaviour: works, odd: 0}}}}
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
    """What the driver has, after a trial.

    Args:
        memory_mb: resident.
        things: files, sockets, threads, and Ray's workers below it that belong to somebody.
    """

    memory_mb: float
    things: dict[str, int]


class Watch(Silent):
    """Looks at this process after each trial."""

    def __init__(self) -> None:
        self.looks: list[Look] = []
        self._me = psutil.Process()

    def finished(self, trial: TrialRecord) -> None:
        things = open_things(self._me) | {"workers": len(workers())}
        self.looks.append(Look(self._me.memory_info().rss / 2**20, things))


def virtual(study: StudyRecord) -> Iterator[Bench]:
    """Replicas in virtual time, kept in a real pool."""
    measure = VirtualMeasure(LoadPlan(level_min_s=0.1, level_max_s=0.2, total_max_s=0.3, max_concurrency=16))
    with shared_pool() as pool:
        yield Bench(FakeBackend(_service_s, pool=pool), measure, lambda number: measure)


def _service_s(settings: Settings, batch: int) -> float:
    return 0.010 + 0.001 * batch


def watched(trials: int, out: Path, serving: Serving | None) -> list[Look]:
    """A study of so many trials, looked at after each of its search and of its comparison."""
    side = int(np.ceil(np.sqrt(trials)))
    text = SPEC.format(batches=list(range(1, side + 1)), waits=list(range(side)), trials=trials)
    watch = Watch()
    study = Study(
        parse_spec(Document(text, "soak.yaml"), folder=HERE), searcher="random", out=out, history=False, serving=serving
    )
    study.run(progress=watch)
    return watch.looks


def mb_per_100(looks: list[Look]) -> float:
    """Slope of the memory, without the first fifth."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fake", type=int, default=1000, help="trials in virtual time")
    parser.add_argument("--real", type=int, default=100, help="trials on real replicas")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = []
    kinds = (("virtual replicas", arguments.fake, contextmanager(virtual)), ("real replicas", arguments.real, None))
    with ray_session(address=None, emulate=None, folder=HERE), tempfile.TemporaryDirectory() as folder:
        from ray import serve

        serve.start(proxy_location="Disabled")
        for what, trials, serving in kinds:
            if not trials:
                continue
            before, began = what_is_there(), time.monotonic()
            looks = watched(trials, Path(folder) / what.split()[0], serving)
            rows.append(row(what, looks, len(nothing_left(before)), time.monotonic() - began))
            print(rows[-1], flush=True)
        assert ray.is_initialized(), "connected until the end"
    header = [
        "trials", "n", "s each", "MB first", "MB after a fifth", "MB last", "MB per 100 trials", "files", "sockets",
        "threads", "Ray's workers", "left behind",
    ]  # fmt: skip
    body = markdown(header, rows) + "\n\nIn brackets: growth since a fifth of the trials."
    print(body)
    put(arguments.out, "A soak: many short trials in one study", Origin.here(), body)


if __name__ == "__main__":
    main()
