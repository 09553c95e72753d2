"""What an earlier revision left is shown, ranked again, exported, learned from and gone on with: see data/."""

import shutil
from pathlib import Path

import pytest
import yaml
from earlier_runs import EARLIER, here, refuses
from typer.testing import CliRunner
from whole_studies import Machine, study, without_ray

from raytune_infer import recommend
from raytune_infer.cli import app
from raytune_infer.learning.earlier_studies import earlier_studies
from raytune_infer.run_folder import RunFolder, open_run
from serve_deployments.settings import Settings

BEST = {"cpu_cores": 1, "max_batch_size": 16, "MODE": "a"}
DEFAULT = {"cpu_cores": 2, "max_batch_size": 1, "batch_wait_ms": 0, "MODE": "a"}


@pytest.fixture(params=EARLIER, ids=lambda path: path.name)
def earlier(request, tmp_path) -> Path:
    """A copy of the runs of one earlier revision."""
    return shutil.copytree(request.param, tmp_path / "runs")


def trials(folder: Path):
    database, record = open_run(folder).load()
    found = database.trials(record)
    database.close()
    return found


def printed(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def said(*words: str) -> str:
    return " ".join(printed(*words).split())


def rps(config: dict) -> float:
    return 40.0 * (config["cpu_cores"] * config["max_batch_size"]) ** 0.5


def test_there_is_one():
    assert EARLIER


def test_its_trials_are_read_as_they_were(earlier):
    found = trials(earlier / "done")
    searched = [t for t in found if t.purpose == "search"]
    assert len(searched) == len({t.position for t in searched}) == 24
    for trial in found:
        assert trial.usd_per_hour == 0.5 * trial.config["cpu_cores"] and trial.emulated
        if trial.config["max_batch_size"] == 64:
            assert (trial.metrics, trial.value, trial.outcome.reason) == ({}, None, "OutOfMemory: 64 do not fit")
        else:
            assert trial.metrics["rps"] == pytest.approx(rps(trial.config))
            assert trial.value == pytest.approx(rps(trial.config) / trial.usd_per_hour)
            assert (trial.metrics["p50_ms"], trial.metrics["p99_ms"]) == pytest.approx((20, 30), rel=1e-3)
            assert trial.outcome.interval_rps == pytest.approx((0.99 * rps(trial.config), 1.01 * rps(trial.config)))
            assert trial.seconds == pytest.approx(10, abs=0.1) and trial.outcome.settings["batch_wait_ms"] in (0, 5)


def test_it_is_shown(earlier):
    before = trials(earlier / "done")
    shown = said("show", str(earlier / "done"))
    assert "24 of 24 trials, searcher random, seed 0, begun 2026-01-01 00:00 UTC" in shown
    assert "could not run: OutOfMemory: 64 do not fit" in shown and "Measured side by side" in shown
    # 320 requests/s for a dollar an hour against 40 times the root of 2.
    assert "is 5.66× the default's" in shown
    assert "of 24 trials, searcher random" in said("show", str(earlier / "cut"))
    assert trials(earlier / "done") == before


def test_it_is_ranked_again(earlier):
    found = recommend(earlier / "done")
    assert found.best is not None and {k: found.best.config[k] for k in BEST} == BEST
    assert found.best.usd_per_hour == 0.5 and found.best.figure == pytest.approx(320, rel=0.01)
    fastest = recommend(earlier / "done", maximize="rps", limits={"p99_ms": 31}).best
    assert fastest is not None and (fastest.config["cpu_cores"], fastest.config["max_batch_size"]) == (4, 16)
    assert fastest.figure == pytest.approx(320, rel=0.01)
    assert recommend(earlier / "done", limits={"p99_ms": 10}).best is None
    assert "max_batch_size" in said("recommend", str(earlier / "done"))


def test_it_is_exported(earlier):
    config = yaml.safe_load(printed("export", str(earlier / "done")))
    [application] = config["applications"]
    settings = Settings(**application["args"]["settings"])
    assert (settings.cpu_cores, settings.max_batch_size, settings.env) == (1, 16, {"MODE": "a"})
    assert settings.emulated and application["deployments"][0]["max_ongoing_requests"] == 1024


def test_a_new_study_beside_it_learns_from_it(earlier):
    (own := earlier / "own").mkdir()
    run = RunFolder(own, None, 1)
    database = run.database()
    record = database.create_study(
        name="new", spec="", folder="", searcher="meta", seed=0, trials=1, fingerprint={}, emulated=None
    )
    database.close()
    run.save()
    found = earlier_studies(run, record, emulated=True)
    assert not found.left_out and [task.name for task in found.tasks] == ["known", "known"]
    assert all(task.facts == {"parameters_million": 110} for task in found.tasks)
    done = max(found.tasks, key=lambda task: len(task.observed))
    measured = next(o.metrics for o in done.observed if done.space[o.position] == DEFAULT)
    assert measured is not None
    assert measured["rps"] == pytest.approx(40 * 2**0.5) and measured["usd_per_hour"] == 1.0


def test_one_that_is_done_stays_as_it_is_when_resumed(earlier, monkeypatch):
    without_ray(monkeypatch)
    before = trials(earlier / "done")
    with here(earlier) as how:
        result = study(earlier / "done", machine := Machine(refuses), **how).run(resume=True)
    assert machine.asked == [] and result.trials == before
    assert {k: result.best.config[k] for k in BEST} == BEST and result.default.config == DEFAULT
    assert result.ratio == pytest.approx(4 * 2**0.5, rel=0.01)


def test_one_that_was_killed_goes_on(earlier, monkeypatch):
    without_ray(monkeypatch)
    before = trials(earlier / "cut")
    with here(earlier) as how:
        result = study(earlier / "cut", Machine(refuses), **how).run(resume=True)
    searched = [t for t in result.trials if t.purpose == "search"]
    assert result.trials[: len(before)] == before and 0 < len(before) < 24
    assert len(searched) == len({t.position for t in searched}) == 24
    assert len(before) + 1 not in [t.number for t in result.trials]  # the one that was cut off
    assert {k: result.best.config[k] for k in BEST} == BEST
