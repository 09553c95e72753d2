"""Runs as an earlier revision left them, under data/: made once, so that what comes later still reads them.

    PYTHONPATH=. python tests/raytune_infer/earlier_runs.py NAME

writes them into data/NAME as the code is now; do so when the form of a run changes, and leave the older ones as they
are. Rates are those of `whole_studies`: 40 requests/s times the root of cores, times the root of the batch size.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from whole_studies import Machine, by_our_clock, study, without_ray

from serve_deployments.backend import OutOfMemory
from serve_deployments.settings import Settings

DATA = Path(__file__).parent / "data"
EARLIER = sorted(path for path in DATA.glob("*") if path.is_dir())

SPEC = """\
name: known
model: {build: "cluster.emulated:model", args: {profile: bert-base}}
samples: [x]
knobs: {cpu_cores: [1, 2, 4], max_batch_size: [1, 4, 16, 64], batch_wait_ms: [0, 5], MODE: {kind: env, values: [a]}}
default: {cpu_cores: 2, max_batch_size: 1, batch_wait_ms: 0, MODE: a}
objective: {maximize: rps / usd_per_hour}
facts: {parameters_million: 110}
budget: {trials: 24, compare_s: 1000}
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


def refuses(settings: Settings) -> OutOfMemory | None:
    return OutOfMemory("64 do not fit") if settings.max_batch_size == 64 else None


@contextmanager
def here(folder: Path) -> Iterator[dict]:
    """What a study is begun with, and gone on with."""
    (folder / "book.yaml").write_text(BOOK)
    yield {"text": SPEC, "folder": folder, "searcher": "random"}


def write(folder: Path) -> None:
    """A run that is done, and one that was killed in its fifth trial; only what a run is read from is kept."""
    folder.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch, here(folder) as how:
        without_ray(patch)
        for name, killed_in in (("done", 0), ("cut", 5)):
            machine = Machine(refuses, killed_in)
            by_our_clock(patch, machine.clock)
            try:
                study(folder / name, machine, **how).run()
            except KeyboardInterrupt:
                continue
    (folder / "book.yaml").unlink()
    for left in [path for run in ("done", "cut") for path in (folder / run).iterdir()]:
        if left.name not in ("run.json", "history.db"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()


if __name__ == "__main__":
    elsewhere = Path(tempfile.gettempdir()) / "earlier"  # a study keeps where its service.yaml was
    write(elsewhere)
    shutil.move(elsewhere, DATA / sys.argv[1])
