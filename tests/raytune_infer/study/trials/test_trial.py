"""One trial: what it says of a measurement, and when there is nothing to measure."""

import asyncio
import re
from contextlib import contextmanager
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import pytest

from raytune_infer.store.records import Outcome
from raytune_infer.study.trials.trial import run_trial
from serve_deployments.backend import LoadFailed, ModelStuck, OutOfMemory, ReplicaDied, ReplicaFacts, Startup
from serve_deployments.endpoint import WHOLE
from serve_deployments.fakes.fake_backend import FakeBackend, VirtualMeasure
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.metrics.answers.agreement import AnswerAgreement
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.measurement import Measurement
from serve_deployments.resources.enforcement import Enforcement
from serve_deployments.resources.usage import Usage
from serve_deployments.settings import Settings
from tests.levels import a_level


class Broken:
    """A backend, its only replica and that one's endpoint: every request raises."""

    startup = Startup()
    told = ReplicaFacts("here", 1, (), (), "cpu", None, None, raised=3, said="ValueError: bad input")

    @property
    def endpoint(self):
        return self

    @contextmanager
    def running(self, settings, name):
        yield self

    def facts(self):
        return self.told

    def remove(self, name):
        pass

    async def infer(self, payload):
        raise ValueError


@pytest.mark.parametrize("at_most", [{}, {"p99_ms": 100.0}])
def test_a_model_that_answers_nothing_could_not_run_and_its_words_are_the_reason(at_most):
    outcome = run_trial(Settings(), "trial", backend=Broken(), measure=VirtualMeasure(LoadTest(LoadPlan(), at_most)))
    assert outcome.metrics is None
    assert outcome.reason.startswith("NoRate: ")
    assert outcome.reason.endswith("; the model raised 3 times, first ValueError: bad input")
    assert outcome.reason.count("ValueError") == 1, "the load generator saw the same"


@pytest.mark.parametrize("at_most", [{}, {"p99_ms": 100.0}])
def test_where_requests_fail_on_their_way_what_the_first_said_is_the_reason(at_most):
    class OnTheWay(Broken):
        told = replace(Broken.told, raised=0, said=None)

        async def infer(self, payload):
            raise ConnectionError("larger than 4 MiB")

    outcome = run_trial(Settings(), "trial", backend=OnTheWay(), measure=VirtualMeasure(LoadTest(LoadPlan(), at_most)))
    assert outcome.metrics is None and outcome.reason.startswith("NoRate: ")
    assert outcome.reason.endswith("; requests failed, the first with ConnectionError: larger than 4 MiB")


def test_what_the_load_generator_saw_stands_before_what_the_model_said_where_they_differ():
    class OnTheWay(Broken):
        async def infer(self, payload):
            raise ConnectionError("larger than 4 MiB")

    outcome = run_trial(Settings(), "trial", backend=OnTheWay(), measure=VirtualMeasure(LoadTest(LoadPlan())))
    assert outcome.reason.endswith(
        "; requests failed, the first with ConnectionError: larger than 4 MiB; the model raised 3 times, first "
        "ValueError: bad input"
    )


class Silent(Broken):
    """Takes each request, and answers those after the first few never."""

    told = replace(Broken.told, raised=0, said=None)
    answers = 0

    async def infer(self, payload):
        await asyncio.sleep(0.01)
        if self.answers <= 0:
            await asyncio.sleep(3600)
        self.answers -= 1
        return WHOLE


SHORT = LoadPlan(level_min_s=0.5, level_max_s=2.0, total_max_s=4.0)


def test_where_no_request_ended_that_is_said():
    """As through a proxy that takes the connection and passes nothing on."""
    outcome = run_trial(Settings(), "trial", backend=Silent(), measure=VirtualMeasure(LoadTest(SHORT)))
    assert outcome.reason.startswith("NoRate: no request was answered")
    assert outcome.reason.endswith(
        "; 1 of 1 request was not answered within 4 s: the replica was not reached, or needs longer to answer"
    )


