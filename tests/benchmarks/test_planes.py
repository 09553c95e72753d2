"""The benchmark `planes` and what it is made of: the pure parts, the models' shapes, and one small real run."""

import json
import math
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom

from benchmarks.planes import planes, worker
from benchmarks.planes.grid import Grid, physical_cpus, planned_s
from benchmarks.planes.models.catalogue import MODELS
from benchmarks.planes.planes import answers, main
from benchmarks.planes.profile import facts, profile
from benchmarks.planes.roofline_fit import Measured, calibrate, judge
from benchmarks.planes.timing import Patience, expected_s, interval, left_out, measure, timing
from benchmarks.recording.said_lines import Silent
from cluster.emulated.roofline import Rates, batch_time_s, datasheet_rates
from serve_deployments.fakes.fake_cuda import FakeCuda

BY_NAME = {model.name: model for model in MODELS}


class VirtualTime:
    """A clock that only batches move: each takes the next of `seconds`, the last one for ever."""

    def __init__(self, *seconds):
        self.now, self.seconds, self.runs = 0.0, list(seconds), 0

    def clock(self):
        return self.now

    def run(self):
        self.now += self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]
        self.runs += 1


def test_interval_holds_the_median_often_enough():
    for n in range(6, 300):
        low, high = interval(list(range(1, n + 1)))
        # Binomial: the median lies between the low-th and the high-th of n values.
        assert binom.cdf(high - 1, n, 0.5) - binom.cdf(low - 1, n, 0.5) >= 0.95


def test_too_few_values_have_no_interval():
    assert timing([1.0] * 5).spread == math.inf
    assert timing([1.0] * 6).spread == 0


def test_steady_batches_are_measured_for_the_least_time():
    time = VirtualTime(1.0, 0.01)  # the first batch makes the kernels and does not count
    found = measure(time.run, time.clock, Patience(least_s=0.25))
    assert found.median_s == pytest.approx(0.01)
    assert time.now == pytest.approx(1.0 + 0.25, abs=0.02)


def test_noisy_batches_are_measured_until_tight():
    rng = np.random.default_rng(0)
    patience = Patience(least_s=0.1, most_s=100)
    time = VirtualTime(*(0.01 * rng.lognormal(0, 0.5, 20_000)))
    found = measure(time.run, time.clock, patience)
    assert found.spread <= patience.within
    assert found.median_s == pytest.approx(0.01, rel=0.1)
    assert 0.5 < time.now < 20


def test_time_runs_out():
    time = VirtualTime(*[0.01, 0.1] * 1000)
    found = measure(time.run, time.clock, Patience(least_s=0.1, most_s=0.5, within=0.01))
    assert time.now < 0.8
    assert found.spread > 0.01
    slow = VirtualTime(5.0)
    assert measure(slow.run, slow.clock, Patience(least_batches=3)).batches == 3
    assert slow.runs == 4  # and one to warm up


def test_what_takes_too_long_is_left_out():
    def row(batch, ms=None, cores=1):
        measured = {} if ms is None else {"latency_ms": ms, "rps": 1e3 * batch / ms}
        return {"cpu_cores": cores, "precision": "float32", "max_batch_size": batch, **measured}

    patience = Patience(batch_limit_s=2)
    rows = [row(1, 300), row(2, 500), row(1, 10, cores=2), row(8, 1)]
    assert expected_s(row(4), rows) == pytest.approx(1.0)  # 250 ms an item; neither other cores nor larger batches
    assert not left_out(row(4), rows, patience)
    assert left_out(row(16), rows[:2], patience)
    # Nothing known, or only a failure: it is tried.
    assert expected_s(row(4), []) is None and not left_out(row(4), [row(2)], patience)
    # One disturbed point does not rule out what follows.
    assert expected_s(row(4), [row(1, 300), row(2, 5000)]) == pytest.approx(1.2)


def test_patience_refuses():
    with pytest.raises(ValueError, match="least_s <= most_s"):
        Patience(least_s=2, most_s=1)


# Parameters (1e6) as the papers or the published checkpoints have them, GFLOP = 2 x multiply-adds of the papers.
@pytest.mark.parametrize(
    ("name", "parameters", "gflop"),
    [
        ("resnet-50", 25.6, 8.2),  # He et al. 2016: 4.1e9 multiply-adds as torchvision has it
        ("mobilenet-v2", 3.5, 0.6),  # Sandler et al. 2018, table 4: 3.4M, 300M multiply-adds
        ("convnext-tiny", 28.6, 9.0),  # Liu et al. 2022, table 1: 29M, 4.5e9
        ("vit-base-32", 88.2, 8.8),  # Dosovitskiy et al. 2021: 88M
        ("gpt2", 124.4, 2 * 85e6 * 64 / 1e9),  # 85M in the blocks
        ("bert-base", 108.9, 2 * 85e6 * 32 / 1e9),  # 110M with the pooler
        ("albert-base", 11.2, 2 * 85e6 * 32 / 1e9),  # 12M
        ("lstm", 11.5, 2 * 64 * (8 * 512 * (256 + 512 + 512 + 512) / 2) / 1e9),  # 4 gates, two layers
    ],
)
def test_models_are_as_large_as_published(name, parameters, gflop):
    known = facts(BY_NAME[name])
    assert known["parameters_million"] == pytest.approx(parameters, rel=0.01)
    assert known["gflop_per_item"] == pytest.approx(gflop, rel=0.03)


