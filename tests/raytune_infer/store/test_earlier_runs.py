"""What an earlier revision left is shown, ranked again, exported, learned from and gone on with: see data/."""

import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from raytune_infer import recommend
from raytune_infer.commands.app import app
from raytune_infer.errors import RunError
from raytune_infer.priors.earlier_studies import earlier_studies
from raytune_infer.store.run_folder import RunFolder, open_run
from raytune_infer.study.result import StudyResult
from serve_deployments.settings import Settings
from tests.raytune_infer.store.earlier_runs import EARLIER, here, refuses
from tests.raytune_infer.study.whole_studies import Machine, study, without_ray

BEST = {"cpu_cores": 1, "max_batch_size": 16, "MODE": "a"}
DEFAULT = {"cpu_cores": 2, "max_batch_size": 1, "batch_wait_ms": 0, "MODE": "a"}


@dataclass(frozen=True)
class Form:
    """What a revision wrote down that others did not.

    Args:
        columns: of a trial, of those that came one after another.
        facts: there are facts of the service.
        load: what `load:` says in service.yaml means the same now.
    """

    columns: tuple[str, ...]
    facts: bool = False
    load: bool = True


LATER = ("reported", "ended", "in_place", "overhead", "ended_early", "lost", "rate_low_rps", "rate_high_rps", "answers")
FORMS = {
    "c2a8297": Form(LATER[:2], load=False),
    "9fd7be4": Form(LATER[:6]),
    "v0.1.0": Form(LATER[:8], facts=True),
    "368b5ef": Form(LATER[:8], facts=True),
}


SAME_LOADS = [path for path in EARLIER if FORMS[path.name].load]
OTHER_LOADS = [path for path in EARLIER if not FORMS[path.name].load]


def of_those(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("earlier", paths, indirect=True, ids=lambda path: path.name)


@pytest.fixture(params=EARLIER, ids=lambda path: path.name)
def earlier(request, tmp_path) -> Path:
    """A copy of the runs of one earlier revision."""
    return shutil.copytree(request.param, tmp_path / "runs")


@pytest.fixture
def form(earlier, request) -> Form:
    return FORMS[request.node.callspec.params["earlier"].name]


def trials(folder: Path):
    database, record = open_run(folder).load()
    found = database.trials(record)
    database.close()
    return found


def columns(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "history.db")) as database:
        return {name for _, name, *_ in database.execute("pragma table_info(trials)")}


def as_it_was(folder: Path) -> str:
    """The service.yaml that a run was begun with."""
    database, record = open_run(folder).load()
    database.close()
    return record.spec


