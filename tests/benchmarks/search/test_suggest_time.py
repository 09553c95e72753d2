"""Seconds of a suggestion: what is timed, and what a process that is timed answers."""

import math
from multiprocessing import Pipe

import pytest

from benchmarks.search.suggest_time import KNOBS, SIZES, Timed, _next, knobs, observed, setting
from cluster.emulated.profiles import PROFILES
from raytune_infer.priors.emulated_tasks import time_batches
from searchers.base import Observation
from searchers.space import Space


def test_spaces_of_a_thousand_and_a_million_configurations():
    for size, sizes in SIZES.items():
        assert math.prod(len(knob.values) for knob in knobs(sizes)) == size
        assert tuple(knob.name for knob in knobs(sizes)) == KNOBS


def test_a_few_configurations_are_emulated_as_in_the_whole_space():
    problem, model = setting(1000)
    whole = time_batches(model, problem.space).metrics()
    assert observed(problem.space, model, [7, 999, 0]) == tuple(Observation(p, whole[p]) for p in (7, 999, 0))
    assert len(problem.sources) == 4 and {len(task.observed) for task in problem.sources} == {100}
    assert len({task.name for task in problem.sources} - {model.name}) == 4
    assert isinstance(problem.space, Space) and model in PROFILES


def test_what_a_timed_process_answers():
    ours, theirs = Pipe()
    with pytest.raises(TimeoutError):
        _next(ours, 0)
    theirs.send(0.5)
    assert _next(ours, 1) == 0.5
    theirs.send("needs more than 8 GiB")
    with pytest.raises(RuntimeError, match="8 GiB"):
        _next(ours, 1)
    assert Timed(1.0, (3.0, 1.0, 2.0)).cells() == ["1.000", "2.000"]
    assert Timed(wrong="skipped").cells() == ["–", "skipped"]
