"""What a sender's garbage collector goes through in a level: what the level has made, and not all that is imported."""

import asyncio
import gc
import weakref

import pytest

from serve_deployments.device.limits import machine_cores
from serve_deployments.fakes.virtual_replicas import FakeServer
from serve_deployments.load.garbage import set_aside
from serve_deployments.load.remote_sender import SenderActor
from serve_deployments.measuring.in_cluster.actor import LoadActor


class Cycle:
    def __init__(self):
        self.itself = self


@pytest.fixture(autouse=True)
def nothing_set_aside(real_unfreeze):
    gc.unfreeze()


def server():
    return FakeServer(lambda batch: 0.01)


def test_what_was_set_aside_is_collected_when_the_next_target_is_set():
    kept = Cycle()
    seen = weakref.ref(kept)
    set_aside()
    assert gc.get_freeze_count() > 10_000 and not any(each is kept for each in gc.get_objects())
    del kept
    gc.collect()
    assert seen() is not None  # it is among those that no collection looks at
    set_aside()
    assert seen() is None


def test_a_process_that_sends_load_sets_aside_what_it_has_imported():
    made = LoadActor()
    for target in (made.set_target(server, ["a"]), SenderActor().set_target(server, ["a"], 0, 1, machine_cores())):
        gc.unfreeze()
        asyncio.run(target)
        assert gc.get_freeze_count() > 10_000
