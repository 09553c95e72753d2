"""One trial: what it says when there is nothing to measure."""

from contextlib import contextmanager
from dataclasses import replace

import pytest

from raytune_infer.trial import run_trial
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.question import Question
from serve_deployments.replicas.backend import LoadFailed, OutOfMemory, Readied, ReplicaDied
from serve_deployments.replicas.fake_backend import FakeBackend, VirtualMeasure
from serve_deployments.replicas.replica import ReplicaFacts
from serve_deployments.settings import Settings
from serve_deployments.usage import Usage


class Broken:
    """A backend, its only replica and that one's endpoint: every request raises."""

    readied = Readied()

    @property
    def endpoint(self):
        return self

    @contextmanager
    def running(self, settings, name):
        yield self

    def facts(self):
        return ReplicaFacts("here", 1, (), (), "cpu", None, None, raised=3, said="ValueError: bad input")

    def remove(self, name):
        pass

    async def infer(self, payload):
        raise ValueError


@pytest.mark.parametrize("at_most", [{}, {"p99_ms": 100.0}])
def test_a_model_that_answers_nothing_could_not_run_and_its_words_are_the_reason(at_most):
    outcome = run_trial(Settings(), "trial", backend=Broken(), measure=VirtualMeasure(Question(LoadPlan(), at_most)))
    assert outcome.metrics is None
    assert outcome.reason.startswith("NoRate: ")
    assert outcome.reason.endswith("; the model raised 3 times, first ValueError: bad input")


def outcome_of(losses):
    """Of a trial whose first attempts end so; then it can be measured."""
    backend = FakeBackend(lambda settings, batch: 0.01, lambda settings: losses.pop(0) if losses else None)
    return run_trial(Settings(), "trial", backend=backend, measure=VirtualMeasure(Question(LoadPlan())))


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


@pytest.mark.parametrize(
    "others_s, kept, said",
    [(None, None, None), (0.1, True, "less than 5%"), (0.6, False, "about 10%"), (3.4, False, "about 30%")],
)
def test_a_trial_says_what_others_had_of_its_cores(others_s, kept, said):
    """Of ten seconds of cores."""

    def measure(running, settings, *, to_beat_rps=None):
        measured = VirtualMeasure(Question(LoadPlan()))(running, settings)
        usage = None if others_s is None else Usage(others_s=others_s, cores_s=10.0)
        return replace(measured, loads=tuple(replace(load, usage=usage) for load in measured.loads))

    backend = FakeBackend(lambda settings, batch: 0.01)
    outcome = run_trial(Settings(), "trial", backend=backend, measure=measure)
    told = [e for e in outcome.enforcements if e["limit"] == "cores to itself"]
    assert len(told) == (kept is not None)
    assert all(e["enforced"] == kept and said in e["how"] for e in told)
