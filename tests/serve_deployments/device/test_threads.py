"""Threads of torch and of numpy's libraries: set, and read back after the model's own code has run."""

import pytest
import threadpoolctl
import torch

from serve_deployments.device.threads import enforced_threads, set_threads


@pytest.fixture(autouse=True)
def as_before():
    before = torch.get_num_threads()
    with threadpoolctl.threadpool_limits():
        yield
    torch.set_num_threads(before)


def blas():
    """Threads of numpy's library."""
    import numpy  # noqa: F401  # it loads the library

    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]


def test_numpy_and_torch_have_what_was_asked_for():
    for count in (2, 1):
        set_threads(count)
        assert torch.get_num_threads() == count and set(blas()) == {count}
        told = enforced_threads(count)
        assert told.enforced and told.asked == str(count)


def test_what_the_model_set_is_told():
    set_threads(1)
    torch.set_num_threads(3)
    told = enforced_threads(1)
    assert not told.enforced and told.how == "the model set 3"
    set_threads(1)
    threadpoolctl.threadpool_limits(2, user_api="blas")
    told = enforced_threads(1)
    assert not told.enforced and told.how == "the model set 2"


def test_threads_of_other_processes_are_not_told_as_enforced():
    set_threads(1)
    told = enforced_threads(1, processes=2)
    assert not told.enforced and told.how.startswith("the model computes in other processes")