def test_a_replica_whose_first_batches_ran_was_reached():
    silent = Silent()
    silent.told = replace(Silent.told, longest_batch_s=0.01)
    outcome = run_trial(Settings(), "trial", backend=silent, measure=VirtualMeasure(LoadTest(SHORT)))
    assert outcome.reason.endswith("; 1 of 1 request was not answered within 4 s")
    assert "after 1 client;" in outcome.reason


@pytest.mark.parametrize("lost", [None, ModelStuck("a running batch did not finish within 10 s")])
def test_a_replica_that_hangs_midway_leaves_how_many_requests_were_not_answered(lost):
    class Hangs(Silent):
        @contextmanager
        def running(self, settings, name):
            yield self
            if lost is not None:
                raise lost

    hangs = Hangs()

    def measure(running, settings, *, to_beat_rps=None):
        """Two levels, of which the second gets no answer."""
        levels: list[LevelResult] = []
        for running.answers in (10**6, 0):
            rest = VirtualMeasure(LoadTest(replace(SHORT, total_max_s=2.0)))(running, settings)
            levels += rest.levels
        return replace(rest, levels=tuple(levels), reported=len(levels) - 1)

    outcome = run_trial(Settings(), "trial", backend=hangs, measure=measure)
    assert outcome.metrics is None and "not reached" not in outcome.reason
    assert re.search(r"; 1 of \d\d+ requests was not answered within [\d.]+ s$", outcome.reason), outcome.reason
    assert lost is None or outcome.reason.startswith("ModelStuck: a running batch did not finish within 10 s; 1 of ")


@pytest.mark.parametrize("error", [ModelStuck("a batch did not finish"), ReplicaDied("process 1 has ended")])
def test_a_replica_that_is_lost_after_its_measurement_leaves_what_its_requests_saw(error):
    class Lost(Broken):
        @contextmanager
        def running(self, settings, name):
            yield self
            raise error

        async def infer(self, payload):
            raise ConnectionError("reset by peer")

    outcome = run_trial(Settings(), "trial", backend=Lost(), measure=VirtualMeasure(LoadTest(LoadPlan())))
    said = f"{type(error).__name__}: {error}; requests failed, the first with ConnectionError: reset by peer"
    assert outcome.reason == said and outcome.lost == (said if isinstance(error, ReplicaDied) else None)


def outcome_of(losses):
    """Of a trial whose first attempts end so; then it can be measured."""
    backend = FakeBackend(lambda settings, batch: 0.01, lambda settings: losses.pop(0) if losses else None)
    return run_trial(Settings(), "trial", backend=backend, measure=VirtualMeasure(LoadTest(LoadPlan())))


def test_a_trial_that_lost_its_replica_is_tried_once_more_and_says_so():
    outcome = outcome_of([ReplicaDied("process 1 has ended")])
    assert outcome.reason is None and outcome.metrics["rps"] > 0
    assert outcome.lost == "ReplicaDied: process 1 has ended"


def test_a_second_loss_stands_beside_the_first():
    losses = [LoadFailed("no end"), ReplicaDied("process 2 has ended"), ReplicaDied("never asked")]
    outcome = outcome_of(losses)
    assert (outcome.lost, outcome.reason) == ("LoadFailed: no end", "ReplicaDied: process 2 has ended")
    assert len(losses) == 1


def test_what_is_the_configurations_own_fault_is_not_tried_again():
    losses = [OutOfMemory("2 GiB"), ReplicaDied("never asked")]
    outcome = outcome_of(losses)
    assert (outcome.lost, outcome.reason) == (None, "OutOfMemory: 2 GiB") and len(losses) == 1


