"""Beliefs from nothing and from given surfaces, against their moments by hand."""

from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import pytest

from searchers.base import Observation, Problem, Task
from searchers.meta import kernel
from searchers.meta.joint_grid import grid_over
from searchers.meta.metric_model import FEASIBLE
from searchers.meta.mixture import from_surfaces, generic
from searchers.objective import Expression, Objective
from searchers.quantities import ROLES
from searchers.space import Knob, Space
from searchers.surfaces.belief import Surfaces

SPACE = Space([Knob("batch", (1, 2, 4)), Knob("engine", ("a", "b"), "categorical")])
N = len(SPACE)
ELSEWHERE = Task("t", Space([Knob("batch", (8,))]), (Observation(0, {"rps": 1.0}),))
GRID = grid_over(SPACE, [ELSEWHERE])  # has a row that is not the problem's
OWN = GRID.ranks[:N]
PROBLEM = Problem(SPACE, Objective(Expression("rps")), facts={"gflop": 2.0, "unknown": 0.0, "odd": -1.0}, noise=0.2)


def test_nothing_known_is_a_smooth_curve_about_an_unknown_level_and_most_configurations_run():
    found = generic(GRID, ("rps", "p99_ms", FEASIBLE), 0.04)
    assert set(found) == {"rps", "p99_ms", FEASIBLE}
    scales = kernel.generic(GRID.axes)
    for metric in ("rps", "p99_ms"):
        belief = found[metric]
        assert belief.floating and belief.noise == 0.04 and belief.mean.tolist() == [3.0] * N
        assert belief.covariance == pytest.approx(kernel.variance(GRID.axes, OWN, scales))
    runs = found[FEASIBLE]
    assert not runs.floating and runs.noise == 0.04 and runs.mean.tolist() == [0.8] * N
    expected = replace(kernel.scaled(scales, 0.6), level=0.5)
    assert runs.covariance == pytest.approx(kernel.variance(GRID.axes, OWN, expected))


def test_only_what_is_asked_for_is_believed():
    assert set(generic(GRID, ("rps",), 0.04)) == {"rps"} and set(generic(GRID, (FEASIBLE,), 0.04)) == {FEASIBLE}
    assert generic(GRID, (), 0.04) == {}


@dataclass
class Told:
    """A model of surfaces that says what it was told to."""

    known: tuple[str, ...] = ("log2_batch",)
    asked: list = field(default_factory=list)

    def sample(self, space, facts, samples, rng):
        self.asked.append((space, facts, samples))
        own = np.random.default_rng(5)
        log: dict[str, np.ndarray] = {role: own.normal(0, 1 + i, (samples, N)) for i, role in enumerate(ROLES)}
        return Surfaces(log, own.normal(0, 3, (samples, N)), self.known)


def test_surfaces_give_their_mean_and_half_as_much_again_of_their_covariance_beside_what_they_leave_open():
    told: Any = Told()
    found = from_surfaces(told, PROBLEM, GRID, ("p99_ms", "rps"))
    assert found is not None
    ((space, facts, samples),) = told.asked
    assert space is SPACE and facts == {"gflop": 2.0}  # what is not positive is not known
    surfaces = Told().sample(SPACE, {}, samples, None)
    open_ = replace(kernel.generic(GRID.axes), joint=0.5, main=np.full(2, 0.5))
    for metric, role in (("rps", "rate"), ("p99_ms", "latency")):
        belief, log = found[metric], surfaces.log[role]
        assert belief.mean == pytest.approx(3 + log.mean(axis=0)) and belief.floating
        assert belief.noise == pytest.approx(0.04)
        expected = 1.5 * np.cov(log.T, ddof=0) + kernel.variance(GRID.axes, OWN, open_)
        assert belief.covariance == pytest.approx(expected)


def test_the_chance_to_run_becomes_a_number_between_minus_one_and_one():
    found = from_surfaces(cast(Any, Told()), PROBLEM, GRID, ("rps",))
    assert found is not None
    chance = 1 / (1 + np.exp(-Told().sample(SPACE, {}, 128, None).runs))
    runs = found[FEASIBLE]
    assert runs.mean == pytest.approx((2 * chance - 1).mean(axis=0)) and not runs.floating
    open_ = replace(kernel.scaled(replace(kernel.generic(GRID.axes), joint=0.5, main=np.full(2, 0.5)), 0.8), level=0.2)
    expected = 1.5 * np.cov((2 * chance - 1).T, ddof=0) + kernel.variance(GRID.axes, OWN, open_)
    assert runs.covariance == pytest.approx(expected) and runs.noise == pytest.approx(0.04)


def test_surfaces_that_know_no_column_of_the_space_say_nothing():
    assert from_surfaces(cast(Any, Told(known=())), PROBLEM, GRID, ("rps",)) is None
