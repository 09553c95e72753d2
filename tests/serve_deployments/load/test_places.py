"""Where senders can run, on a cluster that is not there: free cores of this machine first, and of every other once."""

import asyncio
import socket
from types import SimpleNamespace

import pytest
from ray.exceptions import GetTimeoutError, RayError

from serve_deployments.fakes.virtual_replicas import run_virtual
from serve_deployments.load import places
from serve_deployments.load.places import Place, free_places
from serve_deployments.load.remote_sender import SenderActor


def id_of(name):
    """Ray takes nothing else."""
    return name.encode().hex().ljust(56, "0")


def name_of(node_id):
    return bytes.fromhex(node_id).rstrip(b"\0").decode()


def node(name, host, alive=True):
    return {"NodeID": id_of(name), "NodeManagerHostname": host, "Alive": alive}


class FakeRay:
    """The part of Ray that `places` touches: nodes, and tasks and actors that run here as if there.

    Args:
        nodes: as `ray.nodes()` tells them; the first is this one.
        free: node → its free cores, or what asking it ends with, or seconds that it takes.
    """

    exceptions = SimpleNamespace(RayError=RayError)

    def __init__(self, nodes, free):
        self.listed, self.free, self.started = nodes, free, []

    def nodes(self):
        return self.listed

    def get_runtime_context(self):
        return SimpleNamespace(get_node_id=lambda: self.listed[0]["NodeID"])

    def remote(self, what):
        def options(**told):
            return SimpleNamespace(remote=lambda: self._begin(what, told))

        return SimpleNamespace(options=options)

    def _begin(self, what, told):
        where = told["scheduling_strategy"]
        assert told["num_cpus"] == 0 and not where.soft  # there or nowhere, and without a place in Ray's books
        self.started.append((what, name_of(where.node_id), told.get("runtime_env")))
        return self._answer(self.free[name_of(where.node_id)])

    async def _answer(self, free):
        if isinstance(free, float):
            await asyncio.sleep(free)
            return frozenset({99})
        if isinstance(free, Exception):
            raise free
        return free


@pytest.fixture
def cluster(monkeypatch):
    def made(nodes, free):
        ray = FakeRay(nodes, free)
        monkeypatch.setattr(places, "ray", ray)
        monkeypatch.setattr(socket, "gethostname", lambda: nodes[0]["NodeManagerHostname"])
        monkeypatch.setattr(places, "machine_cores", lambda: {0, 1, 2})
        monkeypatch.setattr(places, "unleased_cores", lambda cores: set(cores) & free[name_of(nodes[0]["NodeID"])])
        return ray

    return made


def test_there_is_a_place_for_each_free_core_and_this_machine_comes_first(cluster):
    nodes = [node("here", "a"), node("there", "b"), node("full", "c")]
    cluster(nodes, {"here": {1, 2, 7}, "there": frozenset({4, 5, 6}), "full": frozenset()})
    found = run_virtual(free_places())
    assert [(name_of(place.node), place.number) for place in found] == [
        ("here", 0), ("here", 1), ("there", 0), ("there", 1), ("there", 2),
    ]  # fmt: skip
    assert [place.cores for place in found] == [{1, 2}] * 2 + [{4, 5, 6}] * 3


def test_a_machine_counts_once_however_many_nodes_it_has_and_a_dead_one_not_at_all(cluster):
    nodes = [node("here", "a"), node("same", "a"), node("one", "b"), node("two", "b"), node("gone", "c", alive=False)]
    ray = cluster(nodes, {"here": set(), "one": frozenset({0}), "two": frozenset({0})})
    assert [name_of(place.node) for place in run_virtual(free_places())] in (["one"], ["two"])
    assert len(ray.started) == 1


@pytest.mark.parametrize("failing", [RayError("died"), GetTimeoutError("late"), TimeoutError(), 60.0])
def test_a_machine_that_does_not_say_what_is_free_is_left_out(cluster, failing):
    nodes = [node("here", "a"), node("mute", "b"), node("well", "c")]
    cluster(nodes, {"here": {0}, "mute": failing, "well": frozenset({3})})

    async def found():
        return await free_places(), asyncio.get_running_loop().time()

    free, took_s = run_virtual(found())
    assert [name_of(place.node) for place in free] == ["here", "well"] and took_s <= 10


def test_a_slow_machine_is_waited_for(cluster):
    cluster([node("here", "a"), node("slow", "b")], {"here": set(), "slow": 8.0})
    assert [name_of(place.node) for place in run_virtual(free_places())] == ["slow"]


def test_a_sender_starts_at_its_place_on_serves_fastest_path(cluster):
    ray = cluster([node("here", "a"), node("there", "b")], {"here": set(), "there": frozenset()})
    Place(id_of("there"), 0, frozenset()).start().close()
    [(what, where, environment)] = ray.started
    assert what is SenderActor and where == "there"
    assert environment["env_vars"]["RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP"] == "0"


def test_a_place_is_the_same_whatever_cores_are_free_there():
    """Senders are kept by their place, and the free cores change from one moment to the next."""
    assert {Place("n", 0, frozenset({1})): "sender"}[Place("n", 0, frozenset({2, 3}))] == "sender"
    assert len({Place("n", 0, frozenset()), Place("n", 1, frozenset()), Place("m", 0, frozenset())}) == 3
