"""Runs as a study leaves them, measured on a fake backend in virtual time: without Ray, in tenths of a second."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cluster.prices import load_prices
from raytune_infer.spec.demand import price
from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import parse_spec
from raytune_infer.store.records import Outcome
from raytune_infer.store.run_folder import RunFolder
from raytune_infer.study.trials.trial import run_trial
from serve_deployments.fakes.fake_backend import FakeBackend, VirtualMeasure
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.settings import Settings

SPEC = """\
name: fake
model: {build: "cluster.emulated:model", args: {profile: bert-base}}
samples: [x]
knobs: {cpu_cores: [1, 2], max_batch_size: [1, 4, 16]}
objective: {maximize: rps / usd_per_hour}
limits: {p99_ms: 100}
"""
CONFIGS = [{"cpu_cores": cores, "max_batch_size": batch} for cores in (1, 2) for batch in (1, 4, 16)]
PLAN = LoadPlan(max_concurrency=128, level_max_s=20, total_max_s=120)


def service_s(settings: Settings, batch: int) -> float:
    """10 ms and 2 ms an item on one core; a second core makes it 1.5 times as fast."""
    return (0.010 + 0.002 * batch) / (1.5 if settings.cpu_cores == 2 else 1.0)


def measured(config, at_most, refuses=lambda settings: None, plan=PLAN) -> Outcome:
    return run_trial(
        Settings(**config, args={"profile": "bert-base"}),
        "trial",
        backend=FakeBackend(service_s, refuses),
        measure=VirtualMeasure(LoadTest(plan, at_most)),
    )


def write_run(
    path: Path, text: str = SPEC, configs: Sequence[dict] = CONFIGS, again: Sequence[dict] = (),
    measure: Callable[..., Outcome] = measured, size: int = 6, priced: bool = True,
) -> Path:  # fmt: skip
    """A finished run; configurations in `again` were measured a second time at the end."""
    spec = parse_spec(Document(text, "fake.yaml"), folder=Path("."))
    path.mkdir()
    database = RunFolder(path, None, 1).database()
    study = database.create_study(
        name=spec.name, spec=spec.text, folder=".", searcher="random", seed=0, trials=len(configs),
        fingerprint={"configurations": [size, "x"]}, emulated=None,
    )  # fmt: skip
    at_most = {} if spec.load.find == "peak" else spec.latency_limits
    parts: list[tuple[Any, Sequence[dict]]] = [("search", configs), ("final", again)]
    for purpose, part in parts:
        for config in part:
            usd_per_hour = price(config, load_prices()) if priced else math.nan
            key, _ = database.start_trial(
                study, purpose=purpose, position=CONFIGS.index(config), config=config, usd_per_hour=usd_per_hour,
                emulated=True,
            )  # fmt: skip
            outcome = measure(config, at_most)
            database.finish_trial(key, outcome, spec.goal.value(outcome.metrics, usd_per_hour))
    database.close()
    RunFolder(path, None, study.id).save()
    return path
