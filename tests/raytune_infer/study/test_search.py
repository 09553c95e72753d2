"""The search between a searcher and Tune: what is begun, what is written down, when it ends."""

import logging
import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from raytune_infer.store.database import Database
from raytune_infer.store.records import Outcome
from raytune_infer.study.progress import Silent
from raytune_infer.study.suggestion import Suggestion
from raytune_infer.study.trials.ledger import Ledger
from searchers.base import Problem
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space
from serve_deployments.backend import OutOfMemory
from serve_deployments.settings import Settings
from tests.raytune_infer.study.stop_after import Notes, StopAfter
from tests.raytune_infer.study.whole_studies import (
    SPEC,
    TRIAL_S,
    Machine,
    TuneInProcess,
    by_our_clock,
    measurement,
    rate_rps,
    study,
    without_ray,
)


def searched(result):
    return [t for t in result.trials if t.purpose == "search"]


def test_what_is_written_down_of_a_trial(tmp_path):
    space = Space([Knob("batch", (1, 2, 4))])
    problem = Problem(space, Objective(Expression("rps / usd_per_hour")), np.array([0.5, 0.25, 0.125]))
    database = Database(f"sqlite:///{tmp_path / 'h.db'}")
    record = database.create_study(
        name="s", spec="", folder="", searcher="random", seed=0, trials=3, fingerprint={}, emulated=None
    )
    told = []

    class Told(Silent):
        def started(self, number, purpose, config):
            told.append((number, purpose, config))

        def finished(self, trial):
            told.append(trial)

    ledger = Ledger(database, record, problem, emulated=True, progress=Told())
    first, second = ledger.start(2, "search"), ledger.start(1, "final")
    trial = ledger.finish(second, 1, Outcome({"rps": 3.0}))
    failed = ledger.finish(first, 2, Outcome(None, reason="OutOfMemory: no"))
    assert (trial.number, trial.purpose, trial.position, trial.config) == (2, "final", 1, {"batch": 2})
    assert (trial.usd_per_hour, trial.value, trial.emulated) == (0.25, 12.0, True)
    assert (failed.number, failed.value, failed.metrics, failed.usd_per_hour) == (1, None, {}, 0.125)
    assert told == [(1, "search", {"batch": 4}), (2, "final", {"batch": 2}), trial, failed]
    assert database.trials(record) == (failed, trial)
    database.close()


def test_what_is_tried_is_a_function_of_the_seed(monkeypatch, tmp_path):
    without_ray(monkeypatch)
    one, again, other = (
        [t.config for t in searched(study(tmp_path / name, searcher="random", seed=seed).run(8))]
        for name, seed in (("one", 3), ("again", 3), ("other", 4))
    )
    assert one == again != other


def test_every_trial_is_of_its_own_configuration_under_its_own_settings(monkeypatch, tmp_path):
    instead = without_ray(monkeypatch)
    result = study(tmp_path / "run", machine := Machine(), searcher="random").run(12)
    assert len({t.position for t in searched(result)}) == len(searched(result)) == 12
    for trial, (_, settings, _) in zip(searched(result), machine.asked, strict=False):
        assert trial.config == {"cpu_cores": settings.cpu_cores, "max_batch_size": settings.max_batch_size}
        assert trial.outcome.settings == settings.as_dict()
        assert trial.metrics["rps"] == rate_rps(settings)
        assert trial.value == pytest.approx(rate_rps(settings) / trial.usd_per_hour)
        assert trial.outcome.interval_rps == (0.99 * rate_rps(settings), 1.01 * rate_rps(settings))
        assert (trial.outcome.ended, trial.outcome.hostname) == ("it is known", "fake")
    assert result.best.config == {"cpu_cores": 1, "max_batch_size": 64}
    assert result.best.metrics["rps"] == pytest.approx(320.0)
    # What Tune itself is asked for: one more attempt for a process that ended, and its files in the run's folder.
    assert instead.run_config.failure_config.max_failures == 1
    assert (instead.run_config.name, instead.run_config.storage_path) == ("tune", str(tmp_path / "run"))