@pytest.mark.parametrize("error", [KeyError("rps"), ZeroDivisionError("by zero"), OSError("no space")])
def test_an_error_that_nobody_foresaw_ends_its_trial_and_not_the_search(error, caplog):
    def measure(running, settings, *, to_beat_rps=None):
        raise error

    backend, settings = FakeBackend(lambda settings, batch: 0.01), Settings(cpu_cores=3)
    outcome = run_trial(settings, "trial", backend=backend, measure=measure)
    said = f"Unforeseen: {type(error).__name__}: {error}"
    assert outcome == Outcome(None, reason=said, settings=settings.as_dict())
    assert caplog.records[-1].exc_info[1] is error  # where it happened is in the log


@pytest.mark.parametrize(
    "others_s, kept, said",
    [(None, None, None), (0.1, True, "less than 5%"), (0.6, False, "about 10%"), (3.4, False, "about 30%")],
)
def test_a_trial_says_what_others_had_of_its_cores(others_s, kept, said):
    """Of ten seconds of cores."""

    def measure(running, settings, *, to_beat_rps=None):
        measured = VirtualMeasure(LoadTest(LoadPlan()))(running, settings)
        usage = None if others_s is None else Usage(others_s=others_s, cores_s=10.0)
        return replace(measured, levels=tuple(replace(load, usage=usage) for load in measured.levels))

    backend = FakeBackend(lambda settings, batch: 0.01)
    outcome = run_trial(Settings(), "trial", backend=backend, measure=measure)
    told = [e for e in outcome.enforcements if e["limit"] == "cores to itself"]
    assert len(told) == (kept is not None)
    assert all(e["enforced"] == kept and said in e["how"] for e in told)


@pytest.mark.parametrize(
    ("load_s", "said"),
    [(0.4, None), (1.6, "it used about 15% of the replica's, which would be faster without it: to leave a core to the "
      "load, lower `cpu_cores` or add a machine")],
)  # fmt: skip
def test_what_the_load_had_of_its_cores_is_told_and_repeats_no_trial(load_s, said):
    """Of ten seconds of cores, of which others had none."""
    calls = []

    def measure(running, settings, *, to_beat_rps=None):
        calls.append(settings)
        measured = VirtualMeasure(LoadTest(LoadPlan()))(running, settings)
        usage = Usage(load_s=load_s, cores_s=10.0)
        return replace(measured, apart=False, levels=tuple(replace(load, usage=usage) for load in measured.levels))

    outcome = run_trial(Settings(), "trial", backend=FakeBackend(lambda settings, batch: 0.01), measure=measure)
    how = {e["limit"]: (e["enforced"], e["how"]) for e in outcome.enforcements}
    no_cores = "replicas have every core of the machine, or took those of the load"
    assert how["load on other cores"] == (False, no_cores if said is None else f"{no_cores}; {said}")
    assert how["cores to itself"][0] and len(calls) == 1 and not outcome.repeated


def told_of_the_start(outcome):
    return [e for e in outcome.enforcements if e["limit"] == "change in place"]


def test_a_trial_whose_replica_is_new_as_another_could_not_be_changed_says_why_and_what_it_cost():
    class Unlucky(FakeBackend):
        @contextmanager
        def running(self, settings, name):
            with super().running(settings, name) as replica:
                seconds = {"change": 40.02, "deploy": 5.0}
                yield replace(replica, startup=Startup(False, seconds, not_changed="ReplicaDied: no answer"))

    measure = VirtualMeasure(LoadTest(LoadPlan()))
    outcome = run_trial(Settings(), "t", backend=Unlucky(lambda settings, batch: 0.01), measure=measure)
    [told] = told_of_the_start(outcome)
    assert not told["enforced"] and told["how"] == (
        "a replica was not changed in place within 40 s, so a new one was started: ReplicaDied: no answer"
    )


def level(**more):
    """Ten seconds in which four clients got 200 answers."""
    known: dict[str, Any] = {"achieved_rps": 20.0, "duration_s": 10.0, "completed": 200}
    return a_level(clients=4, latency_s=[0.02], **{**known, **more})


