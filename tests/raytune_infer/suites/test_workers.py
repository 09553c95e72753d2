"""Work in processes: `starmap` stands for work, as it takes a function and an iterator over its arguments."""

import operator
import os
from itertools import starmap
from multiprocessing import active_children

import pytest

from raytune_infer.suites.workers import WorkerDied, in_processes


def test_all_units_are_done_whoever_does_them():
    assert sorted(in_processes(starmap, operator.mul, [(k, k) for k in range(7)], jobs=2)) == [0, 1, 4, 9, 16, 25, 36]
    assert not active_children()


def test_children_have_one_thread_and_the_parent_its_own_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert list(in_processes(starmap, os.getenv, [("OMP_NUM_THREADS",)], jobs=1)) == ["1"]
    assert os.environ["OMP_NUM_THREADS"] == "7"


@pytest.mark.parametrize(
    ("work", "arguments", "said"), [(operator.truediv, (1, 0), "ZeroDivisionError"), (os._exit, (3,), "exit code 3")]
)
def test_a_process_that_dies_is_noticed_and_the_others_are_ended(work, arguments, said):
    with pytest.raises(WorkerDied, match=said):
        list(in_processes(starmap, work, [arguments, arguments], jobs=2))
    assert not active_children()


def test_leaving_early_ends_the_processes():
    ready = in_processes(starmap, operator.mul, [(k, k) for k in range(7)], jobs=1)
    assert next(ready) == 0
    ready.close()
    assert not active_children()