def test_a_trial_is_told_the_rate_that_would_beat_the_best_so_far(monkeypatch, tmp_path):
    without_ray(monkeypatch)
    result = study(tmp_path / "run", machine := Machine(), searcher="random").run(6)
    best = 0.0
    for trial, (_, _, to_beat_rps) in zip(searched(result), machine.asked, strict=False):
        # The goal is requests per dollar, so a dearer one needs as much more.
        assert to_beat_rps == (pytest.approx(best * trial.usd_per_hour) if best else None)
        best = max(best, trial.value)
    # In the comparison each is measured to its end.
    assert all(to_beat_rps is None for number, _, to_beat_rps in machine.asked if number)


def test_a_resumed_search_knows_what_other_processes_always_have_of_the_cores(monkeypatch, tmp_path):
    """What they always have is no reason to measure again: that would show the same."""

    class Shared(Machine):
        def measure(self, running, settings, *, to_beat_rps=None, number=0):
            super().measure(running, settings, to_beat_rps=to_beat_rps, number=number)
            return measurement(rate_rps(settings), others_share=0.3)

    without_ray(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "run", first := Shared(), searcher="random").run(5, progress=StopAfter(2))
    assert len(first.asked) == 3  # the first trial did not know it yet
    study(tmp_path / "run", later := Shared()).run(resume=True)
    assert [number for number, _, _ in later.asked].count(0) == 3


def test_a_resumed_search_knows_the_best_of_before(monkeypatch, tmp_path):
    without_ray(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path / "run", searcher="random").run(5, progress=StopAfter(2))
    result = study(tmp_path / "run", machine := Machine()).run(resume=True)
    best = max(t.value for t in searched(result)[:2])
    assert machine.asked[0][2] == pytest.approx(best * searched(result)[2].usd_per_hour)


def test_so_many_trials_at_a_time_as_were_asked_for(monkeypatch, tmp_path):
    instead = without_ray(monkeypatch)
    study(tmp_path / "a", searcher="random").run(5)
    assert instead.most_at_once == 1
    result = study(tmp_path / "b", searcher="random").run(5, parallel=3)
    assert instead.most_at_once == 3 and len({t.position for t in searched(result)}) == 5
    study(tmp_path / "c", text=SPEC.replace("trials: 5", "trials: 5, parallel: 2"), searcher="random").run()
    assert instead.most_at_once == 3
    assert Suggestion.of(instead.begun[0]).to_beat_rps is None


def test_what_cannot_run_is_no_measurement(monkeypatch, tmp_path):
    without_ray(monkeypatch)

    def refuses(settings: Settings) -> OutOfMemory | None:
        return OutOfMemory("no room") if settings.max_batch_size > 4 else None

    result = study(tmp_path / "run", machine := Machine(refuses), searcher="random").run(12)
    failed = [t for t in result.trials if t.outcome.reason]
    assert {t.config["max_batch_size"] for t in failed} == {16, 64} and len(failed) == 6
    for trial in failed:
        assert (trial.metrics, trial.value, trial.outcome.metrics) == ({}, None, None)
        assert trial.outcome.reason == "OutOfMemory: no room" and trial.outcome.interval_rps is None
    # They take no part in the comparison, and neither do they end the search.
    assert {t.config["max_batch_size"] for t in result.trials if t.purpose == "final"} == {1, 4}
    assert result.best.config == {"cpu_cores": 1, "max_batch_size": 4}
    assert all(settings.max_batch_size <= 4 for _, settings, _ in machine.asked)


def test_a_process_that_died_is_tried_once_more_as_the_same_trial(monkeypatch, tmp_path):
    without_ray(monkeypatch, TuneInProcess(deaths={1: 1, 2: 2}))
    machine = Machine()
    removed: list[str] = []
    monkeypatch.setattr(machine.backend, "remove", removed.append)
    result = study(tmp_path / "run", machine, searcher="random").run(4)
    whole, once, twice, last = searched(result)
    died = "TrialDied: the trial's own process ended"
    assert [t.number for t in searched(result)] == [1, 2, 3, 4]
    assert (whole.outcome.lost, once.outcome.lost, twice.outcome.lost, last.outcome.lost) == (None, died, died, None)
    assert once.outcome.reason is None and once.value is not None
    assert (twice.outcome.reason, twice.metrics, twice.value) == (died, {}, None)
    # What the dead process had left behind is taken down, each time (`running` itself removes at its end, by name).
    assert removed.count("trial-1") == 1 + 1 and removed.count("trial-2") == 2 and removed.count("trial-0") == 1


