"""What is learned from other services: on services whose law is known, so that the right answer is too."""

from typing import Any

import numpy as np
import pytest
import torch

from searchers.base import Observation, Problem, Task
from searchers.meta import source_prior
from searchers.meta.joint_grid import ABSENT, grid_over
from searchers.meta.metric_model import FEASIBLE, MetricModel
from searchers.meta.source_prior import credible, from_sources, standardised
from searchers.objective import Expression, Objective
from searchers.space import Knob, Space
from tests.searched import roofline_problem, shifted_sources

torch.set_num_threads(1)

SPACE = Space([Knob("max_batch_size", (1, 2, 4, 8, 16, 32)), Knob("engine", ("a", "b"), "categorical")])
RPS = MetricModel(("rps",))
PROBLEM = Problem(SPACE, Objective(Expression("rps"), at_most={"p99_ms": 50}), facts={"gflop": 8.0})


def service(size: float, *, every: int = 1) -> Task:
    """Twice the size, half the rate; engine b gains from batches what a does not."""
    observed = []
    for position in range(0, len(SPACE), every):
        config: dict[str, Any] = SPACE[position]
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
    beliefs = from_sources(PROBLEM, (service(2), service(4)), MetricModel(("rps", "ttft_ms")))
    assert beliefs["ttft_ms"].floating and not beliefs["rps"].floating
    assert (beliefs[FEASIBLE].mean > 0.5).all()


def test_sources_of_other_knobs_and_values_share_one_grid():
    other = Space([Knob("max_batch_size", (4, 64)), Knob("beam_width", (1, 2))])
    grid = grid_over(SPACE, [Task("other", other, tuple(Observation(i, {"rps": 1.0}) for i in range(4)))])
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


def test_evidence_of_one_quantity_is_of_that_quantity_alone():
    sources = tuple(service(size) for size in (1, 2, 4, 16))
    blind = tuple(
        Task(t.name, t.space, tuple(Observation(o.position, {"rps": o.metrics["rps"]}) for o in t.observed), t.facts)
        for t in sources
    )
    both = from_sources(PROBLEM, sources, MetricModel(("p99_ms", "rps")))
    alone = from_sources(PROBLEM, blind, MetricModel(("p99_ms", "rps")))
    assert both["rps"].mean == pytest.approx(alone["rps"].mean)
    assert both["rps"].covariance == pytest.approx(alone["rps"].covariance)
    assert alone["p99_ms"].floating and not both["p99_ms"].floating
    assert both["p99_ms"].mean == pytest.approx(np.full(len(SPACE), np.log(24.0)), abs=0.2)


def test_the_problems_own_facts_do_not_move_the_unit_of_facts():
    facts = [{"gflop": 1.0}, {"gflop": 4.0}, {"gflop": 2.0}]
    near, far = (standardised([*facts, {"gflop": own}]) for own in (2.0, 4096.0))
    assert near[:3] == pytest.approx(far[:3])
    assert far[3, 0] == pytest.approx((12 - 1) / np.sqrt(2 / 3)) and near[3, 0] == pytest.approx(0)


def test_facts_that_nobody_has_or_all_share_say_nothing_and_what_is_not_positive_is_unknown():
    z = standardised([{"a": 3.0, "b": -1.0, "c": 1.0}, {"a": 3.0, "c": 4.0}, {"a": 9.0, "b": 2.0, "d": 1.0}])
    assert z.shape == (3, 2)  # a and c
    assert z[:, 0].tolist() == [0, 0, 0] and z[:, 1] == pytest.approx([-1, 1, 0])
    assert standardised([{}, {}]).shape == (2, 0)


def test_few_measurements_are_no_ground_to_disbelieve_a_source():
    task = shuffled(shifted_sources()[0], 0)
    ran = [o for o in task.observed if o.metrics is not None]
    few, enough = (Task("few", task.space, tuple(ran[::20][:count])) for count in (11, 12))
    assert credible((few,), RPS) == (few,)
    assert credible((enough,), RPS) == ()
    assert credible((), RPS) == ()


def test_beliefs_are_about_the_problems_noise_and_cost_nothing_the_second_time():
    sources = tuple(service(size) for size in (1, 4, 16))
    noisy = Problem(SPACE, PROBLEM.objective, facts=PROBLEM.facts, noise=0.2)
    assert from_sources(noisy, sources, RPS)["rps"].noise == pytest.approx(0.04)
    before = source_prior._source_prior.cache_info()
    from_sources(noisy, sources, RPS)
    after = source_prior._source_prior.cache_info()
    assert after.hits - before.hits == 2 and after.misses == before.misses  # rps, and whether it runs


def test_a_direction_is_one_source_in_all_quantities_also_where_a_source_lacks_a_metric():
    """Each service is slow in one configuration of its own: there its rate is low and its latency high."""
    sources = []
    for slow in range(4):
        times = np.where(np.arange(len(SPACE)) == slow, 8.0, 1.0)
        measured = [{"rps": 100 / t} | ({} if slow == 0 else {"p99_ms": 3 * t}) for t in times]
        sources.append(Task(str(slow), SPACE, tuple(Observation(i, m) for i, m in enumerate(measured))))
    beliefs = from_sources(PROBLEM, tuple(sources), MetricModel(("rps", "p99_ms")))
    rate, latency = beliefs["rps"].directions, beliefs["p99_ms"].directions
    assert not latency[0].any()
    assert rate.argmin(axis=1).tolist() == [0, 1, 2, 3] and latency[1:].argmax(axis=1).tolist() == [1, 2, 3]
