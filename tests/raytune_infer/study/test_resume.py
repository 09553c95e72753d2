"""A study that is interrupted and goes on: it spends its budget once, tries what it would have tried, and changes
nothing that its numbers depend on."""

import json
from pathlib import Path
from typing import Any

import pytest

from raytune_infer.errors import RunError
from raytune_infer.store.made_on import made_on
from raytune_infer.store.records import TrialRecord
from raytune_infer.store.run_folder import RunFolder, open_run
from raytune_infer.study.fingerprint.fingerprint import differences
from raytune_infer.study.result import StudyResult
from tests.raytune_infer.study.stop_after import StopAfter
from tests.raytune_infer.study.whole_studies import (
    SPEC,
    TRIAL_S,
    Machine,
    TuneInProcess,
    by_our_clock,
    study,
    without_ray,
)


@pytest.fixture(autouse=True)
def in_process(monkeypatch) -> TuneInProcess:
    return without_ray(monkeypatch)


def searched(result: StudyResult) -> list[TrialRecord]:
    return [t for t in result.trials if t.purpose == "search"]


class Notes(StopAfter):
    """Keeps what is told, and what it is told of."""

    def __init__(self, trials: int = 999) -> None:
        super().__init__(trials)
        self.told: list[str] = []
        self.known: list[int] = []
        self.budgets: list[int] = []

    def note(self, text: str) -> None:
        self.told.append(text)

    def begins(self, known, budget, objective) -> None:
        self.known = [t.number for t in known]
        self.budgets.append(budget)


def test_a_resumed_search_spends_what_is_left_of_its_budget(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "run", searcher="random").run(5, progress=StopAfter(2))
    machine, notes = Machine(), Notes()
    result = study(tmp_path / "run", machine).run(resume=True, progress=notes)
    # Twelve configurations: there would be room to spend the budget twice.
    assert len(searched(result)) == len({t.position for t in searched(result)}) == 5
    assert [number for number, _, _ in machine.asked].count(0) == 3
    assert notes.known == [1, 2] and notes.budgets == [5]


def test_a_study_that_is_done_measures_nothing_more(tmp_path):
    done = study(tmp_path / "run", searcher="random").run()
    machine = Machine()
    again = study(tmp_path / "run", machine).run(resume=True)
    assert machine.asked == [] and again.trials == done.trials
    assert (again.best, again.default, again.prices) == (done.best, done.default, done.prices)


def test_an_interrupted_study_tries_what_it_would_have_tried(tmp_path):
    whole = study(tmp_path / "whole", searcher="random", seed=7).run(8)
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "cut", searcher="random", seed=7).run(8, progress=StopAfter(3))
    parts = study(tmp_path / "cut").run(resume=True)
    other = study(tmp_path / "other", searcher="random", seed=8).run(8)
    assert [t.config for t in searched(parts)] == [t.config for t in searched(whole)]
    assert [t.config for t in searched(other)] != [t.config for t in searched(whole)]
    assert open_run(tmp_path / "cut").load()[1].seed == 7


def test_a_trial_that_a_kill_cut_off_is_told_of_and_counts_for_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "run", Machine(killed_in=3), searcher="random").run(5)
    result = study(tmp_path / "run").run(resume=True, progress=(notes := Notes()))
    assert [t.number for t in searched(result)] == [1, 2, 4, 5, 6]
    assert "1 unfinished trial of the interrupted run is ignored" in notes.told
    quiet = Notes()
    study(tmp_path / "run").run(resume=True, progress=quiet)
    assert not any("unfinished" in told for told in quiet.told)


def test_seconds_are_those_of_all_runs_together(tmp_path, monkeypatch):
    text = SPEC.replace("trials: 5", f"trials: 9, seconds: {3.5 * TRIAL_S}")
    by_our_clock(monkeypatch, (machine := Machine()).clock)
    # Trials begin at 0, 10, 20 and 30 s; at 40 s the time is over.
    assert len(searched(study(tmp_path / "whole", machine, text, searcher="random").run())) == 4
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "cut", machine, text, searcher="random").run(progress=StopAfter(2))
    machine.clock.now_s += 1e6  # nobody works meanwhile
    assert len(searched(study(tmp_path / "cut", machine, text).run(resume=True))) == 4
    assert len(searched(study(tmp_path / "cut", machine, text).run(resume=True))) == 4


