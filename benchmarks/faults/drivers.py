"""Faults in which the driver is killed with SIGKILL and started again with `--resume`, until the study is done."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import ray

from benchmarks.faults.account import Account, account, spec_text
from benchmarks.faults.faults import Fault
from benchmarks.faults.leftovers import awaited, nothing_left, what_is_there, workers
from raytune_infer.store.run_folder import open_run

OWN_RAY = Fault("driver killed, Ray is its own", lambda rng: True, hits=4)
RAY_GOES_ON = Fault("driver killed, Ray goes on", lambda rng: True, hits=4)
DRIVERS = (OWN_RAY, RAY_GOES_ON)

_WITHIN_S = 6.0
_FIRST_S = 120.0
_ENDS_S = 600.0


def driver_killed(fault: Fault, out: Path, *, hits: int, seed: int) -> Account:
    """Runs one study whose driver is a process of its own and is killed several times; see `account.disturbed`.

    The driver is killed at a random moment after one more trial has ended; its last process runs to the end.
    """
    rng, before, began = random.Random(seed), what_is_there(), time.monotonic()
    out.mkdir(parents=True)
    folder = out / "service"
    folder.mkdir()
    (folder / "service.yaml").write_text(spec_text(fault))
    where = ["--address", ray.get_runtime_context().gcs_address] if fault is RAY_GOES_ON else []
    command = [
        sys.executable, "-m", "raytune_infer", "tune", str(folder / "service.yaml"), "--out", str(out), "--searcher",
        "random", "--seed", str(seed), "--no-history", *where,
    ]  # fmt: skip
    struck, left = 0, []
    for _ in range(hits):
        driver = subprocess.Popen(_again(command, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _one_trial_further(driver, out)
        try:
            driver.wait(rng.uniform(0.0, _WITHIN_S))
            break  # the study ended before the strike
        except subprocess.TimeoutExpired:
            own = workers(below=psutil.Process(driver.pid))
            driver.kill()
            driver.wait()
            struck += 1
            _, alive = psutil.wait_procs(own, timeout=30)
            left += [f"outlived the driver: {process.pid}" for process in alive]
    last = subprocess.run(_again(command, out), capture_output=True, text=True, timeout=_ENDS_S)
    said = None if last.returncode == 0 else f"exit code {last.returncode}: {(last.stdout + last.stderr)[-300:]}"
    left += [f"left behind: {line}" for line in sorted(nothing_left(before))]
    return account(fault, out, struck, said, left, time.monotonic() - began)


def _one_trial_further(driver: subprocess.Popen[bytes], out: Path) -> None:
    done = _trials(out)
    awaited(lambda: _trials(out) > done or driver.poll() is not None, "a trial that ends", seconds=_FIRST_S)


def _again(command: list[str], out: Path) -> list[str]:
    return [*command, "--resume"] if (out / "run.json").exists() else command


def _trials(out: Path) -> int:
    """How many trials have ended."""
    if not (out / "run.json").exists():
        return 0
    database, study = open_run(out).load()
    try:
        return len(database.trials(study))
    finally:
        database.close()
