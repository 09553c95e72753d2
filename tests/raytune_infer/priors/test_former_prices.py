"""Runs of a time when a part of a GPU's memory alone cost that part of it: priced as the whole GPU that they had."""

import math
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raytune_infer.commands.app import app
from raytune_infer.priors.earlier_studies import earlier_studies
from raytune_infer.store.records import Outcome, TrialRecord
from raytune_infer.store.run_folder import RunFolder, open_run
from serve_deployments.settings import Settings
from tests.raytune_infer.ranking.measured_runs import measured

BOOK = """\
name: mine
date: 2026-01-01
source: my own
cpu_core_usd_per_hour: 0.1
gpu_usd_per_hour: {T4: 1.0}
"""
SPEC = """\
name: former
model: {build: "cluster.emulated:model", args: {profile: bert-base}}
samples: [x]
knobs: {gpu_type: [none, T4], gpu_memory: [0.25, 0.5, 1]}
objective: {maximize: rps / usd_per_hour}
prices: book.yaml
"""
CONFIGS: list[dict[str, Any]] = [
    {"gpu_type": "T4", "gpu_memory": 0.25},
    {"gpu_type": "T4", "gpu_memory": 0.5},
    {"gpu_type": "T4", "gpu_memory": 1},
    {"gpu_type": "none", "gpu_memory": 0.25},
]
FORMER = [0.35, 0.6, 1.1, 0.1]
"""A core and the part of the memory of a GPU of 1 USD."""
NOW = [1.1, 1.1, 1.1, 0.1]


def write_run(path: Path, usd: list[float], *, mps: int = 4, spec: str = SPEC, configs: Any = CONFIGS) -> Path:
    """A run with a trial of each configuration at these prices; the first `mps` have settings of the former rule."""
    path.mkdir()
    path.with_name("book.yaml").write_text(BOOK)
    run = RunFolder(path, None, 1)
    database = run.database()
    values = {"gpu_type": ["none", "T4"], "gpu_memory": [0.25, 0.5, 1], "gpu_share": [0.5]}
    names = {name for config in configs for name in config}
    study = database.create_study(
        name="former", spec=spec, folder=str(path.parent), searcher="random", seed=0, trials=4, emulated=None,
        fingerprint={"knobs": {n: v for n, v in values.items() if n in names}, "configurations": [4, "x"]},
    )  # fmt: skip
    outcome = measured({"cpu_cores": 1, "max_batch_size": 4}, {})
    assert outcome.metrics is not None
    for position, config in enumerate(configs):
        key, _ = database.start_trial(
            study, purpose="search", position=position, config=config, usd_per_hour=usd[position], emulated=False
        )
        settings = {**Settings().as_dict(), **({"mps": False} if position < mps else {})}
        trial = Outcome(outcome.metrics, levels=outcome.levels, reported=outcome.reported, settings=settings)
        database.finish_trial(key, trial, outcome.metrics["rps"] / usd[position])
    database.close()
    run.save()
    return path


def prices(trials: tuple[TrialRecord, ...]) -> list[float]:
    return [t.usd_per_hour for t in trials]


def test_a_part_of_the_memory_alone_costs_the_whole_gpu_and_the_value_is_by_that(tmp_path):
    _, trials = open_run(write_run(tmp_path / "run", FORMER)).read()
    assert prices(trials) == pytest.approx(NOW)
    assert [t.value for t in trials] == pytest.approx([t.metrics["rps"] / t.usd_per_hour for t in trials])
    assert [t.priced for t in trials] == ["anew", "anew", "as recorded", "as recorded"]


@pytest.mark.parametrize("usd", [NOW, [2 * each for each in FORMER]])
def test_what_was_recorded_under_todays_rule_stays_whatever_the_book_says_today(tmp_path, usd):
    _, trials = open_run(write_run(tmp_path / "run", usd, mps=0)).read()
    assert prices(trials) == usd and {t.priced for t in trials} == {"as recorded"}


def test_a_trial_after_the_rule_changed_stays_in_a_run_that_was_begun_before(tmp_path):
    _, trials = open_run(write_run(tmp_path / "run", [0.35, 1.1, 1.1, 0.1], mps=1)).read()
    assert prices(trials) == NOW
    assert [t.priced for t in trials] == ["anew", "as recorded", "as recorded", "as recorded"]


def test_what_has_a_share_stays(tmp_path):
    shared = [{**CONFIGS[0], "gpu_share": 0.5}]
    _, trials = open_run(write_run(tmp_path / "run", [0.6], configs=shared)).read()
    assert prices(trials) == [0.6] and trials[0].priced == "as recorded"


@pytest.mark.parametrize("change", ["gone", "other prices", "no price for it"])
def test_without_the_book_of_then_the_price_is_not_known_and_the_run_teaches_nothing(tmp_path, change):
    run = open_run(write_run(tmp_path / "run", FORMER))
    book = tmp_path / "book.yaml"
    if change == "gone":
        book.unlink()
    else:
        book.write_text(BOOK.replace("T4: 1.0", "T4: 3.0" if change == "other prices" else "V100: 1.0"))
    _, trials = run.read()
    assert math.isnan(trials[0].usd_per_hour) and math.isnan(trials[1].usd_per_hour)
    assert [t.priced for t in trials] == ["unknown", "unknown", "as recorded", "as recorded"]
    assert [t.value is None for t in trials] == ([True, True, False, False])
    earlier = learnt(tmp_path)
    assert earlier.tasks == () and "memory alone as a part of the GPU" in earlier.left_out[0]


def learnt(folder: Path) -> Any:
    """What a study that begins now learns from the runs in a folder."""
    (folder / "next").mkdir()
    run = RunFolder(folder / "next", None, 1)
    database = run.database()
    study = database.create_study(
        name="next", spec=SPEC, folder=str(folder), searcher="meta", seed=0, trials=1, fingerprint={}, emulated=None
    )
    database.close()
    return earlier_studies(run, study, emulated=False)


def test_a_search_learns_from_the_prices_of_today(tmp_path):
    write_run(tmp_path / "run", FORMER)
    [task] = learnt(tmp_path).tasks
    assert sorted(each.metrics["usd_per_hour"] for each in task.observed) == pytest.approx(sorted(NOW))


def test_show_and_recommend_say_so(tmp_path):
    run = str(write_run(tmp_path / "run", FORMER))
    shown = " ".join(CliRunner().invoke(app, ["show", run]).output.split())
    assert "1, 2: recorded at the price of a part of a GPU for a part of its memory alone; its price here" in shown
    ranked = " ".join(CliRunner().invoke(app, ["recommend", run]).output.split())
    assert "of trials 1, 2, recorded at the price of a part of a GPU" in ranked
    (tmp_path / "book.yaml").unlink()
    refused = CliRunner().invoke(app, ["recommend", run])
    assert "name a price book that has them with --prices" in str(refused.exception)
    assert "is not known" in " ".join(CliRunner().invoke(app, ["show", run]).output.split())
    (tmp_path / "other.yaml").write_text(BOOK)
    assert CliRunner().invoke(app, ["recommend", run, "--prices", str(tmp_path / "other.yaml")]).exit_code == 0
