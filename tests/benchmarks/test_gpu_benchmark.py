"""The script for a GPU: everything in it that needs none runs here, so that nothing of it is new when there is one."""

import dataclasses
import os
import subprocess
import sys

import pytest
import torch

from benchmarks.gpu.checks import Job
from benchmarks.gpu.computing import COMPUTING
from benchmarks.gpu.dry import in_this_process
from benchmarks.gpu.encoders import TINY, drawn
from benchmarks.gpu.gpu import DRY, Plan, main, report
from benchmarks.gpu.sections import held, share, words
from benchmarks.gpu.speed import _rungs
from benchmarks.gpu.worker import together
from benchmarks.recording.origin import ROOT
from benchmarks.recording.said_lines import Silent
from serve_deployments.resources.enforcement import Enforcement

ENFORCED = dataclasses.asdict(Enforcement("gpu_share", "0.25", True, "green context, 32 of 132 multiprocessors"))


def test_a_dry_run_goes_through_every_part_and_keeps_nothing(tmp_path, capsys):
    main(["--dry", "--out", str(tmp_path / "RESULTS.md")])
    said = capsys.readouterr().out
    assert "Failed" not in said and not list(tmp_path.iterdir())
    assert "WRONG" not in said and "NOT recognised" not in said
    for part in (
        "is enforced: torch.cuda.set_per_process_memory_fraction", "110 % of the cap | OutOfMemoryError",
        "25 % is enforced: green context, 32 of 132", "two together, to all | 2.000",
        "25 recorded, 80 batches replayed, 25 run without; answers right", "its process | a CUDA graph could not be",
        "torch's allocator | RuntimeError", "+ torch.compile", "3 recorded", "| 4 | holds 3.49 GiB | enforced",
        "NVIDIA H100 NVL | H100-NVL | 93.60 | 0.996 | 9.0 | has kernels", "MIG 1g.5gb | A100-40G-1g.5gb | 4.75 | 0.950",
        "Tesla V100-SXM2-16GB | V100 | 15.75 | 0.984 | 7.0 | torch 2.13.0+cu130 there has no kernels",
    ):  # fmt: skip
        assert part in said
    for kind in COMPUTING:
        assert f"| {kind} | 1.000" in said
    assert "| torch, in a thread of the model's | 1.000 | – | NOT enforced: green context, 32 of 132" in said
    assert "mode default, as torch would record CUDA graphs outside the model's gpu_share" in said


def test_a_plan_says_what_and_how_long_and_fits_a_short_loan_of_a_gpu(capsys):
    main(["--plan"])
    said = capsys.readouterr().out
    for part in (
        "memory: a cap of 25 %, asked of the device", "speed path of BERT-base, batches of 32: about",
        "whom a share of 25 % holds", "CUDA graphs: all shapes recorded before the load", "out of memory in torch",
    ):  # fmt: skip
        assert part in said
    parts = dataclasses.replace(Plan(), mps=True).parts(in_this_process)
    assert sum(seconds for _, seconds, _ in parts) < 600
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

    said = share(Job("held"), run, {})
    assert "25 % is enforced: green context, 32 of 132" in said and "| 25 % of the share, to all | 0.240 | – |" in said
    assert (
        said.count("to one alone") == 2
        and "first of two at 50 %, to one alone | 0.500 |" in said
        and "to all | 0.480 |" in said
    )


def test_whom_a_share_does_not_hold_is_seen_beside_what_is_said():
    elsewhere = {**ENFORCED, "enforced": False, "how": "4 MiB are held by 1 of the model's streams outside it"}

    def run(jobs, env):
        [job] = jobs
        if job.kind == "ONNX Runtime":
            return [{"told": [], "left_out": "onnxruntime is not installed"}]
        alone = job.kind == "torch, in a thread of the model's"
        rate = 100 if job.share == 1 or alone else 25
        return [{"told": [elsewhere if alone else ENFORCED], "rate": rate, "seen": 132 if job.share == 1 else 32}]

    said = held(Job("held"), run)
    assert "| torch | 0.250 | 32 | enforced: green context, 32 of 132 multiprocessors |" in said
    assert "| torch, in a thread of the model's | 1.000 | 32 | NOT enforced: 4 MiB are held" in said
    assert "| ONNX Runtime | – | – | left out: onnxruntime is not installed |" in said


