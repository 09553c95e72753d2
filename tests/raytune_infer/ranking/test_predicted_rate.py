"""Which limits a queue is asked for, and what is made of its answers."""

from types import SimpleNamespace
from typing import Any

import pytest

from raytune_infer.ranking import predicted_rate
from raytune_infer.ranking.predicted_rate import predicted_rps
from serve_deployments.load.arrivals import POISSON
from tests.levels import a_level
from tests.raytune_infer.ranking.ranked_trials import trial

RAN = {"settings": {"cpu_cores": 2, "max_batch_size": 4}}
TRIALS = [
    trial(1, 0), trial(2, 0, a_level(10.0), a_level(30.0), **RAN),
    trial(3, 0, a_level(clients=4, achieved_rps=40.0), **RAN),
]  # fmt: skip


@pytest.fixture
def queue(monkeypatch):
    """Answers as given, and what was asked last."""
    asked: dict[str, Any] = {}

    def predicted_rates(levels, settings, arrivals, at_most, near_rps):
        asked.update(
            levels=len(levels), cores=settings.cpu_cores, arrivals=arrivals, at_most=at_most, near_rps=near_rps
        )
        return [None if rps is None else SimpleNamespace(rate_rps=rps) for rps in asked["answers"]]

    monkeypatch.setattr(predicted_rate, "predicted_rates", predicted_rates)
    return asked


def test_the_first_limit_to_break_decides(queue):
    queue["answers"] = [70.0, 50.0]
    assert predicted_rps(TRIALS, {"p99_ms": 100, "p50_ms": 20, "error_rate": 0.1}, POISSON) == 50.0
    assert queue["at_most"] == {"p99_ms": 100, "p50_ms": 20}  # of errors no queue knows anything
    assert (queue["levels"], queue["cores"], queue["near_rps"], queue["arrivals"]) == (3, 2, 40.0, POISSON)


def test_where_one_limit_cannot_be_told_none_can(queue):
    queue["answers"] = [70.0, None]
    assert predicted_rps(TRIALS, {"p99_ms": 100, "p50_ms": 20}, POISSON) is None


@pytest.mark.parametrize("at_most", [{}, {"error_rate": 0.1}, {"p97_ms": 50}, {"p99_ms": 50, "p97_ms": 50}])
def test_of_what_is_not_measured_nothing_is_asked(queue, at_most):
    assert predicted_rps(TRIALS, at_most, POISSON) is None and queue == {}


def test_a_replica_that_answered_nothing_says_nothing(queue):
    silent = trial(1, 0, a_level(clients=1, achieved_rps=0.0), **RAN)
    assert predicted_rps([silent], {"p99_ms": 50}, POISSON) is None and queue == {}
