"""The pool in an actor says what a pool says; and when the actor is gone, trials go on without one."""

from types import SimpleNamespace

import pytest
from ray.exceptions import RayActorError

from serve_deployments.replicas.warm import shared_pool as module
from serve_deployments.replicas.warm.pool import Pool
from serve_deployments.replicas.warm.shared_pool import SharedPool, shared_pool
from serve_deployments.replicas.warm.transition import WarmReplica
from serve_deployments.settings import Settings

ONE, GPU = Settings(), Settings(gpu_type="T4")
HERE = "ab" * 28


class Actor:
    """A pool behind an actor's handle: a call is made when its answer is fetched."""

    def __init__(self, pool):
        self.pool, self.dead = pool, False

    def __getattr__(self, name):
        return SimpleNamespace(remote=lambda *args: lambda: getattr(self.pool, name)(*args))


class FakeRay:
    """The part of Ray that `shared_pool` touches."""

    exceptions = SimpleNamespace(RayActorError=RayActorError)

    def __init__(self):
        self.dead, self.killed, self.options, self.actor = False, [], {}, None

    def get(self, call):
        if self.dead:
            raise RayActorError
        return call()

    def remote(self, what):
        def options(**told):
            self.options = told
            return SimpleNamespace(remote=self._make)

        assert what is Pool
        return SimpleNamespace(options=options)

    def _make(self, *args, shown_to):
        assert shown_to is None, "it has no labels to be shown with"
        self.actor = Actor(Pool(*args))
        return self.actor

    def get_runtime_context(self):
        return SimpleNamespace(get_node_id=lambda: HERE)

    def kill(self, actor):
        self.killed.append(actor)


@pytest.fixture
def ray(monkeypatch):
    fake = FakeRay()
    monkeypatch.setattr(module, "ray", fake)
    return fake


def story(pool):
    """Everything that can be asked of a pool, and what it answered."""
    a, gpu = WarmReplica("a", ONE, "n", group="cores of a"), WarmReplica("g", GPU, "m")
    said = [pool.add("t", a), pool.add("t", gpu), pool.held(), pool.park("t", a, 0.01), pool.park("t", gpu, 0.9)]
    said += [
        pool.groups(),
        pool.add("w", WarmReplica("w", ONE, "n")),
        pool.take("u", ONE, "m"),
        pool.evict("u", "T4", "n"),
    ]
    said += [pool.evict("u", "T4", "m"), pool.drop("u"), pool.idle(), pool.held()]
    pool.forget("w")
    said += [pool.held()]
    b, c = WarmReplica("b", ONE, "n", group="cores of b"), WarmReplica("c", ONE, "n", model="another")
    for kept in (b, c):
        pool.add("t", kept)
        pool.park("t", kept)
    said += [pool.spare(), pool.spare(), pool.take("v", ONE, "m"), pool.take("v", ONE, "n")]
    return [*said, pool.take("v", ONE, "n"), pool.take("v", ONE, "n", "another"), pool.held()]


def test_it_says_what_the_pool_says(ray):
    class AtOnce(Actor):
        def __getattr__(self, name):
            if name != "forget":
                return super().__getattr__(name)
            return SimpleNamespace(remote=self.pool.forget)  # nobody fetches its answer

    shared = SharedPool(AtOnce(Pool()))
    assert story(shared) == story(Pool()) and not shared.gone and not Pool().gone


def test_when_the_actor_is_gone_nothing_is_idle_and_nothing_is_kept(ray):
    kept = WarmReplica("a", ONE, "n")
    questions: dict[str, tuple[tuple[object, ...], object]] = {
        "take": (("t", ONE), None),
        "add": (("t", kept), ()),
        "park": (("t", kept), (kept,)),  # for the trial to take down
        "evict": (("t", "T4"), None),
        "drop": (("t",), ()),
        "spare": ((), ()),
        "groups": ((), frozenset()),
        "idle": ((), ()),
        "held": ((), {}),
    }
    ray.dead = True
    for name, (args, answer) in questions.items():
        shared = SharedPool(Actor(Pool()))
        shared.forget("a")
        assert not shared.gone
        assert getattr(shared, name)(*args) == answer and shared.gone


def test_it_takes_no_core_stays_on_this_node_and_ends_with_its_context(ray):
    with pytest.raises(ZeroDivisionError), shared_pool(2) as pool:
        assert ray.options["num_cpus"] == 0
        assert ray.options["scheduling_strategy"].node_id == HERE and not ray.options["scheduling_strategy"].soft
        for number in range(3):
            kept = WarmReplica(str(number), ONE, "n")
            pool.add("t", kept)
            gone = pool.park("t", kept)
        assert [each.app for each in gone] == ["0"] and [each.app for each in pool.idle()] == ["1", "2"]
        assert ray.killed == []
        raise ZeroDivisionError
    assert ray.killed == [ray.actor]