@pytest.mark.parametrize(
    ("name", "inputs", "shape"),
    [
        *[(name, (torch.randint(9, (2, 5)),), shape) for name, shape in (
            ("minilm-l6", (2, 384)), ("t5-small-encoder", (2, 512)), ("lstm", (2, 20)), ("albert-base", (2, 768)),
        )],
        *[(name, (torch.randn(2, 3, 32, 32),), (2, 1000)) for name in ("mobilenet-v2", "convnext-tiny")],
        ("dlrm", (torch.randn(2, 13), torch.randint(9, (2, 26))), (2, 1)),
    ],
)  # fmt: skip
def test_models_answer(name, inputs, shape):
    with torch.inference_mode():
        answer = BY_NAME[name].build().eval()(*inputs)
    assert answer.shape == shape
    assert answer.isfinite().all()


@pytest.mark.parametrize("name", ["distilbert", "bert-base", "gpt2", "vit-base-32"])
def test_large_models_answer_a_sample(name):
    with torch.device("meta"), torch.no_grad():
        answer = BY_NAME[name].build().eval()(*BY_NAME[name].sample(2))
    assert answer.shape == (2, {"gpt2": 50_257, "vit-base-32": 1000}.get(name, 768))


def test_names_and_families():
    assert len(BY_NAME) == len(MODELS) >= 10
    assert len({model.family for model in MODELS}) >= 6


def test_grid_and_prices():
    cpu = Grid("cpu", {"cpu_cores": (1, 2), "precision": ("float32",), "max_batch_size": (1, 2)}, 0.04, 0, "test")
    assert [c["max_batch_size"] for c in cpu.configs()] == [1, 2, 1, 2]
    assert cpu.usd_per_hour(cpu.configs()[-1]) == pytest.approx(0.08)
    gpu = Grid("cuda", {"gpu_share": (0.25, 1.0), "gpu_memory_gib": (8.0, 80.0)}, 0.04, 6.0, "test")
    # By the larger of the shares: a quarter of the compute beside a tenth of the memory.
    assert [gpu.usd_per_hour(c) for c in gpu.configs()] == pytest.approx([1.54, 6.04, 6.04, 6.04])


def test_plan_knows_that_heavy_batches_are_left_out():
    grid = Grid("cpu", {"cpu_cores": (1,), "precision": ("float32",), "max_batch_size": (1, 64)}, 0.04, 0, "test")
    light, heavy = ({"m": {"gflop_per_item": gflop}} for gflop in (1e-3, 1e5))
    assert planned_s(grid, heavy, Patience())[1] < planned_s(grid, light, Patience())[0]


def test_quick_run_writes_a_suite_and_goes_on(tmp_path, capsys):
    asked = ["--quick", "--models", "dlrm", "--cores", "1", "--batches", "1", "64", "--out", str(tmp_path)]
    main(asked)
    suite, table = json.loads((tmp_path / "suite.json").read_text()), pd.read_csv(tmp_path / "dlrm.csv")
    names = [knob["name"] for knob in suite["parameters"]]
    assert list(table.columns) == [*names, suite["cost"], *suite["metrics"]]
    assert table[names].values.tolist() == [[1, p, b] for p in ("float32", "bfloat16") for b in (1, 64)]
    assert np.allclose(table.rps * table.latency_ms, 1e3 * table.max_batch_size, rtol=1e-3)
    assert suite["tasks"]["source"] == ["dlrm"] and suite["groups"] == {"dlrm": "recommender"}
    assert suite["descriptors"]["dlrm"]["gflop_per_item"] > 0
    assert "dlrm" in (tmp_path / "CARD.md").read_text()
    before = (tmp_path / "dlrm.csv").read_bytes()
    main(asked)
    assert (tmp_path / "dlrm.csv").read_bytes() == before
    assert "0 models, " in capsys.readouterr().out
    with pytest.raises(ValueError, match="--fresh"):
        main([*asked, "--batches", "1", "2"])