def printed(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def said(*words: str) -> str:
    return " ".join(printed(*words).split())


def rps(config: dict) -> float:
    return 40.0 * (config["cpu_cores"] * config["max_batch_size"]) ** 0.5


def test_there_are_several_and_what_each_has_is_known():
    assert {path.name for path in EARLIER} == set(FORMS)


@pytest.mark.parametrize("run", ["done", "cut"])
def test_what_its_database_lacks_is_added_when_it_is_opened(earlier, form, run):
    before = columns(earlier / run)
    assert [name for name in LATER if name in before] == list(form.columns)
    trials(earlier / run)
    assert columns(earlier / run) == before | set(LATER)


def test_its_trials_are_read_as_they_were(earlier, form):
    found = trials(earlier / "done")
    assert [t.number for t in found] == list(range(1, len(found) + 1))
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
            if "rate_low_rps" in form.columns:
                ends = 0.99 * rps(trial.config), 1.01 * rps(trial.config)
                assert trial.outcome.interval_rps == pytest.approx(ends)
            else:
                assert trial.outcome.interval_rps is None
            told = "ended" in form.columns
            assert (trial.outcome.reported, trial.outcome.ended) == ((0, "it is known") if told else (None, None))
            assert trial.outcome.ended_early == (False if "ended_early" in form.columns else None)
            assert trial.outcome.in_place == (False if "in_place" in form.columns else None)
            assert trial.outcome.steady and trial.outcome.lost is None and len(trial.outcome.levels) == 1
            assert trial.seconds == pytest.approx(10, abs=0.1) and trial.outcome.settings["batch_wait_ms"] in (0, 5)


def test_its_levels_are_read_as_they_were(earlier):
    for trial in trials(earlier / "done"):
        for level in trial.outcome.levels:
            assert level.achieved_rps == level.rate_rps == pytest.approx(rps(trial.config))
            assert (level.mode, level.concurrency, level.completed) == ("closed", 4, round(10 * rps(trial.config)))
            assert (level.steady, level.usage, level.senders, level.rate_low_rps) == (True, None, 1, None)


def test_it_is_shown(earlier):
    before = trials(earlier / "done")
    shown = said("show", str(earlier / "done"))
    assert "24 of 24 trials, searcher random, seed 0, begun 2026-01-01 00:00 UTC" in shown
    assert "could not run: OutOfMemory: 64 do not fit" in shown and "Measured side by side in" in shown
    # 320 requests/s for a dollar an hour against 40 times the root of 2.
    assert re.search(r"its rps / usd_per_hour is 5\.[67]\d*× the default's", shown)
    assert "of 24 trials, searcher random" in (cut := said("show", str(earlier / "cut")))
    assert f" {len(trials(earlier / 'cut'))} of 24" in f" {cut}"
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
    config = yaml.safe_load(printed("export", str(earlier / "done"), "--trust"))
    [application] = config["applications"]
    settings = Settings(**application["args"]["settings"])
    assert (settings.cpu_cores, settings.max_batch_size, settings.env) == (1, 16, {"MODE": "a"})
    assert settings.emulated and application["deployments"][0]["max_ongoing_requests"] == 1024


def test_a_new_study_beside_it_learns_from_it(earlier, form):
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
    assert all(task.facts == ({"parameters_million": 110} if form.facts else {}) for task in found.tasks)
    done = max(found.tasks, key=lambda task: len(task.observed))
    measured = next(o.metrics for o in done.observed if done.space[o.position] == DEFAULT)
    assert measured is not None
    assert measured["rps"] == pytest.approx(40 * 2**0.5) and measured["usd_per_hour"] == 1.0


def resumed(folder: Path, machine: Machine) -> StudyResult:
    with here(folder.parent) as how:
        return study(folder, machine, **how | {"text": as_it_was(folder)}).run(resume=True)


@of_those(SAME_LOADS)
def test_one_that_is_done_stays_as_it_is_when_resumed(earlier, monkeypatch):
    without_ray(monkeypatch)
    before, machine = trials(earlier / "done"), Machine(refuses)
    result = resumed(earlier / "done", machine)
    assert machine.asked == [] and result.trials == before
    assert {k: result.best.config[k] for k in BEST} == BEST and result.default is not None
    assert result.default.config == DEFAULT and result.ratio == pytest.approx(4 * 2**0.5, rel=0.01)


@of_those(SAME_LOADS)
def test_one_that_was_killed_goes_on(earlier, monkeypatch):
    without_ray(monkeypatch)
    before = trials(earlier / "cut")
    result = resumed(earlier / "cut", Machine(refuses))
    searched = [t for t in result.trials if t.purpose == "search"]
    assert result.trials[: len(before)] == before and 0 < len(before) < 24
    assert len(searched) == len({t.position for t in searched}) == 24
    assert len(before) + 1 not in [t.number for t in result.trials]  # the one that was cut off
    assert {k: result.best.config[k] for k in BEST} == BEST


@of_those(OTHER_LOADS)
@pytest.mark.parametrize("run", ["done", "cut"])
def test_one_whose_loads_were_other_ones_is_refused_and_left_as_it_is(earlier, run, monkeypatch):
    without_ray(monkeypatch)
    before, machine = trials(earlier / run), Machine(refuses)
    with pytest.raises(RunError, match="load changed since .* not be comparable; start a new run"):
        resumed(earlier / run, machine)
    assert machine.asked == [] and trials(earlier / run) == before