def test_a_finished_run_is_given_more_trials_and_its_comparison_begins_anew(tmp_path, monkeypatch):
    by_our_clock(monkeypatch, (machine := Machine()).clock)
    before = study(tmp_path / "run", machine, searcher="random").run(2)
    after = study(tmp_path / "run", machine).run(4, resume=True)
    assert [t.number for t in searched(before)] == [t.number for t in searched(after)][:2]
    assert len({t.position for t in searched(after)}) == 4
    compared = [[t.number for t in result.trials if t.purpose == "final"] for result in (before, after)]
    assert compared[1] and min(compared[1]) > max(compared[0])
    again = study(tmp_path / "run", machine).run(resume=True)
    assert [t.number for t in again.trials] == [t.number for t in after.trials]
    with pytest.raises(RunError, match="was started with trials: 4, not 3; to resume, leave trials out"):
        study(tmp_path / "run", machine).run(3, resume=True)


def test_two_trials_at_a_time_spend_half_the_seconds(tmp_path, monkeypatch):
    asked = []

    def search(log, budget, searcher, **options):
        asked.append((len(log.searched()), budget.trials, budget.seconds, budget.parallel))

    with pytest.raises(KeyboardInterrupt):
        by_our_clock(monkeypatch, (machine := Machine()).clock)
        text = SPEC.replace("trials: 5", "trials: 5, seconds: 100, parallel: 2")
        study(tmp_path / "run", machine, text, searcher="random").run(parallel=1, progress=StopAfter(2))
    monkeypatch.setattr("raytune_infer.study.search.search", search)
    study(tmp_path / "run", machine, text).run(resume=True)
    study(tmp_path / "run", machine, text).run(resume=True, parallel=4)
    [(known, trials, two, parallel), (_, _, four, more)] = asked
    assert (known, trials, parallel, more) == (2, 3, 2, 4)
    assert (two, four) == (pytest.approx(100 - 2 * TRIAL_S / 2, abs=0.1), pytest.approx(100 - 2 * TRIAL_S / 4, abs=0.1))


def test_the_comparison_takes_the_seconds_asked_for_or_half_of_those_that_the_search_took(tmp_path, monkeypatch):
    budgets = []

    class ComparisonSchedule:
        def __init__(self, ranking, default, objective, budget_s, trial_s, within):
            budgets.append((budget_s, trial_s, within))

        def cut_off(self, trials):
            return ()

        def turn(self, trials):
            return None

    monkeypatch.setattr("raytune_infer.comparing.comparison_schedule.ComparisonSchedule", ComparisonSchedule)
    monkeypatch.setattr("raytune_infer.study.study.conclude", lambda *found: found)
    by_our_clock(monkeypatch, (machine := Machine()).clock)
    study(tmp_path / "a", machine, searcher="random").run(4)
    study(tmp_path / "b", machine, SPEC.replace(", compare_s: 1000", ""), searcher="random").run(4)
    study(tmp_path / "b", machine, SPEC.replace(", compare_s: 1000", ", parallel: 2")).run(resume=True)
    asked_s, half_s, quarter_s = [budget_s for budget_s, _, _ in budgets]
    assert asked_s == 1000
    assert half_s == pytest.approx(2 * TRIAL_S, abs=0.1) and quarter_s == pytest.approx(TRIAL_S, abs=0.1)
    assert all(trial_s == pytest.approx(TRIAL_S, abs=0.1) and within == 0.05 for _, trial_s, within in budgets)


CHANGES = {
    "model": ("profile: bert-base", "profile: bert-large"),
    "samples": ("samples: [x]", "samples: [x, y]"),
    "knobs, configurations, prices": ("[1, 4, 16, 64]", "[1, 4, 16]"),
    "objective": ("rps / usd_per_hour", "rps"),
    "limits": ("budget:", "limits: {p99_ms: 100}\nbudget:"),
    "load": ("budget:", "load: {level_max_s: 5}\nbudget:"),
    "facts": ("budget:", "facts: {parameters_million: 110}\nbudget:"),
    "prices": ("budget:", "prices: morphling-2021\nbudget:"),
}


