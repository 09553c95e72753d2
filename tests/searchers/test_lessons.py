"""What is learned from other services: on services whose law is known, so that the right answer is too."""

import numpy as np
import pytest
import torch
from surfaces import roofline_problem, shifted_sources

from searchers.atlas import ABSENT, atlas
from searchers.base import Observation, Problem, Task
from searchers.lessons import credible, from_sources, standardised
from searchers.objective import Expression, Objective
from searchers.reading import RUNS, Reading
from searchers.space import Knob, Space

torch.set_num_threads(1)

SPACE = Space([Knob("max_batch_size", (1, 2, 4, 8, 16, 32)), Knob("engine", ("a", "b"), "categorical")])
RPS = Reading(("rps",))
PROBLEM = Problem(SPACE, Objective(Expression("rps"), at_most={"p99_ms": 50}), facts={"gflop": 8.0})


def service(size: float, *, every: int = 1) -> Task:
    """Twice the size, half the rate; engine b gains from batches what a does not."""
    observed = []
    for position in range(0, len(SPACE), every):
        config = SPACE[position]
        gain = config["max_batch_size"] ** (0.6 if config["engine"] == "b" else 0.3)
        observed.append(Observation(position, {"rps": 100 * gain / size, "p99_ms": 3.0 * size}))
    return Task(f"size {size}", SPACE, tuple(observed), {"gflop": size})


def log_rps(task: Task) -> np.ndarray:
    return RPS.measured(task.observed, "rps")[1]


def test_a_service_between_others_is_expected_between_them():
    sources = tuple(service(size) for size in (1, 2, 4, 16, 32))
    belief = from_sources(PROBLEM, sources, RPS)["rps"]
    assert belief.mean == pytest.approx(log_rps(service(8)), abs=0.15)


def test_the_width_is_what_the_others_left_out_differ_by():
    without_facts = tuple(Task(t.name, t.space, t.observed) for t in (service(s) for s in (1, 2, 4, 16, 32)))
    told = from_sources(PROBLEM, tuple(service(s) for s in (1, 2, 4, 16, 32)), RPS)["rps"]
    untold = from_sources(PROBLEM, without_facts, RPS)["rps"]
    assert np.trace(untold.covariance) > 3 * np.trace(told.covariance)
    # One measurement tells the level, and with it nearly all: the services differ in nothing else.
    y = log_rps(service(8))
    posterior = untold.given(np.array([3]), y[3:4])
    assert posterior.mean == pytest.approx(y, abs=0.2)


def test_what_a_source_did_not_measure_is_completed():
    half = service(4, every=3)
    belief = from_sources(PROBLEM, (service(2), half, service(16)), RPS)["rps"]
    assert belief.mean == pytest.approx(log_rps(service(8)), abs=0.7)


def test_a_quantity_that_no_source_measured_is_unknown_and_can_run_is_learned():
    beliefs = from_sources(PROBLEM, (service(2), service(4)), Reading(("rps", "ttft_ms")))
    assert beliefs["ttft_ms"].floating and not beliefs["rps"].floating
    assert (beliefs[RUNS].mean > 0.5).all()


def test_sources_of_other_knobs_and_values_share_one_grid():
    other = Space([Knob("max_batch_size", (4, 64)), Knob("beam_width", (1, 2))])
    grid = atlas(SPACE, [Task("other", other, tuple(Observation(i, {"rps": 1.0}) for i in range(4)))])
    assert grid.n == len(SPACE) and len(grid.ranks) == len(SPACE) + 4
    assert [axis.name for axis in grid.axes] == ["max_batch_size", "engine", "beam_width"]
    assert (grid.ranks[: grid.n, 2] == ABSENT).all() and (grid.ranks[grid.rows[0], 1] == ABSENT).all()
    assert sorted(grid.rows[0]) == list(range(grid.n, grid.n + 4))


def test_facts_are_compared_as_logarithms_and_unknown_ones_are_average():
    z = standardised([{"gflop": 1.0}, {"gflop": 4.0}, {}, {"gflop": 2.0, "unheard_of": 3.0}])
    assert z.shape == (4, 1)
    assert z[:, 0] == pytest.approx([-1, 1, 0, 0], abs=1e-9)


def shuffled(task: Task, seed: int) -> Task:
    order = np.random.default_rng(seed).permutation(len(task.observed))
    observed = (Observation(o.position, task.observed[i].metrics) for o, i in zip(task.observed, order, strict=True))
    return Task(task.name, task.space, tuple(observed))


def test_sources_whose_values_were_shuffled_are_not_believed():
    true = shifted_sources()
    assert credible(true, RPS) is true
    assert credible(tuple(shuffled(task, i) for i, task in enumerate(true)), RPS) == ()
    assert credible(tuple(shuffled(task, 0) for task in true), RPS) == ()
    assert credible((true[0], shuffled(true[1], 1)), RPS) == true[:1]


def test_the_space_of_the_problem_may_be_a_part_of_the_sources():
    problem, _ = roofline_problem()
    part = problem.space.subset(np.arange(0, len(problem.space), 7))
    beliefs = from_sources(Problem(part, problem.objective), shifted_sources(), RPS)
    assert beliefs["rps"].mean.shape == (len(part),)