def test_a_process_that_dies_after_its_report_is_recorded_once(monkeypatch, tmp_path):
    without_ray(monkeypatch, TuneInProcess(late_deaths=frozenset({1})))
    told: list[int] = []

    class Told(Silent):
        def finished(self, trial):
            told.append(trial.number)

    result = study(tmp_path / "run", searcher="random").run(3, progress=Told())
    assert [t.number for t in searched(result)] == told[:3] == [1, 2, 3] and len(set(told)) == len(told)
    assert searched(result)[1].outcome.reason is None and searched(result)[1].value is not None


def test_tune_keeps_nothing_of_what_the_history_has():
    from raytune_infer.study.trials.ledger import Recorder

    kept = SimpleNamespace(last_result={"outcome": {}, "rps": 1.0}, metric_analysis={"a": 1}, metric_n_steps={"a": 1})
    recorder = Recorder(None, None)
    trial: Any = SimpleNamespace(run_metadata=kept)
    recorder.on_trial_complete(0, [], trial)
    assert (kept.last_result, kept.metric_analysis, kept.metric_n_steps) == ({"rps": 1.0}, {}, {})
    assert recorder.__getstate__() == {}


class Sure:
    """Goes through a space in turn; the chance that more is left to be gained falls by half with every trial."""

    def __init__(self, problem: Problem) -> None:
        self.size = len(problem.space)
        self.margins: list[float] = []

    def suggest(self, history, rng) -> int | None:
        return next((p for p in range(self.size) if p not in history.taken), None)

    def chance_of_more(self, history, margin: float) -> float:
        assert margin == 0.05
        return 0.5 ** len(history.observed)


@pytest.fixture
def sure(monkeypatch):
    monkeypatch.setattr("raytune_infer.study.study.named", lambda name, surfaces=None: Sure)
    return without_ray(monkeypatch)


def stopping(at: float | None) -> str:
    return SPEC.replace("trials: 5", "trials: 9" + ("" if at is None else f", stop_below: {at}"))


@pytest.mark.parametrize(
    ("stop_below", "trials", "said"), [(None, 9, None), (0.2, 3, "12%"), (0.125, 4, "6%"), (1e-6, 9, None)]
)
def test_a_search_ends_once_the_chance_of_more_is_below_what_was_asked(sure, tmp_path, stop_below, trials, said):
    result = study(tmp_path / "run", text=stopping(stop_below)).run(progress=(notes := Notes()))
    assert len(searched(result)) == trials
    told = [line for line in notes.told if line.startswith("stopped: ")]
    assert told == ([] if said is None else [f"stopped: the chance that a configuration 5% better is left is {said}"])


def test_a_search_that_had_ended_so_stays_ended(sure, tmp_path):
    study(tmp_path / "run", text=stopping(0.2)).run()
    result = study(tmp_path / "run", machine := Machine(), stopping(0.2)).run(resume=True)
    assert len(searched(result)) == 3 and machine.asked == []


@pytest.mark.parametrize(("seconds", "trials"), [(TRIAL_S * 0.5, 1), (TRIAL_S * 2, 2), (TRIAL_S * 2.5, 3), (1e9, 9)])
def test_no_trial_begins_once_the_seconds_are_over(sure, tmp_path, monkeypatch, seconds, trials):
    machine = Machine()
    monkeypatch.setattr("raytune_infer.study.suggestion.time", machine.clock)
    text = SPEC.replace("trials: 5", f"trials: 9, seconds: {seconds}")
    assert len(searched(study(tmp_path / "run", machine, text).run())) == trials


