"""The environment of a Ray that is started here: nobody else's is touched, and what the user sets stands."""

import os
from contextlib import contextmanager

import pytest
import ray

from raytune_infer import session

NICENESS = "RAY_worker_niceness"


def niceness(monkeypatch, folder, *, address=None, asked=None):
    """What Ray finds in the environment as it starts."""
    found = []

    @contextmanager
    def connected(*args, **options):
        found.append(os.environ.get(NICENESS))
        yield

    monkeypatch.setattr(session, "_connected", connected)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv(NICENESS, raising=False)
    if asked is not None:
        monkeypatch.setenv(NICENESS, asked)
    with session.ray_session(address=address, emulate=None, folder=folder):
        pass
    assert os.environ.get(NICENESS) == asked
    return found


def test_workers_of_a_ray_of_our_own_do_not_yield_to_others(monkeypatch, tmp_path):
    if ray.is_initialized():
        pytest.skip("this process is connected to a cluster, and keeps it")
    assert niceness(monkeypatch, tmp_path) == ["0"]
    assert niceness(monkeypatch, tmp_path, asked="7") == ["7"]
    assert niceness(monkeypatch, tmp_path, address="ray://elsewhere:1") == [None]
