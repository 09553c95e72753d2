"""A view from each builder there is, of data in which a user's own texts look like markup."""

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from cluster.inventory import Inventory, Node
from cluster.prices import PriceBook
from raytune_infer.comparing.comparison import compared
from raytune_infer.report.comparison_report import comparison_view
from raytune_infer.report.inventory_report import inventory_view
from raytune_infer.report.recommendation_report import recommendation_view
from raytune_infer.report.replay_report import replay_view
from raytune_infer.report.study_report import result_view, trials_view
from raytune_infer.report.view import View
from raytune_infer.report.whole.run_facts import RunFacts
from raytune_infer.report.whole.whole_report import whole_report
from raytune_infer.report.words.effects import effects_view
from raytune_infer.report.words.progress import Telling
from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import ServiceSpec, parse_spec
from raytune_infer.store.records import Outcome, Purpose, StudyRecord, TrialRecord
from raytune_infer.store.run_folder import RunFolder
from raytune_infer.study.result import conclude
from raytune_infer.suites.replays import Plan, Results, Search
from raytune_infer.suites.suites import Suite
from searchers.base import Problem
from searchers.objective import Expression, Objective
from searchers.replay import Step
from searchers.space import Config, Knob, Space
from serve_deployments.resources.usage import Usage
from tests.raytune_infer.ranking.ranked_trials import level, ranked, trial
from tests.raytune_infer.report.views_of_models import views_of_models

TYPED = "[/INST]"
"""What a user may have typed as a knob's value, a name or a prompt that stands in an error: rich's markup, nearly."""

NAMES = (TYPED, "[bold]b[/]", "c,d", 'e "f"', "<b>g</b>")
"""Values of a knob; of the first is what is recommended."""

OBJECTIVE = Objective(Expression("rps / usd_per_hour"), at_most={"p99_ms": 100.0})
BEGUN = dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC)


def measured(number: int, position: int, rps: float | None, purpose: Purpose = "search", **more) -> TrialRecord:
    metrics = None if rps is None else {
        "rps": rps, "p50_ms": 12.3456, "p95_ms": 34.5678, "p99_ms": 56.789, "error_rate": 0.0123
    }  # fmt: skip
    reason = None if rps is not None else f"ValueError: {TYPED} [red]is no prompt[/]"
    outcome = Outcome(metrics, reason=reason, **more)
    config: Config = {"template": NAMES[position], "size": 2**position, "fast": position == 0}
    return TrialRecord(number, purpose, position, config, 0.36, OBJECTIVE.value(metrics, 0.36), outcome, 7.5, False)


TRIALS = (
    measured(1, 0, 1234.5678), measured(2, 1, 0.00123456, client_limited=True), measured(3, 2, None),
    measured(4, 3, 43.21, ended_early=True, lost=f"ReplicaDied: {TYPED}"), measured(5, 4, 98765.4321),
    measured(6, 0, 1234.5, "final"), measured(7, 1, 617.3, "final"),
    measured(8, 1, 615.1, "final"), measured(9, 0, 1239.9, "final"),
)  # fmt: skip


def views() -> dict[str, View]:
    """Name of its builder → a view of it."""
    problem = Problem(Space([Knob("size", (1, 2, 4, 8, 16))]), OBJECTIVE, np.full(5, 0.36))
    result = conclude(RunFolder(Path("runs/[x]"), None, 1), problem, TRIALS, 1, f"{TYPED}, 2026-01-15")
    study = StudyRecord(1, f"mine {TYPED}", "", ".", "meta", 7, 5, {}, None, BEGUN)
    telling = Telling((), 9, OBJECTIVE)
    return {
        "result_view": result_view(result, {"trials": Path("runs/[x]/trials.csv")}),
        "trials_view": trials_view(study, TRIALS, result.best, result.comparison, OBJECTIVE),
        "comparison_view": comparison_view(compared(TRIALS, OBJECTIVE, 1), OBJECTIVE),
        "recommendation_view": recommendation_view(_recommendation()),
        "inventory_view": inventory_view(_inventory(), _book()),
        "replay_view": replay_view(_replay(), Path("[x].csv")),
        "effects_view": effects_view(_service()),
        "whole_report": whole_report(facts()),
        "finished": replace(
            telling.finished(TRIALS[0]), sections=(telling.finished(TRIALS[2]), telling.finished(TRIALS[3]))
        ),
        **views_of_models(TYPED),
    }


def facts() -> RunFacts:
    """The trials as a run whose service has their knobs."""
    study = StudyRecord(1, f"mine {TYPED}", "", ".", "random", 7, 5, {}, None, BEGUN)
    knobs = {"template": NAMES, "size": [1, 2, 4, 8, 16], "fast": [True, False]}
    text = json.dumps({
        "name": "mine", "model": {"build": "json:loads"}, "samples": ["x"],
        "knobs": {name: {"kind": "args", "values": values} for name, values in knobs.items()},
        "default": TRIALS[1].config, "objective": {"maximize": "rps / usd_per_hour"}, "limits": {"p99_ms": 100},
    })  # fmt: skip
    spec = parse_spec(Document(text, "s.yaml"), folder=Path("."))
    return RunFacts(RunFolder(Path("runs/[x]"), None, 1), study, TRIALS, spec)


def _recommendation():
    used = Usage(seconds=10.0, busy_s=7.3, batches={4: 10}, cpu_s=9.1, gpu_busy_s=1, gpu_seen_s=2)
    configs = [{"template": name, "size": size} for size, name in enumerate(NAMES)]
    return ranked(
        trial(1, 0, level(100.123, 9), level(200.456, 42, usage=used), level(300.789, 60),
              level(400, 900, overloaded=True), config=configs[0], usd=0.36),
        trial(2, 1, level(118.3, 15), config=configs[1], usd=0.36),
        trial(3, 2, level(150, 90), level(160, 900, overloaded=True), config=configs[2], usd=0.36),
        trial(4, 3, config=configs[3], reason=f"ValueError: {TYPED}"),
        p99_ms=50, goal="rps / usd_per_hour",
    )  # fmt: skip


def _service() -> ServiceSpec:
    args = json.dumps({"url": f"https://host/{TYPED}"})
    text = (
        f'name: s\nmodel: {{build: "json:loads", args: {args}}}\nsamples: [x]\n'
        "knobs: {cpu_cores: [1]}\nobjective: {maximize: rps}\n"
    )
    return parse_spec(Document(text, "s.yaml"), folder=Path("."))


def _inventory() -> Inventory:
    return Inventory(
        (
            Node("a", "head", cpu_cores=0, memory_gib=3.75),
            Node("b", f"host{TYPED}", cpu_cores=8, memory_gib=31.04, gpu_type="T4", gpus=2, gpu_memory_gib=15.75),
            Node("c", "own", cpu_cores=16, memory_gib=64, gpu_type="Quadro", gpus=1, gpu_memory_gib=24, has_mps=True),
        )
    )


def _book() -> PriceBook:
    return PriceBook(f"mine {TYPED}", dt.date(2026, 1, 31), "a list", 0.05, {"T4": 0.4812})


def _replay() -> Results:
    objectives = {name: Objective(Expression("rps")) for name in ("fast", TYPED)}
    plan = Plan(Path("nowhere"), searchers=("random", "ernest"), objectives=tuple(objectives), budget=10)
    steps = tuple(Step(k, 100.0 + k, 100.0 + k, 0.0) for k in range(1, 11))
    searches = tuple(Search(name, "task", "random", 0, 109.5, steps) for name in objectives)
    return Results(plan, Suite("tiny", objectives, {}, sources=()), searches, None, ((TYPED, "task"),))
