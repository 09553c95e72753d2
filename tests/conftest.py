"""What every package's tests share."""

import os
import sys
from collections.abc import Iterator

import pytest


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests that use Ray say so: they wait for it, beside those that compute (see Makefile)."""
    if "local_ray" in getattr(item, "fixturenames", ()):
        item.add_marker("ray")


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