@pytest.mark.parametrize("part", CHANGES)
def test_what_the_numbers_depend_on_does_not_change_in_the_middle(tmp_path, part):
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "run", searcher="random").run(5, progress=StopAfter(2))
    old, new = CHANGES[part]
    assert SPEC.count(old) == 1
    with pytest.raises(RunError, match=f"cannot resume .*: {part} changed since .* not be comparable; start a new run"):
        study(tmp_path / "run", (machine := Machine()), SPEC.replace(old, new)).run(resume=True)
    assert machine.asked == []


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("rps / usd_per_hour}", "rps / usd_per_hour, at_least: {rps: 2}}", "objective"),
        ("maximize: rps / usd_per_hour", "minimize: rps / usd_per_hour", "objective"),
        ("p99_ms: 100", "p99_ms: 101", "limits"),
        ("level_min_s: 0.5", "level_min_s: 0.6", "load"),
        ("arrivals: poisson", "arrivals: constant", "load"),
        ("find: highest_rate", "precision: 0.1", "load"),
        ("parameters_million: 110", "parameters_million: 111", "facts"),
    ],
)
def test_a_part_that_was_there_does_not_change_either(tmp_path, old, new, part):
    more = "limits: {p99_ms: 100}\nload: {level_min_s: 0.5, arrivals: poisson, find: highest_rate}\n"
    text = SPEC + more + "facts: {parameters_million: 110}\n"
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "run", text=text, searcher="random").run(5, progress=StopAfter(1))
    assert text.count(old) == 1
    with pytest.raises(RunError, match=f"cannot resume .*: {part} changed since"):
        study(tmp_path / "run", text=text.replace(old, new)).run(resume=True)


def test_files_beside_the_service_do_not_change_in_the_middle(tmp_path):
    (tmp_path / "s.txt").write_text("one\ntwo\n")
    (tmp_path / "t.csv").write_text("0\n1\n3\n")
    text = SPEC.replace("[x]", "s.txt") + "load: {arrivals: {trace: t.csv}}\n"
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "run", text=text, folder=tmp_path, searcher="random").run(5, progress=StopAfter(1))
    for name, other, part in (("s.txt", "one\nthree\n", "samples"), ("t.csv", "0\n1\n2\n", "trace")):
        was = (tmp_path / name).read_text()
        (tmp_path / name).write_text(other)
        with pytest.raises(RunError, match=f"cannot resume .*: {part} changed since"):
            study(tmp_path / "run", text=text, folder=tmp_path).run(resume=True)
        (tmp_path / name).write_text(was)
    assert len(searched(study(tmp_path / "run", text=text, folder=tmp_path).run(resume=True))) == 5


def test_what_the_numbers_do_not_depend_on_may_change(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "run", searcher="random").run(5, progress=StopAfter(2))
    text = SPEC.replace("trials: 5", "trials: 9, parallel: 2") + "default: {cpu_cores: 2, max_batch_size: 4}\n"
    result = study(tmp_path / "run", text=text).run(resume=True)
    assert len(searched(result)) == 5
    assert result.default is not None and result.default.config == {"cpu_cores": 2, "max_batch_size": 4}


@pytest.mark.parametrize(
    ("name", "options", "trials"),
    [
        ("trials: 5, not 4", {}, 4),
        ("searcher: random, not morphling", {"searcher": "morphling"}, None),
        ("seed: 3, not 0", {"seed": 0}, None),
        ("history: False, not True", {"history": True}, None),
        (
            "its study not in 'sqlite:////.*/elsewhere.db', but in its own folder",
            {"db": "sqlite:///elsewhere.db"},
            None,
        ),
        ("emulate: None, not T4:1", {"emulate": "T4:1"}, None),
    ],
)
def test_what_a_run_began_with_is_not_asked_for_anew(tmp_path, name, options, trials):
    study(tmp_path / "run", searcher="random", seed=3, history=False).run(5)
    with pytest.raises(RunError, match=f"(with|keeps) {name}; .*leave .* out"):
        study(tmp_path / "run", **options).run(trials, resume=True)
    same: dict[str, Any] = {"searcher": "random", "seed": 3, "history": False}
    assert study(tmp_path / "run", **same).run(5, resume=True).trials