def test_all_that_was_measured_and_told_is_in_the_outcome(monkeypatch):
    """No field is left out because it has its usual value elsewhere."""
    loads = (level(), level(achieved_rps=30.0, usage=Usage(others_s=3.0, cores_s=10.0)), level(steady=False))
    measured = Measurement(
        method="highest_rate", levels=loads, reported=1, found=True, client_limited=True, seconds=10.0,
        reason="the limit is near", apart=False, ended_early=True, rate_low_rps=48.0, rate_high_rps=61.0,
        estimate={"rps": 55.0, "p99_ms": 12.0, "max_ms": float("inf"), "mean_ms": float("nan")},
    )  # fmt: skip
    lost = [ReplicaDied("process 1 has ended")]

    class Told(Broken):
        startup = Startup(True, {"change": 0.25, "reserve": 2.0})
        told = ReplicaFacts(
            "box", 1, (),
            (Enforcement("gpu_share", "0.5", False, "no MPS"), Enforcement("cpu_cores", "2", True, "pins")),
            "cuda", None, None, raised=2, said="KeyError: x",
        )  # fmt: skip

        @contextmanager
        def running(self, settings, name):
            if lost:
                raise lost.pop()
            yield self

    agreed = AnswerAgreement(4, {"answers_same": 0.75})

    class Asks:
        def __call__(self, running, settings):
            return agreed

        def broken(self, found):
            return None

    # Up at 100 s, asked by 101, measured at 116, of which the measurement took 10, and left at 119.
    moments = iter([100.0, 101.0, 116.0, 119.0])
    monkeypatch.setattr("raytune_infer.study.trials.trial.time", SimpleNamespace(monotonic=lambda: next(moments)))
    settings = Settings(cpu_cores=2, max_batch_size=8)
    measure: Any = lambda *given, to_beat_rps=None: measured  # noqa: E731
    asks: Any = Asks()
    outcome = run_trial(settings, "trial", backend=Told(), measure=measure, check=asks, usual_share=0.3)
    assert outcome == Outcome(
        metrics={"rps": 55.0, "p99_ms": 12.0, "answers_same": 0.75},  # what is no number is not measured
        reason=None,
        levels=loads,
        reported=1,
        interval_rps=(48.0, 61.0),
        ended="the limit is near; the model raised 2 times, first KeyError: x",
        client_limited=True,
        enforcements=(
            {"limit": "gpu_share", "asked": "0.5", "enforced": False, "how": "no MPS"},
            {"limit": "cpu_cores", "asked": "2", "enforced": True, "how": "pins"},
            {"limit": "load on other cores", "asked": "yes", "enforced": False,
             "how": "replicas have every core of the machine, or took those of the load"},
            {"limit": "cores to itself", "asked": "yes", "enforced": False,
             "how": "other processes used about 30% of them"},
        ),
        hostname="box",
        settings=settings.as_dict(),
        in_place=True,
        ended_early=True,
        overhead={"change": 0.25, "reserve": 2.0, "answers": 1.0, "load": 5.0, "leave": 3.0},
        lost="ReplicaDied: process 1 has ended",
        answers=agreed,
    )  # fmt: skip
    assert told_of_the_start(outcome) == []
    usual = Outcome(None)
    same = {field.name for field in fields(Outcome) if getattr(outcome, field.name) == getattr(usual, field.name)}
    assert same == {"reason"}  # which is for what could not run


