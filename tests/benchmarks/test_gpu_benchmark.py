"""The script for a GPU: everything in it that needs none runs here, so that nothing of it is new when there is one."""

import dataclasses
import subprocess
import sys

import pytest
import torch

from benchmarks.gpu.encoders import TINY, drawn
from benchmarks.gpu.gpu import DRY, Plan, in_this_process, machine, main, report, share
from benchmarks.gpu.speed import _rungs
from benchmarks.gpu.worker import Job, together
from benchmarks.recording.origin import ROOT
from serve_deployments.enforcement import Enforcement

ENFORCED = dataclasses.asdict(Enforcement("gpu_share", "0.25", True, "green context, 32 of 132 multiprocessors"))


def test_a_dry_run_goes_through_every_part_and_keeps_nothing(tmp_path, capsys):
    main(["--dry", "--out", str(tmp_path / "RESULTS.md")])
    said = capsys.readouterr().out
    assert "Failed" not in said and not list(tmp_path.iterdir())
    for part in ("110 % of the cap | MemoryError", "two together, to all | 2.000", "+ torch.compile", "3 recorded"):
        assert part in said


def test_a_plan_says_what_and_how_long_and_fits_a_short_loan_of_a_gpu(capsys):
    main(["--plan"])
    assert "speed path of BERT-base, batches of 1, 32: about" in capsys.readouterr().out
    assert sum(seconds for _, seconds in dataclasses.replace(Plan(), mps=True).lines()) < 600
    main(["--plan", "--quick"])
    assert "BERT-base, batches of 8" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so(tmp_path):
    with pytest.raises(SystemExit, match="sees no CUDA device here, so nothing was measured; --dry needs none"):
        main(["--out", str(tmp_path / "RESULTS.md")])
    assert not list(tmp_path.iterdir())


def test_shares_are_compared_as_ratios():
    def run(jobs, env):
        each = {1.0: 100, 0.25: 24, 0.5: 48}
        slower = 2 if len(jobs) == 2 else 1
        return [{"told": [ENFORCED], "rate": each[job.share] / slower} for job in jobs]

    said = share(Job("products"), run, {})
    assert "25 % is enforced: green context, 32 of 132" in said and "| 25 % of the share, to all | 0.240 |" in said
    assert (
        said.count("to one alone") == 2
        and "first of two at 50 %, to one alone | 0.500 |" in said
        and "to all | 0.480 |" in said
    )


def test_a_part_that_fails_does_not_lose_the_others(capsys):
    def broken(jobs, env):
        raise RuntimeError("a process on the GPU failed: no driver")

    plan = dataclasses.replace(DRY, models=())
    said = report(plan, machine(dry=True), broken)
    assert said.count("Failed: RuntimeError: a process on the GPU failed: no driver") == 2
    assert "Failed" not in report(plan, machine(dry=True), in_this_process)


def test_ratios_are_of_the_same_round():
    seconds = {"plain": [1.0, 2.0, 4.0], "fast": [0.5, 0.5, 4.0]}
    plain, fast = _rungs(seconds, {"plain": [[[1.0, 0.0]]], "fast": [[[1.0, 0.25]]]}, {"fast": "3 recorded"}, texts=8)
    assert (plain.rate, plain.ratio, plain.difference) == (4.0, 1.0, 0.0)
    assert (fast.rate, fast.ratio, fast.worst, fast.difference, fast.about) == (16, 2, (1, 4), 0.25, "3 recorded")


def test_texts_are_always_the_same_and_of_the_lengths_said():
    assert drawn(TINY, 3, 2) == drawn(TINY, 3, 2)
    assert all(16 <= len(text) <= 64 for batch in drawn(TINY, 8, 8) for text in batch)


def test_a_process_of_its_own_measures_when_it_is_told_to():
    [found] = together([Job("products", share=0.25, seconds=0.01, size=8, device="cpu")], {"OMP_NUM_THREADS": "1"})
    assert found["rate"] > 0 and found["told"][0]["how"] == "emulated"


def test_a_process_that_fails_says_why(monkeypatch, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no driver >&2\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(RuntimeError, match="failed: no driver"):
        together([Job("products", device="cpu")], {})


def test_neither_ray_nor_anything_else_heavy_is_needed():
    code = (
        "import sys\n"
        "for name in ('ray', 'pandas', 'pydantic', 'sqlalchemy', 'scipy', 'hdrh'): sys.modules[name] = None\n"
        "from benchmarks.__main__ import main\n"
        "main(['gpu', '--plan'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "together about" in done.stdout, done.stderr