def test_a_search_with_no_seconds_left_is_not_begun(sure, tmp_path, monkeypatch):
    by_our_clock(monkeypatch, (machine := Machine()).clock)
    text = SPEC.replace("trials: 5", f"trials: 9, seconds: {TRIAL_S}")
    study(tmp_path / "run", machine, text).run()
    monkeypatch.setattr("raytune_infer.study.search.search", None)  # would be called
    assert study(tmp_path / "run", machine, text).run(resume=True).trials


def test_a_searcher_that_cannot_say_so_is_never_asked(tmp_path, monkeypatch):
    plain = type("InTurn", (), {"__init__": Sure.__init__, "suggest": Sure.suggest})
    monkeypatch.setattr("raytune_infer.study.study.named", lambda name, surfaces=None: plain)
    without_ray(monkeypatch)
    result = study(tmp_path / "run", text=stopping(0.9)).run()
    assert len(searched(result)) == 9


def test_tune_is_quiet_while_a_search_runs_and_as_before_afterwards(monkeypatch, tmp_path):
    without_ray(monkeypatch)
    monkeypatch.delenv("TUNE_DISABLE_SIGINT_HANDLER", raising=False)
    log = logging.getLogger("ray.tune")
    before, levels, ours = log.level, [], []

    def measure(running, settings, **more):
        levels.append(log.level)
        ours.append(os.environ.get("TUNE_DISABLE_SIGINT_HANDLER") == "1")  # Ctrl-C: Tune would return as if done
        return Machine.measure(machine, running, settings, **more)

    machine = Machine()
    monkeypatch.setattr(machine, "measure", measure)
    study(tmp_path / "run", machine, searcher="random").run(2)
    assert levels[:2] == [logging.CRITICAL] * 2 and set(levels[2:]) == {before} and log.level == before
    assert ours[:2] == [True] * 2 and not any(ours[2:])


def test_the_default_is_in_the_comparison_though_the_search_never_tried_it(monkeypatch, tmp_path):
    without_ray(monkeypatch)
    monkeypatch.setattr(
        "raytune_infer.study.study.named",
        lambda name, surfaces=None: type("Last", (), {
            "__init__": Sure.__init__,
            "suggest": lambda self, history, rng: next(p for p in range(11, -1, -1) if p not in history.taken),
        }),
    )  # fmt: skip
    result = study(tmp_path / "run", machine := Machine()).run(2)
    default = {"cpu_cores": 1, "max_batch_size": 1}
    assert default not in [t.config for t in searched(result)]
    assert result.default is not None and result.default.config == default
    assert {t.purpose for t in result.default.trials} == {"final"}
    # Four cores and batches of 64 against one and 1: 16 times the rate, at the price of four cores.
    assert result.ratio == pytest.approx(16 * result.default.usd_per_hour / result.best.usd_per_hour)
    # Each in every round, and the rounds by their numbers: two of them at least, each under arrivals of its own.
    rounds = [number for number, _, _ in machine.asked if number]
    assert set(rounds) == set(range(1, max(rounds) + 1)) and max(rounds) >= 2


@pytest.mark.parametrize(("disturbed", "could_win"), [(1, True), (2, False), (3, True), (4, False), (5, True)])
def test_a_trial_that_others_took_the_cores_of_changes_neither_the_best_nor_the_number_of_trials(
    monkeypatch, tmp_path, disturbed, could_win
):
    """Where it could be the best alone, it is made again, within its trial and by the study's clock."""
    without_ray(monkeypatch)
    quiet = study(tmp_path / "quiet", searcher="random").run(5)
    machine = Machine(disturbed_in=disturbed)
    by_our_clock(monkeypatch, machine.clock)
    result = study(tmp_path / "run", machine, searcher="random").run(5)
    assert [t.config for t in searched(result)] == [t.config for t in searched(quiet)]
    assert result.best.config == quiet.best.config
    again = next((t for t in result.trials if t.outcome.repeated), None)
    assert (again is not None) is could_win
    if again is None:
        return
    assert [t.metrics for t in result.trials] == [t.metrics for t in quiet.trials]
    assert again.number == disturbed and again.seconds == pytest.approx(2 * TRIAL_S, abs=0.1)
    assert again.outcome.overhead["repeated"] == TRIAL_S