def test_differences_are_those_of_what_is_known_now():
    before = {"model": 1, "load": {"a": 1}, "gone": 3}
    assert differences(before, {"model": 1, "load": {"a": 1}}) == []
    assert differences(before, {"model": 2, "load": {"a": 2}}) == ["model", "load"]
    # A part that an older version did not keep may be there now as nothing, not as something.
    assert differences(before, {"facts": None}) == [] and differences(before, {"facts": {"x": 1}}) == ["facts"]


def test_a_run_is_not_begun_where_there_is_one(tmp_path):
    done = study(tmp_path / "run", searcher="random").run()
    with pytest.raises(RunError, match="run already has a run; continue it with --resume, or choose another --out"):
        study(tmp_path / "run", searcher="random").run()
    database, record = open_run(tmp_path / "run").load()
    assert database.studies() == (record,) and database.trials(record) == done.trials
    database.close()


def test_the_newest_run_under_runs_is_resumed_when_none_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("known-20260101-000000", "known-20260102-000000", "known-more-20260301-000000", "known"):
        with pytest.raises(KeyboardInterrupt):
            study(tmp_path / "runs" / name, searcher="random").run(5, progress=StopAfter(1))
    result = study(None).run(resume=True)
    assert result.run.path == Path("runs/known-20260102-000000") and len(searched(result)) == 5


def test_two_studies_in_one_database_do_not_read_each_others_trials(tmp_path, url):
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "a", searcher="random", seed=1, db=url).run(5, progress=StopAfter(2))
    other = study(tmp_path / "b", Machine(), searcher="random", seed=2, db=url).run(3)
    with pytest.raises(RunError, match="a keeps its study in the database .*, which is opened only where you name it"):
        study(tmp_path / "a").run(resume=True)
    result = study(tmp_path / "a", db=url).run(resume=True)
    assert (len(searched(other)), len(searched(result))) == (3, 5)
    assert open_run(tmp_path / "a", url).database_url == url and not (tmp_path / "a" / "history.db").exists()
    numbers = [t.number for t in result.trials]
    assert numbers == list(range(1, len(numbers) + 1))
    database, record = open_run(tmp_path / "b", url).load()
    assert database.trials(record) == other.trials
    database.close()


def test_a_run_is_where_it_is_told_and_its_study_says_what_it_was_asked(tmp_path):
    study(tmp_path / "deep" / "run", searcher="random", seed=4, folder=tmp_path).run(3)
    assert json.loads((tmp_path / "deep" / "run" / "run.json").read_text()) == {
        "database": None, "study": 1, "learns": True, "prior": None, "payload": {"kind": "text"},
        "concluded": True, "made_on": [made_on()],
    }  # fmt: skip
    database, record = open_run(tmp_path / "deep" / "run").load()
    database.close()
    assert (record.name, record.spec, record.folder) == ("known", SPEC, str(tmp_path.resolve()))
    assert (record.searcher, record.seed, record.trials, record.emulated) == ("random", 4, 3, None)
    assert record.fingerprint["knobs"] == {"cpu_cores": [1, 2, 4], "max_batch_size": [1, 4, 16, 64]}
    study(tmp_path / "plain", searcher="random").run()
    database, record = open_run(tmp_path / "plain").load()
    database.close()
    assert (record.seed, record.trials) == (0, 5)


def test_only_one_process_works_on_a_run(tmp_path):
    study(tmp_path / "run", searcher="random").run(2)
    with RunFolder(tmp_path / "run", None, 1).locked():
        with pytest.raises(RunError, match="another process is at work on .*run; wait for it, or end it"):
            study(tmp_path / "run").run(resume=True)
    assert study(tmp_path / "run").run(resume=True).trials
