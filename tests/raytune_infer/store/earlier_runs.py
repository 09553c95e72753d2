"""Runs as an earlier revision left them, under data/: made once, so that what comes later still reads them.

    PYTHONPATH=. python tests/raytune_infer/store/earlier_runs.py NAME

writes them into data/NAME as the code is now, or as it was in a worktree that PYTHONPATH names; do so when the form of
a run changes, and leave the older ones as they are. Of the run that was killed there is also what PostgreSQL had of it,
as pg_dump says it and psql reads it. Rates are those of `whole_studies`: 40 requests/s times the root of cores, times
the root of the batch size.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import make_url

from serve_deployments.backend import OutOfMemory
from serve_deployments.settings import Settings
from tests.raytune_infer.postgresql import programs, server
from tests.raytune_infer.study.whole_studies import Machine, by_our_clock, study, without_ray

DATA = Path(__file__).parent / "data"
EARLIER = sorted(path for path in DATA.glob("*") if path.is_dir())

DUMPED = "postgresql"
"""The run whose database is kept as text."""
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
    found = programs()
    assert found is not None, "PostgreSQL is not installed"
    with server(found) as postgresql, postgresql.database() as url, here(folder) as how:
        for name, killed_in, options in (("done", 0, {}), ("cut", 5, {}), (DUMPED, 5, {"db": url})):
            with pytest.MonkeyPatch.context() as patch, suppress(KeyboardInterrupt):
                without_ray(patch)
                machine = Machine(refuses, killed_in)
                by_our_clock(patch, machine.clock)
                study(folder / name, machine, **how, **options).run()
        dump = postgresql.run("pg_dump", "--inserts", "--no-owner", make_url(url).database)
    # Without the commands (`\\restrict`) that only a psql as new as this pg_dump knows.
    dump = "".join(line for line in dump.splitlines(keepends=True) if not line.startswith("\\"))
    (folder / f"{DUMPED}.sql").write_text(dump)
    shutil.rmtree(folder / DUMPED)
    (folder / "book.yaml").unlink()
    for left in [path for run in ("done", "cut") for path in (folder / run).iterdir()]:
        if left.name not in ("run.json", "history.db"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()


if __name__ == "__main__":
    elsewhere = Path(tempfile.gettempdir()) / "earlier"  # a study keeps where its service.yaml was
    write(elsewhere)
    shutil.move(elsewhere, DATA / sys.argv[1])
