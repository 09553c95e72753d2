"""Operators called by themselves: all of a real network's, within a bound, whatever fails."""

import itertools
import time

import pytest
import torch

from cluster.operators.curves.benchmark import NotRunnable, call_of, measure
from cluster.operators.curves.point import Job, NotMeasured, Resources
from cluster.operators.curves.timing import Patience
from cluster.operators.scaling import OperatorClass, Size, TensorClass, classes_of
from tests.cluster.operators.test_operator_scaling import trace

QUICK = Patience(most_s=0.002, fewest=4, block_s=0.0001)


def dense(width=4):
    shapes = ((Size(1), Size(0, width)), (Size(0, 3), Size(0, width)), (Size(0, 3),))
    parts = tuple(TensorClass(sizes, "precision", at > 0) for at, sizes in enumerate(shapes))
    return OperatorClass("aten::linear", "dense", parts)


def test_every_operator_of_a_network_can_be_called_by_itself_at_another_batch_and_precision():
    for operator in {each for each in classes_of(trace(2), trace(4)) if each is not None}:
        for precision in ("float32", "bfloat16"):
            call_of(operator, 3, precision)()


def test_the_shapes_are_those_of_the_batch_and_weights_are_taken_in_turn():
    run = call_of(dense(4096), 5, "bfloat16")
    results = [run() for _ in range(3)]
    assert {(tuple(r.shape), r.dtype) for r in results} == {((5, 3), torch.bfloat16)}
    assert not torch.equal(results[0], results[1])  # by other weights


def test_what_cannot_be_called_says_why():
    with pytest.raises(NotRunnable, match="no operator nolib::nothing"):
        call_of(OperatorClass("nolib::nothing", "unmapped", ()), 1, "float32")
    with pytest.raises(NotRunnable, match="aten::linear cannot be called by itself"):
        call_of(OperatorClass("aten::linear", "dense", (1, 2, 3)), 1, "float32")


def test_points_are_measured_under_the_limits_of_each():
    held = []
    jobs = [Job(dense(), Resources(batch, cpu_cores=cores, threads=cores)) for cores in (1, 2) for batch in (1, 2)]
    found = list(measure(jobs, lambda c, t: held.append((c, t)), seconds=5, clock=time.perf_counter, patience=QUICK))
    assert held == [(1, 1), (2, 2)]
    done = [each for each in found if not isinstance(each, NotMeasured)]
    assert [job for job, _ in done] == jobs and all(time.mean_s > 0 for _, time in done)


def test_one_that_fails_leaves_the_others():
    bad = Job(OperatorClass("nolib::nothing", "unmapped", ()), Resources(1))
    found = list(measure([bad, Job(dense(), Resources(1))], lambda *_: None, seconds=5, clock=time.perf_counter))
    assert isinstance(found[0], NotMeasured) and "nolib" in found[0].why and not isinstance(found[1], NotMeasured)


def test_limits_that_cannot_be_held_leave_points_unmeasured():
    def refuse(cores, threads):
        raise RuntimeError("no cores")

    [found] = measure([Job(dense(), Resources(1))], refuse, seconds=5, clock=time.perf_counter)
    assert isinstance(found, NotMeasured) and found.why == "RuntimeError: no cores"


def test_the_seconds_are_a_bound():
    ticks = itertools.count(0, 0.4)  # each look at the clock takes this long
    jobs = [Job(dense(), Resources(batch)) for batch in range(59, 0, -1)]  # none is longer than one before
    found = list(measure(jobs, lambda *_: None, seconds=20, clock=lambda: next(ticks), patience=QUICK))
    done = [each for each in found if not isinstance(each, NotMeasured)]
    assert len(found) == len(jobs) and 0 < len(done) < 20
    left = [each.why for each in found if isinstance(each, NotMeasured)]
    assert all("were over" in why for why in left)


def test_a_batch_that_would_take_too_long_is_not_begun():
    ticks = itertools.count(0, 1.0)
    jobs = [Job(dense(), Resources(batch)) for batch in (1, 1000)]
    small, large = measure(jobs, lambda *_: None, seconds=200, clock=lambda: next(ticks), patience=QUICK)
    assert not isinstance(small, NotMeasured)
    assert isinstance(large, NotMeasured) and "longer than what was left" in large.why
