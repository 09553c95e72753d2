"""A whole study of parts of a GPU: the search measures each alone, and the comparison among as many as fit."""

from contextlib import contextmanager
from typing import Any

import pytest

from cluster.inventory import Node
from raytune_infer.comparing.rounds import in_rounds
from raytune_infer.study.trials.trial import TrialRuntime
from serve_deployments.backend import OutOfMemory
from serve_deployments.fakes.fake_backend import FakeBackend, VirtualMeasure
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from tests.raytune_infer.study.whole_studies import study, without_ray

SPEC = """\
name: parts
model: {build: "cluster.emulated:model", args: {profile: bert-base}}
samples: [x]
knobs: {gpu_type: [T4], gpu_share: [0.25, 1.0]}
default: {gpu_type: T4, gpu_share: 1.0}
objective: {maximize: rps / usd_per_hour}
budget: {trials: 2, compare_s: 1000}
prices: morphling-2021
"""
NODE = Node(
    node_id="a", hostname="a", cpu_cores=4, memory_gib=8.0, gpu_type="T4", gpus=1.0, gpu_memory_gib=16.0, emulated=True
)
MEASURE = VirtualMeasure(LoadTest(LoadPlan(level_min_s=0.3, max_concurrency=8)))


class Gpu:
    """One that is no faster for being shared: with so many busy on it, each takes so many times as long."""

    def __init__(self, **more: Any) -> None:
        self.backend = FakeBackend(lambda settings, batch: 0.01, crowding=lambda busy: 1.0 + busy, **more)

    @contextmanager
    def serving(self, study: Any):
        yield TrialRuntime(self.backend, MEASURE, lambda number: MEASURE, beside=self.backend.beside)


def of_share(trials, share, purpose):
    return [t for t in trials if t.config["gpu_share"] == share and t.purpose == purpose]


def test_a_quarter_that_is_the_best_alone_is_not_where_three_more_share_its_gpu(monkeypatch, tmp_path):
    without_ray(monkeypatch, None, NODE)
    gpu: Any = Gpu()
    result = study(tmp_path / "run", gpu, SPEC, searcher="random", history=False).run()
    [alone], [whole] = (of_share(result.trials, share, "search") for share in (0.25, 1.0))
    # A whole T4 costs 0.48 an hour and its core 0.034: a quarter is more than three times as good by its number alone.
    assert alone.value > 3 * whole.value and alone.outcome.alone and not whole.outcome.alone
    among, beside_none = (of_share(result.trials, share, "final") for share in (0.25, 1.0))
    assert len(among) == len(beside_none) == len(in_rounds(result.trials)) >= 2
    for trial in among:
        assert not trial.outcome.alone and trial.metrics["rps"] == pytest.approx(alone.metrics["rps"] / 4, rel=0.1)
    assert gpu.backend.most_alive == 4 and gpu.backend.alive == 0
    assert result.best.config["gpu_share"] == 1.0


def test_a_quarter_of_which_only_three_fit_is_out_and_the_whole_is_kept(monkeypatch, tmp_path):
    without_ray(monkeypatch, None, NODE)
    full = OutOfMemory("CUDA out of memory")
    gpu: Any = Gpu(refuses_beside=lambda settings, there: full if there == 3 else None)
    result = study(tmp_path / "run", gpu, SPEC, searcher="random", history=False).run()
    assert [t.outcome.metrics for t in of_share(result.trials, 0.25, "final")] == [None]
    assert result.best.config["gpu_share"] == 1.0