def test_words_that_are_not_recognised_stand_out():
    raised = [["cuBLAS", "RuntimeError", "no room", False], ["torch's allocator", "OutOfMemoryError", "no room", True]]
    said = words(Job("held"), lambda jobs, env: [{"told": [], "raised": raised}])
    assert "| cuBLAS | RuntimeError | no room | NOT recognised |" in said and "| no room | recognised |" in said


def test_a_part_that_fails_does_not_lose_the_others(capsys):
    def broken(jobs, env):
        raise RuntimeError("a process on the GPU failed: no driver")

    plan = dataclasses.replace(DRY, models=())
    assert report(plan, broken).count("Failed: RuntimeError: a process on the GPU failed: no driver") == 6

    def without_shares(jobs, env):
        return broken(jobs, env) if jobs[0].what == "held" else in_this_process(jobs, env)

    said = report(plan, without_shares)
    assert said.count("Failed") == 2 and "### Memory\n" in said and "### CUDA graphs\n" in said


def test_ratios_are_of_the_same_round():
    seconds = {"plain": [1.0, 2.0, 4.0], "fast": [0.5, 0.5, 4.0]}
    plain, fast = _rungs(seconds, {"plain": [[[1.0, 0.0]]], "fast": [[[1.0, 0.25]]]}, {"fast": "3 recorded"}, texts=8)
    assert (plain.rate, plain.ratio, plain.difference) == (4.0, 1.0, 0.0)
    assert (fast.rate, fast.ratio, fast.worst, fast.difference, fast.about) == (16, 2, (1, 4), 0.25, "3 recorded")


def test_texts_are_always_the_same_and_of_the_lengths_said():
    assert drawn(TINY, 3, 2) == drawn(TINY, 3, 2)
    assert all(16 <= len(text) <= 64 for batch in drawn(TINY, 8, 8) for text in batch)


def test_a_process_of_its_own_measures_when_it_is_told_to():
    [found] = together([Job("held", share=0.25, seconds=0.01, size=8, device="cpu")], {"OMP_NUM_THREADS": "1"})
    assert found["rate"] > 0 and found["told"][0]["how"] == "emulated"


@pytest.fixture
def python(monkeypatch, tmp_path):
    """Makes a script of the shell stand in for the processes on the GPU."""

    def made(script):
        stands_in = tmp_path / "python"
        stands_in.write_text(f"#!/bin/sh\n{script}\n")
        stands_in.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(stands_in))
        return tmp_path

    return made


def test_a_process_that_fails_says_why_however_much_it_says(python):
    python("head -c 1000000 /dev/zero | tr '\\0' 'x' >&2; echo no driver >&2")
    with pytest.raises(RuntimeError, match="failed: x*no driver"):
        together([Job("held", device="cpu")], {})


@pytest.mark.parametrize("script", ["sleep 600", "echo ready; sleep 600"])
def test_a_process_that_hangs_is_ended_with_what_it_has_started(python, monkeypatch, script):
    """All of them hold the pipe open, whose end is read once the last of them has ended."""
    pipe = python(f"exec 9>$(dirname $0)/pipe; echo began >&9; sleep 600 & {script}") / "pipe"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    monkeypatch.setattr(Job, "within_s", 0.2)
    with pytest.raises(Silent, match="the process of 'held' on the GPU said nothing for (0.2|3) s, so it was ended"):
        together([Job("held", device="cpu")] * 2, {}, ready_s=3.0)
    os.set_blocking(held, True)
    with open(held, encoding="ascii") as written:
        assert written.read() == "began\n" * 2


def test_neither_ray_nor_anything_else_heavy_is_needed():
    code = (
        "import sys\n"
        "for name in ('ray', 'pandas', 'pydantic', 'sqlalchemy', 'scipy', 'hdrh'): sys.modules[name] = None\n"
        "from benchmarks.__main__ import main\n"
        "main(['gpu', '--plan'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "together about" in done.stdout, done.stderr