def test_a_worker_killed_for_its_memory_is_a_failed_row(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(
        """
import json, os, signal, sys
for config in json.load(sys.stdin)["configs"]:
    print(json.dumps({"trying": config}), flush=True)
    if config["max_batch_size"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    print(json.dumps({"row": {**config, "rps": 1.0, "latency_ms": 1.0}, "spread": 0.0, "batches": 9}), flush=True)
"""
    )
    knobs: dict[str, tuple] = {"cpu_cores": (1,), "precision": ("float32",), "max_batch_size": (1, 2, 4)}
    grid = Grid("cpu", knobs, 0.04, 0, "test")
    said = list(answers(MODELS[0], grid.configs(), grid, Patience(), (sys.executable, str(script))))
    assert [(a["row"]["max_batch_size"], "rps" in a["row"]) for a in said] == [(1, True), (2, False), (4, True)]
    script.write_text("raise SystemExit(3)")
    for many in (1, 2000):  # more than a pipe holds: it ends before it has taken all that it is asked
        with pytest.raises(RuntimeError, match="ended with 3"):
            list(answers(MODELS[0], list(grid.configs()) * many, grid, Patience(), (sys.executable, str(script))))


def test_a_worker_that_hangs_is_ended(tmp_path, monkeypatch):
    script = tmp_path / "worker.py"
    script.write_text("import sys, time; sys.stdin.read(); time.sleep(600)")
    grid = Grid("cpu", {"cpu_cores": (1,), "precision": ("float32",), "max_batch_size": (1,)}, 0.04, 0, "test")
    monkeypatch.setattr(planes, "SILENT_S", 0.5)
    with pytest.raises(Silent, match="the worker for .* said nothing for 0.5 s, so it was ended"):
        list(answers(MODELS[0], grid.configs(), grid, Patience(), (sys.executable, str(script))))


def test_on_a_gpu_a_worker_ends_after_it_ran_out_of_memory(monkeypatch):
    """If that was while a graph was recorded, torch keeps the memory: what follows is for a new process."""
    configs: list[dict] = [{"precision": "float32", "max_batch_size": n, "gpu_memory_gib": 1.0} for n in (1, 2, 4)]
    cuda = FakeCuda()
    cuda.device = 0
    for name in ("empty_cache", "set_per_process_memory_fraction", "get_device_properties"):
        monkeypatch.setattr(torch.cuda, name, getattr(cuda, name))
    monkeypatch.setattr(worker, "prepared", lambda *args: torch.nn.Identity())

    def inputs_of(model, precision, device, batch):
        if batch == 2:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return [torch.ones(batch)]

    monkeypatch.setattr(worker, "inputs_of", inputs_of)
    monkeypatch.setattr(worker, "batch_loop", lambda net, inputs, device: lambda: net(*inputs))
    patience = Patience(least_s=0.001, most_s=0.01)
    said: list[dict[str, Any]] = list(worker.rows(worker.Job("m", "cuda", [0], configs, [], patience)))
    assert [each["row"].get("rps") is not None for each in said if "row" in each] == [True, False]
    assert said[-1]["row"]["max_batch_size"] == 2


def test_more_cores_than_there_are():
    with pytest.raises(ValueError, match="lower --cores"):
        main(["--cores", str(len(physical_cpus()) + 1), "--plan"])


def test_calibration_recovers_the_rates_that_made_the_tables():
    true = Rates({"float32": 7e10, "bfloat16": 4e11}, 2e10, 4e-5, fill_s=0.0)

    def table(name):
        grid = [(b, c, p, 0.04 * c) for c in (1, 2) for p in ("float32", "bfloat16") for b in (1, 8, 64)]
        rows = pd.DataFrame(grid, columns=["max_batch_size", "cpu_cores", "precision", "usd_per_hour"])
        counted = profile(BY_NAME[name])
        seconds = [batch_time_s(counted, true, batch=b, units=c, bandwidth_units=c, precision=p) for b, c, p, _ in grid]
        return Measured(counted, "any", rows.assign(latency_ms=1e3 * np.array(seconds)))

    *tables, judged = [table(name) for name in ("dlrm", "gpt2", "resnet-50", "mobilenet-v2", "bert-base")]
    sheet = datasheet_rates(None)
    fitted = calibrate(tables, sheet)
    assert fitted.flops["float32"] == pytest.approx(7e10, rel=0.05)
    assert fitted.flops["bfloat16"] == pytest.approx(4e11, rel=0.05)
    assert fitted.launch_s == pytest.approx(4e-5, rel=0.1)
    before, after = judge(judged, judged.predicted_s(sheet)), judge(judged, judged.predicted_s(fitted))
    assert after.error < 0.03 < before.error
    assert after.rank > 0.99 and after.best > 0.99


def test_calibration_needs_tables():
    with pytest.raises(ValueError, match="got none"):
        calibrate([], datasheet_rates(None))
