"""What the words of a command become: each option a row, with the call that must come of it, whole."""

import io
import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner, Result

from cluster.inventory import Inventory, Node
from raytune_infer.commands.app import app
from raytune_infer.commands.export import Target, export
from raytune_infer.commands.tune import _tell_report
from raytune_infer.report.console import ConsoleProgress
from raytune_infer.report.view import Column, Row, Table
from raytune_infer.store.records import Outcome, TrialRecord
from raytune_infer.store.run_folder import RunFolder, open_run
from raytune_infer.study.result import NothingToRecommend
from raytune_infer.suites.replays import Plan, Results
from raytune_infer.suites.workers import WorkerDied
from tests.levels import a_level
from tests.raytune_infer.ranking.measured_runs import CONFIGS, SPEC, write_run


class Called(Exception):
    """The call that a command has become; nothing comes after it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__()
        self.call = (args, options)


def calls(*args: Any, **options: Any) -> None:
    raise Called(*args, **options)


def invoked(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def call_of(*words: str) -> tuple[tuple, dict[str, Any]]:
    done = invoked(*words)
    assert isinstance(done.exception, Called), (done.output, done.exception)
    return done.exception.call


STUDY = {
    "searcher": None, "seed": None, "address": None, "emulate": None, "db": None, "out": None, "history": None,
    "prior": None, "trials": None, "parallel": None, "resume": False,
}  # fmt: skip
"""What `tune service.yaml` asks for: all is as service.yaml says, or as the run that is resumed had it."""


@pytest.fixture
def studies(monkeypatch) -> list[ConsoleProgress]:
    """Studies that say what they were asked for; in it the progress that each is given."""
    watching: list[ConsoleProgress] = []

    class Study:
        def __init__(self, spec: str, **options: Any) -> None:
            self.spec, self.options = spec, options

        def run(self, trials: int | None, *, progress: ConsoleProgress, **options: Any) -> None:
            watching.append(progress)
            raise Called(self.spec, **self.options, trials=trials, **options)

    monkeypatch.setattr("raytune_infer.study.study.Study", Study)
    monkeypatch.setattr("raytune_infer.spec.service_spec.load_spec", lambda path: f"what {path} says")
    return watching


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ("", {}),
        ("--trials 7", {"trials": 7}),
        ("--parallel 3", {"parallel": 3}),
        ("--searcher random", {"searcher": "random"}),
        ("--seed 3", {"seed": 3}),
        ("--seed 0", {"seed": 0}),  # asked for, so a run that was begun with another is not resumed
        ("--address auto", {"address": "auto"}),
        ("--emulate T4:1,V100:2", {"emulate": "T4:1,V100:2"}),
        ("--out there", {"out": Path("there")}),
        ("--db sqlite:///all.db", {"db": "sqlite:///all.db"}),
        ("--no-history", {"history": False}),
        ("--prior mine.safetensors", {"prior": Path("mine.safetensors")}),
        ("--resume --out there", {"resume": True, "out": Path("there")}),
    ],
)
def test_tune_is_a_study(studies, words, changed):
    assert call_of("tune", "service.yaml", *words.split()) == (("what service.yaml says",), STUDY | changed)
    assert isinstance(studies[0], ConsoleProgress)


def test_a_study_that_is_interrupted_says_how_to_go_on(studies, monkeypatch):
    closed = []
    monkeypatch.setattr(ConsoleProgress, "close", lambda self: closed.append(self))
    monkeypatch.setattr("raytune_infer.study.study.Study.run", interrupted)
    done = invoked("tune", "service.yaml")
    assert (done.exit_code, done.stdout) == (
        130,
        "stopped; to continue, run the command again with `--resume --out` and the run's folder\n",
    )
    assert len(closed) == 1


def test_a_study_without_a_recommendation_writes_its_trials_and_names_the_samples_that_fail(
    studies, monkeypatch, tmp_path
):
    failing = a_level(5.0, samples=20, failed_samples=((13, "ValueError: no title"),))
    outcome = Outcome({"rps": 5.0, "error_rate": 0.05}, levels=(failing,), reported=0)
    trials = [TrialRecord(n, "search", n, {"batch": n}, 1.0, None, outcome, 1.0, False) for n in (1, 2)]

    def fails(*args: Any, **options: Any) -> None:
        raise NothingToRecommend("none keeps all limits", RunFolder(tmp_path, None, 1), trials)

    monkeypatch.setattr("raytune_infer.study.study.Study.run", fails)
    done = invoked("tune", "service.yaml")
    assert str(done.exception) == "none keeps all limits"
    said = " ".join(done.stdout.split())
    assert "1 of 20 samples always fails: number 14 (ValueError: no title)" in said and "the trials:" in said
    assert pd.read_csv(tmp_path / "trials.csv").trial.tolist() == [1, 2]
    # This run has no database any more: the report is missed, the reason of the study's end is not.
    assert "The report was not written: the database of" in said


def test_a_fault_in_making_the_report_does_not_end_a_finished_study(tmp_path, monkeypatch):
    def fails(_run: RunFolder) -> None:
        raise KeyError("knob")

    monkeypatch.setattr("raytune_infer.report.whole.output.report_file.write_report", fails)
    console = Console(file=(out := io.StringIO()), soft_wrap=True)
    _tell_report(console, RunFolder(tmp_path, None, 1))
    assert "The report was not written: KeyError: 'knob'" in out.getvalue()


def test_the_report_of_a_run_is_a_file_in_its_folder_and_a_command(tmp_path):
    run = write_run(tmp_path / "run", configs=CONFIGS[:1])
    console = Console(file=(out := io.StringIO()), soft_wrap=True)
    _tell_report(console, open_run(run))
    assert out.getvalue() == f"The report: {run / 'report.html'}\n"
    written = (run / "report.html").read_text(encoding="utf-8")
    done = invoked("report", str(run), "-o", str(tmp_path / "r.html"))
    assert (done.exit_code, done.stdout) == (0, "")
    assert (tmp_path / "r.html").read_text(encoding="utf-8") == written
    assert invoked("report", str(run)).stdout == written
    refused = invoked("report", str(run), "-o", str(tmp_path / "no" / "r.html"))
    assert "No such file or directory; name a file in a folder that can be written to" in str(refused.exception)
    told = json.loads(invoked("report", str(run), "--format", "json").stdout)
    assert [each["title"] for each in told["sections"]][:2] == ["Recommended against default", "What was asked"]


def interrupted(*args: Any, **options: Any) -> None:
    raise KeyboardInterrupt


RANKED: dict[str, Any] = {"limits": {}, "at_least": {}, "maximize": None, "minimize": None, "prices": None, "db": None}


@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ("", {}),
        ("--limit p99_ms=50 --limit p95_ms=none", {"limits": {"p99_ms": 50.0, "p95_ms": None}}),
        ("--at-least rps=200", {"at_least": {"rps": 200.0}}),
        ("--maximize rps", {"maximize": "rps"}),
        ("--minimize usd_per_hour", {"minimize": "usd_per_hour"}),
        ("--prices mine.yaml", {"prices": "mine.yaml"}),
        ("--db sqlite:///all.db", {"db": "sqlite:///all.db"}),
        ("--curve drawn.svg", {}),
    ],
)
def test_recommend_is_a_ranking(monkeypatch, words, changed):
    monkeypatch.setattr("raytune_infer.ranking.recommendation.recommend", calls)
    assert call_of("recommend", "run", *words.split()) == ((Path("run"),), RANKED | changed)


@pytest.fixture
def suites(monkeypatch) -> None:
    """Suites that are not read."""
    monkeypatch.setattr("raytune_infer.suites.suites.load_suite", lambda folder: f"the suite in {folder}")
    monkeypatch.setattr(Plan, "checked", lambda self, suite: self)


PLAN = {
    "folder": Path("suite"), "searchers": ("meta",), "objectives": (), "budget": 40, "seeds": 3, "parallel": 1,
    "sources": "tables", "prior": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("words", "changed", "jobs"),
    [
        ("", {}, None),
        ("--searcher random --searcher bo", {"searchers": ("random", "bo")}, None),
        ("--objective free --objective tight", {"objectives": ("free", "tight")}, None),
        ("--budget 7", {"budget": 7}, None),
        ("--seeds 5", {"seeds": 5}, None),
        ("--no-sources", {"sources": "none"}, None),
        ("--prior mine.safetensors", {"prior": Path("mine.safetensors")}, None),
        ("--parallel 2", {"parallel": 2}, None),
        ("--jobs 4", {}, 4),
    ],
)
def test_replay_is_a_plan(suites, monkeypatch, tmp_path, words, changed, jobs):
    monkeypatch.setattr("raytune_infer.suites.replays.run", calls)
    monkeypatch.setattr("raytune_infer.store.prior.read_prior", lambda path: SimpleNamespace(note=lambda: ""))
    out = str(tmp_path / "r.csv")
    (plan, suite), options = call_of("replay", "suite", "--out", out, *words.split())
    assert plan == Plan(**PLAN | changed) and suite == "the suite in suite"
    assert options.pop("jobs") == (jobs or os.cpu_count()) and set(options) == {"watch"}


@pytest.mark.parametrize(
    ("stopped", "code", "told"),
    [
        (None, 0, ""),
        (KeyboardInterrupt(), 130, "stopped early; the figures cover the finished searches only\n"),
        (WorkerDied("killed"), 1, "stopped early; the figures cover the finished searches only (killed)\n"),
    ],
)
def test_a_replay_writes_what_was_done_and_its_exit_code_says_whether_that_is_all(
    suites, monkeypatch, tmp_path, stopped, code, told
):
    written: list[tuple] = []
    home = "raytune_infer.suites"
    monkeypatch.setattr(f"{home}.replays.run", lambda plan, suite, **options: Results(plan, suite, (), stopped, ()))
    monkeypatch.setattr(f"{home}.replays.write", lambda results, out: written.append((results.stopped, out)))
    summary = Table("searchers", (Column("searcher", kind="text"),), (Row(("the summary",)),), layout="list")
    monkeypatch.setattr("raytune_infer.report.replay_report.summary", lambda results: summary)
    done = invoked("replay", "suite", "--out", str(tmp_path / "r.csv"))
    assert done.exit_code == code and written == [(stopped, tmp_path / "r.csv")]
    assert done.stdout.endswith(f"the summary\n{told}0 searches, each trial in {tmp_path / 'r.csv'}\n")


def test_a_replay_that_is_interrupted_as_it_reads_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("raytune_infer.suites.suites.load_suite", interrupted)
    done = invoked("replay", "suite", "--out", str(tmp_path / "r.csv"))
    assert (done.exit_code, done.stdout, list(tmp_path.iterdir())) == (130, "", [])


def trained(name: str) -> Callable[..., None]:
    def call(out: Path, *recipe: Any, progress: Callable[[int, float], None], **options: Any) -> None:
        progress(0, 1.5)
        raise Called(name, out, *recipe, **options)

    return call


SURFACES: dict[str, Any] = {"steps": 4000, "seed": 0, "measured": ()}


@pytest.mark.parametrize(
    ("words", "name", "options"),
    [
        ("", "surfaces", SURFACES),
        ("--model surfaces", "surfaces", SURFACES),
        ("--steps 7", "surfaces", SURFACES | {"steps": 7}),
        ("--seed 5", "surfaces", SURFACES | {"seed": 5}),
        ("--from run --from h.db", "surfaces", SURFACES | {"measured": "tasks of run, h.db"}),
        ("--model morphling", "morphling", {"steps": 4000, "seed": 0}),
        ("--model morphling --steps 7", "morphling", {"steps": 7, "seed": 0}),
        ("--model morphling --seed 5", "morphling", {"steps": 4000, "seed": 5}),
    ],
)
def test_meta_train_is_a_recipe(monkeypatch, words, name, options):
    home = "raytune_infer.priors"
    monkeypatch.setattr(f"{home}.morphling_recipe.train_morphling", trained("morphling"))
    monkeypatch.setattr(f"{home}.surface_recipe.train_surfaces", trained("surfaces"))
    monkeypatch.setattr(f"{home}.studied_tasks.measured_tasks", lambda places: f"tasks of {', '.join(places)}")
    (trainer, out, recipe), given = call_of("meta-train", "--out", "w.safetensors", *words.split())
    steps = recipe.episodes if name == "morphling" else recipe.training.steps
    given |= {"steps": steps, "seed": recipe.seed}
    assert (trainer, out, given) == (name, Path("w.safetensors"), options)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("", {"address": None, "emulate": None}),
        ("--address auto", {"address": "auto", "emulate": None}),
        ("--emulate T4:1", {"address": None, "emulate": "T4:1"}),
    ],
)
def test_cluster_looks_at_its_nodes_while_it_is_joined(monkeypatch, tmp_path, words, asked):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(
        "name: mine\ndate: 2026-01-31\nsource: a list\ncpu_core_usd_per_hour: 0.05\nbase_usd_per_hour: 0.25\n"
        "gpu_usd_per_hour: {T4: 0.48}\n"
    )
    sessions: list[dict[str, Any]] = []
    joined = False

    @contextmanager
    def ray_session(**options: Any):
        nonlocal joined
        sessions.append(options)
        joined = True
        yield
        joined = False

    def from_ray() -> Inventory:
        assert joined
        return Inventory((Node("a", "node", cpu_cores=4, memory_gib=8, gpu_type="T4", gpus=1, gpu_memory_gib=15),))

    monkeypatch.setattr("raytune_infer.study.connection.session.ray_session", ray_session)
    monkeypatch.setattr("cluster.inventory.from_ray", from_ray)
    done = invoked("cluster", "--prices", "mine.yaml", *words.split())
    assert done.exit_code == 0 and sessions == [{**asked, "folder": tmp_path}] and not joined
    title, *table, last = done.stdout.splitlines()
    assert title == "prices: mine, 2026-01-31" and last == "0.05 USD/hour per core, 0.25 per replica"
    assert [line.split("│")[1:7] for line in table if "node " in line and "│" in line] == [
        [" node ", "     4 ", "         8.0 ", "    1 ", " T4       ", "              15 "]
    ]


def test_show_marks_the_trial_that_is_the_best(monkeypatch, tmp_path):
    def measure(config: dict[str, int], at_most: Any) -> Outcome:
        best = config == {"cpu_cores": 1, "max_batch_size": 4}
        return Outcome({"rps": 1000.0 if best else 10.0, "p50_ms": 10.0, "p99_ms": 20.0})

    # The best is the fifth trial and has position 1; the first trial is another.
    write_run(tmp_path / "run", configs=CONFIGS[::-1], measure=measure)
    database, study = open_run(tmp_path / "run").load()
    database.close()
    [first, *_] = invoked("show", str(tmp_path / "run")).stdout.splitlines()
    assert first == f"fake  6 of 6 trials, searcher random, seed 0, begun {study.created_at:%Y-%m-%d %H:%M} UTC"
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    shown = invoked("show", str(tmp_path / "run")).stdout.splitlines()
    bold = [re.sub(r"\x1b\[\d*m", "", line) for line in shown if "│" in line and "\x1b[1m" in line]
    assert [line.split("│")[1:5] for line in bold] == [[" 5 ", "         1 ", "              4 ", "       1000 "]]


def test_an_export_is_utf_8_whatever_the_terminal_is(monkeypatch, tmp_path):
    def measure(config: dict[str, int], at_most: Any) -> Outcome:
        settings = {"args": {"prompt": "für 日本"}, **config}
        return Outcome({"rps": 10.0, "p50_ms": 10.0, "p99_ms": 20.0}, settings=settings)

    text = SPEC.replace("{profile: bert-base}", "{prompt: für 日本}")
    assert text != SPEC
    write_run(tmp_path / "run", text, measure=measure)
    out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", out)
    export(tmp_path / "run", Target.serve)
    [application] = yaml.safe_load(out.buffer.getvalue().decode("utf-8"))["applications"]
    assert application["args"]["settings"]["args"] == {"prompt": "für 日本"}


def test_the_version_is_that_of_the_package():
    assert invoked("--version").output == f"raytune-infer {version('raytune-infer')}\n"
