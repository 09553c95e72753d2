"""What every package's tests share."""

import os
import sys
from collections.abc import Iterator

import pytest


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that use Ray go first, and all to one of the processes that tests are run in.

    They share a cluster and mostly wait for it; meanwhile the other process does the rest, which mostly computes.
    """
    for item in items:
        if item.get_closest_marker("ray") or "local_ray" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("ray"))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group") is None)


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
        ray.init(
            address="local",
            num_cpus=4,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=128 * 1024**2,
        )
        yield
        ray.shutdown()
