"""Threads of torch and of numpy's libraries: set, and read back after the model's own code has run."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import threadpoolctl
import torch
from threadpoolctl import OpenBLASController

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


@pytest.mark.parametrize("fewer", [{}, {"user_api": "blas"}], ids=["all", "numpy's alone"])
def test_fewer_threads_than_asked_for_are_told_too(fewer):
    """Of a model that was measured with 2 threads as the configuration has them, and computes with one."""
    set_threads(2)
    threadpoolctl.threadpool_limits(1, **fewer)
    told = enforced_threads(2)
    assert not told.enforced and told.how == "the model set 1"
    assert enforced_threads(2) == told and set(blas()) == {1}  # it was not changed by being read
    set_threads(2)
    torch.set_num_threads(1)
    assert enforced_threads(2).how == "the model set 1"


def test_threads_are_set_and_read_back_where_another_thread_of_the_model_has_set_them():
    """threadpoolctl lets the first one set them that does, as long as it lives, and ignores the others."""
    with ThreadPoolExecutor(1) as other:
        other.submit(threadpoolctl.threadpool_limits, 1, user_api="blas").result()
        set_threads(2)
        assert set(blas()) == {2} and enforced_threads(2).enforced
        other.submit(OpenBLASController.clear_controlling_thread, force=True).result()
        other.submit(threadpoolctl.threadpool_limits, 1, user_api="blas").result()
        assert enforced_threads(2).how == "the model set 1"


def test_a_library_that_cannot_have_more_threads_is_not_told_as_the_models_doing(monkeypatch):
    """As OpenBLAS, which is built for so many at most."""
    most = 2
    pools = [{"filepath": "libopenblas.so", "num_threads": most, "user_api": "blas"}]
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: pools)
    torch.set_num_threads(3)
    assert enforced_threads(3).enforced


def test_threads_of_other_processes_are_not_told_as_enforced():
    set_threads(1)
    told = enforced_threads(1, processes=2)
    assert not told.enforced and told.how.startswith("the model computes in other processes")