def test_load_on_cores_of_its_own_is_said_to_be():
    quiet = Measurement("peak_rate", (level(),), 0, found=True, client_limited=False, seconds=10.0, reason="known")
    outcome = run_trial(Settings(), "trial", backend=Broken(), measure=lambda *given, to_beat_rps=None: quiet)
    assert outcome.enforcements == (
        {"limit": "load on other cores", "asked": "yes", "enforced": True, "how": "pinned"},
    )
    assert (outcome.client_limited, outcome.ended_early, outcome.interval_rps, outcome.lost) == (
        False,
        False,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("found", "reported", "counts"),
    [
        (True, level(), True),
        (True, level(overloaded=True), True),  # the most that it can do, though the queue grew
        (False, level(), True),  # no limit was kept, and how far off it was is known
        (False, level(overloaded=True), False),
        (False, level(completed=0), False),
    ],
)
def test_of_a_replica_that_held_no_rate_there_is_no_number(found, reported, counts):
    others = level(overloaded=not reported.overloaded, completed=200 - reported.completed)
    measured = Measurement("highest_rate", (others, reported, others), 1, found, False, 10.0, "no rate was held")
    backend = FakeBackend(lambda settings, batch: 0.01)
    settings = Settings(max_batch_size=4)
    outcome = run_trial(settings, "trial", backend=backend, measure=lambda *given, to_beat_rps=None: measured)
    if counts:
        assert (outcome.reason, outcome.metrics["rps"], outcome.reported) == (None, 20.0, 1)
    else:
        assert outcome == Outcome(None, reason="NoRate: no rate was held", settings=settings.as_dict())


@pytest.mark.parametrize("lost", [0, 1])
def test_each_attempt_knows_the_rate_that_it_has_to_beat(lost):
    losses, asked = [ReplicaDied("it did")] * lost, []
    measured = Measurement("peak_rate", (level(),), 0, True, False, 10.0, "known")

    def measure(running, settings, *, to_beat_rps=None):
        asked.append((settings, to_beat_rps))
        if losses:
            raise losses.pop()
        return measured

    backend, settings = FakeBackend(lambda settings, batch: 0.01), Settings(cpu_cores=3)
    outcome = run_trial(settings, "trial", backend=backend, measure=measure, to_beat_rps=7.0)
    assert outcome.reason is None and asked == [(settings, 7.0)] * (1 + lost)


def disturbed_by(*shares: float, rate_rps: float = 50.0, **more: Any):
    """A load test that others had these shares of its cores in, one after another; the rate is lower by as much."""
    left = list(shares)

    def measure(running, settings, *, to_beat_rps=None) -> Measurement:
        share = left.pop(0)
        rps = rate_rps * (1 - share)
        found = level(achieved_rps=rps, rate_rps=rps, usage=Usage(seconds=10.0, others_s=10 * share, cores_s=10.0))
        return Measurement(
            method="peak_rate", levels=(found,), reported=0, found=True, client_limited=False, seconds=10.0,
            reason="known", rate_low_rps=rps, rate_high_rps=rps, **more,
        )  # fmt: skip

    return measure, left


@pytest.mark.parametrize(
    ("shares", "usual", "to_beat_rps", "rps", "measured"),
    [
        ((0.04, 0.0), 0.0, None, 48.0, 1),  # less than what is tolerated
        ((0.3, 0.0), 0.0, None, 50.0, 2),
        ((0.3, 0.0), None, None, 50.0, 2),  # the first trial of a study
        ((0.3, 0.0), 0.27, None, 35.0, 1),  # others always have as much
        ((0.3, 0.5), 0.0, None, 35.0, 2),  # the less disturbed one counts, whichever came first
        ((0.3, 0.0), 0.0, 49.0, 50.0, 2),  # alone it could win
        ((0.3, 0.0), 0.0, 51.0, 35.0, 1),  # alone it could not either
    ],
)
def test_a_trial_on_disturbed_cores_is_repeated_where_that_helps_and_matters(shares, usual, to_beat_rps, rps, measured):
    measure, left = disturbed_by(*shares)
    outcome = run_trial(
        Settings(), "trial", backend=FakeBackend(lambda settings, batch: 0.01), measure=measure,
        to_beat_rps=to_beat_rps, usual_share=usual,
    )  # fmt: skip
    assert outcome.metrics["rps"] == pytest.approx(rps) and len(left) == 2 - measured
    assert outcome.repeated is (measured == 2)
    assert outcome.overhead.get("repeated", 0.0) == (10.0 if measured == 2 else 0.0)
