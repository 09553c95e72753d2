"""Scores of surfaces against what was measured, by hand."""

import math

import numpy as np
import pytest
import torch

from raytune_infer.priors import surface_judge
from raytune_infer.priors.emulated_services import random_generation
from raytune_infer.priors.surface_judge import fitted, from_facts, judge, score
from searchers.quantities import ROLES
from searchers.surfaces.belief import pretrained
from searchers.surfaces.net import surface
from searchers.surfaces.tasks import Studied, studied

torch.set_num_threads(1)  # matrices too small to share out


def row(ran: list[bool], **logs: list[float]) -> Studied:
    """A task with these logarithms measured; what was not measured is NaN."""
    log = np.full((len(ran), len(ROLES)), math.nan)
    for role, values in logs.items():
        log[:, ROLES.index(role)] = values
    return Studied(np.zeros((len(ran), 1)), ("a",), log, np.array(ran), {})


def predicted(n: int, **roles: list[float]) -> np.ndarray:
    out = np.zeros((n, len(ROLES) + 1))
    for role, values in roles.items():
        out[:, len(ROLES) if role == "runs" else ROLES.index(role)] = values
    return out


def test_order_and_shape_are_scored_but_not_the_level():
    truth = [1.0, 2.0, 3.0, 4.0, 5.0]
    measured = row([True] * 5, rate=truth, latency=[5.0, 4.0, 3.0, 2.0, 1.0])
    scores = score(predicted(5, rate=[11.0, 12.0, 13.0, 14.0, 15.0], latency=[1.0, 3.0, 2.0, 4.0, 5.0]), measured)
    assert set(scores) == {"rate", "latency"}
    assert scores["rate"] == {"correlation": pytest.approx(1), "rmse": pytest.approx(0)}
    # Off by -4 -1 -1 2 4, in ranks as in what is left of the centred values: 1 - 6 x 38 / (5 x 24).
    assert scores["latency"] == {"correlation": pytest.approx(-0.9), "rmse": pytest.approx(math.sqrt(38 / 5))}


def test_what_was_not_measured_is_not_scored():
    nan = math.nan
    measured = row([True] * 6, rate=[1.0, nan, 2.0, 3.0, 4.0, 5.0], latency=[1.0, 2.0, 3.0, 4.0, nan, nan])
    scores = score(predicted(6, rate=[1.0, 99.0, 2.0, 3.0, 5.0, 4.0], latency=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), measured)
    assert set(scores) == {"rate"}  # four latencies are too few
    # Ranks 1 2 3 4 5 against 1 2 3 5 4: 1 - 6 * 2 / (5 * 24).
    assert scores["rate"]["correlation"] == pytest.approx(0.9)
    assert score(predicted(5, rate=[1.0] * 5), row([True] * 5, rate=[1.0, 2.0, 3.0, 4.0, 5.0])) == {}
    assert score(predicted(5, rate=[1.0, 2.0, 3.0, 4.0, 5.0]), row([True] * 5, rate=[1.0] * 5)) == {}


def test_who_can_run_is_told_from_who_cannot():
    nan = math.nan
    measured = row([True, False, True, False], rate=[1.0, nan, 2.0, nan])
    assert score(predicted(4, runs=[0.9, 0.1, 0.8, 0.2]), measured) == {"can run": {"auc": 1.0}}
    assert score(predicted(4, runs=[0.1, 0.9, 0.2, 0.8]), measured) == {"can run": {"auc": 0.0}}
    # Of four pairs three are in the right order.
    assert score(predicted(4, runs=[0.9, 0.1, 0.3, 0.5]), measured) == {"can run": {"auc": 0.75}}
    assert score(predicted(2), row([True, True])) == {} and score(predicted(2), row([False, False])) == {}


def test_medians_over_services_by_family_role_and_points(monkeypatch):
    class Service:
        def __init__(self, name: str, off: float) -> None:
            self.name, self.off = name, off

    given: list[tuple[float, int]] = []

    def fitted(model, measured, at, rng):
        given.append((measured.off, len(at)))
        return predicted(6, rate=[k + measured.off * (-1) ** k for k in range(6)])

    def studied(service):
        measured = row([True] * 6, rate=[float(k) for k in range(6)])
        object.__setattr__(measured, "off", service.off)
        return measured

    monkeypatch.setattr(surface_judge, "studied", studied)
    monkeypatch.setattr(surface_judge, "fitted", fitted)
    monkeypatch.setattr(
        surface_judge, "from_facts", lambda model, measured, rng: predicted(6, rate=[float(k) for k in range(6)])
    )
    tasks = [Service("generation", 0.1), Service("generation", 0.2), Service("generation", 0.4), Service("other", 0.3)]
    table = judge(None, tasks, (0, 5), 1)  # type: ignore[arg-type]
    assert list(table) == ["generation, rate", "other, rate"] and set(table["generation, rate"]) == {"0", "5"}
    # Off by so much up and down in turn: that is the root of the mean square. Of three the median is the second.
    assert table["generation, rate"]["5"]["rmse"] == pytest.approx(0.2)
    assert table["other, rate"]["5"]["rmse"] == pytest.approx(0.3)
    assert table["generation, rate"]["0"] == {"correlation": pytest.approx(1), "rmse": pytest.approx(0)}
    assert given == [(0.1, 5), (0.2, 5), (0.4, 5), (0.3, 5)]


@pytest.fixture(scope="module")
def unseen():
    """A service as trials tell of it."""
    return studied(random_generation(np.random.default_rng(3), 60))


def test_before_any_trial_a_service_is_the_mean_of_64_that_it_could_be(unseen):
    model = pretrained()
    drawn = model.latents(unseen.columns, unseen.facts, 64, np.random.default_rng(5))
    x = torch.from_numpy(model.inputs.of_space(unseen.features, unseen.columns)).float()
    with torch.no_grad():
        each = [surface(model.weights, x, torch.from_numpy(z).float()).numpy() for z in drawn]
    told = from_facts(model, unseen, np.random.default_rng(5))
    assert told.shape == (len(unseen.ran), len(ROLES) + 1)
    assert told == pytest.approx(np.mean(each, axis=0), abs=1e-4)
    # So another seed gives nearly the same, which one of them alone would not.
    other = from_facts(model, unseen, np.random.default_rng(6))
    assert np.abs(other - told).mean() < 0.5 * np.abs(each[0] - told).mean()


def test_what_was_measured_draws_the_surface_to_itself(unseen):
    """By ten of its trials a service is predicted better than by none, in each role that was measured."""
    model = pretrained()
    by_ten = score(fitted(model, unseen, np.arange(10), np.random.default_rng(0)), unseen)
    by_none = score(from_facts(model, unseen, np.random.default_rng(0)), unseen)
    off = [(by_ten[role]["rmse"], by_none[role]["rmse"]) for role in ROLES]
    assert all(own < facts for own, facts in off) and sum(own for own, _ in off) < 0.8 * sum(facts for _, facts in off)
