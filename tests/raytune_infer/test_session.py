"""The environment of a Ray that is started here: nobody else's is touched, and what the user sets stands."""

import os
from contextlib import contextmanager

import pytest
import ray

from raytune_infer import session
from raytune_infer.errors import UserError

NICENESS = "RAY_worker_niceness"


def niceness(monkeypatch, folder, *, address=None, asked=None):
    """What Ray finds in the environment as it starts."""
    found = []

    @contextmanager
    def connected(*args, **options):
        found.append(os.environ.get(NICENESS))
        yield

    monkeypatch.setattr(session, "_connected", connected)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv(NICENESS, raising=False)
    if asked is not None:
        monkeypatch.setenv(NICENESS, asked)
    with session.ray_session(address=address, emulate=None, folder=folder):
        pass
    assert os.environ.get(NICENESS) == asked
    return found


def test_workers_of_a_ray_of_our_own_do_not_yield_to_others(monkeypatch, tmp_path):
    assert niceness(monkeypatch, tmp_path) == ["0"]
    assert niceness(monkeypatch, tmp_path, asked="7") == ["7"]
    assert niceness(monkeypatch, tmp_path, address="auto") == [None]


def test_a_ray_that_does_not_start_in_time_is_tried_again_then_a_sentence_and_another_error_is_not_hidden(
    monkeypatch, tmp_path
):
    said = ["The current node timed out during startup. This could happen because ..."]
    started: list[dict] = []

    def init(**options):
        started.append(options)
        if len(started) % 4:
            raise Exception(said[0])

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match="^Ray did not start within its 30 s"):
        with session.ray_session(address=None, emulate=None, folder=tmp_path):
            pass
    assert len(started) == 3
    with session.ray_session(address=None, emulate=None, folder=tmp_path):
        assert len(started) == 4 and started[3] == started[0]
    said[0] = "another"
    with pytest.raises(Exception, match="^another$") as raised:
        with session.ray_session(address=None, emulate=None, folder=tmp_path):
            pass
    assert raised.type is Exception and len(started) == 5
