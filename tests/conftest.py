"""What every package's tests share."""

import os
import sys
from collections.abc import Iterator

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests that use Ray say so: they wait for it, beside those that compute (see Makefile)."""
    if "local_ray" in getattr(item, "fixturenames", ()):
        item.add_marker("ray")


def start_ray() -> None:
    import ray

    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=128 * 1024**2,
    )


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One small Ray on this machine for all tests of a session; an initialised one is used as it is."""
    import ray

    if ray.is_initialized():
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        # Workers must be able to import the test module that a trainable is defined in.
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        try:
            start_ray()
        except Exception:  # it says no more: a node that was not up within Ray's own 30 s, on a busy machine
            ray.shutdown()
            start_ray()
        yield
        ray.shutdown()
