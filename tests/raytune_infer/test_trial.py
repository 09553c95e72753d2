"""One trial: what it says when there is nothing to measure."""

from contextlib import contextmanager

import pytest

from raytune_infer.trial import run_trial
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.replicas.backend import Readied
from serve_deployments.replicas.fake_backend import VirtualMeasure
from serve_deployments.replicas.replica import ReplicaFacts
from serve_deployments.settings import Settings


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

    async def infer(self, payload):
        raise ValueError


@pytest.mark.parametrize("at_most", [{}, {"p99_ms": 100.0}])
def test_a_model_that_answers_nothing_could_not_run_and_its_words_are_the_reason(at_most):
    outcome = run_trial(Settings(), "trial", backend=Broken(), measure=VirtualMeasure(LoadPlan(), at_most))
    assert outcome.metrics is None
    assert outcome.reason.startswith("NoRate: ")
    assert outcome.reason.endswith("; the model raised 3 times, first ValueError: bad input")
