"""Measuring a replica by a load actor, without Ray: where the actor is, what it is told, and how it may end."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import ray

from serve_deployments.backend import LoadFailed
from serve_deployments.measuring.in_cluster import measure
from serve_deployments.measuring.in_cluster.measure import WithLoadActor, _away_from
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.metrics.measurement import Measurement
from serve_deployments.settings import Settings
from tests.levels import a_level


def node(name, host, alive=True, **resources):
    return {"NodeID": name, "NodeManagerHostname": host, "Alive": alive, "Resources": resources}


def test_load_comes_from_another_machine_without_gpus_then_with_many_cores(monkeypatch):
    nodes = [node("own", "here", CPU=64)]
    context = SimpleNamespace(get_node_id=lambda: "own")
    fake = SimpleNamespace(nodes=lambda: nodes, get_runtime_context=lambda: context)
    monkeypatch.setattr(measure, "ray", fake)
    assert _away_from("here") == "own"
    nodes.append(node("dead", "there", alive=False, CPU=99))
    assert _away_from("here") == "own"
    nodes.append(node("gpu", "there", CPU=96, GPU=1))
    assert _away_from("here") == "gpu"
    nodes.append(node("small", "far", CPU=4))
    assert _away_from("here") == "small"
    nodes.append(node("large", "farther", CPU=16))
    assert {_away_from("here") for _ in range(5)} == {"large"}
    nodes.append(node("bare", "none"))
    assert _away_from("here") == "large" and _away_from("elsewhere") == "own"
    nodes.append(node("alike", "there too", CPU=16))
    assert {_away_from("here") for _ in range(64)} == {"large", "alike"}


LABELS = {"study": "known", "run": "1"}


class RemoteCalls:
    """A load actor as its caller sees it; `get` hands out what each call was to give, or raises it."""

    def __init__(self, given):
        self.given, self.calls = given, []

    def __getattr__(self, name):
        def remote(*words):
            self.calls.append((name, words))
            return name

        return SimpleNamespace(remote=remote)

    def get(self, name, timeout=None):
        self.calls.append((f"get {name}", timeout))
        given = self.given.get(name)
        if isinstance(given, Exception):
            raise given
        return given


@pytest.fixture
def measured(monkeypatch):
    """A measurement of a replica on the machine "here", by an actor whose calls give this; and the actor's calls."""

    def of(**given):
        actor = RemoteCalls({"pin_to_free_cores": True, "is_apart": True, "run": level_of(), **given})

        @contextmanager
        def kept(node):
            actor.calls.append(("kept for", node))
            yield actor

        monkeypatch.setattr(measure, "load_actor", kept)
        monkeypatch.setattr(measure, "_away_from", lambda hostname: f"away from {hostname}")
        monkeypatch.setattr(measure, "ray", SimpleNamespace(get=actor.get, exceptions=ray.exceptions))
        running = SimpleNamespace(facts=lambda: SimpleNamespace(hostname="here"), endpoint="endpoint")
        with_actor = WithLoadActor(LoadTest(LoadPlan(total_max_s=30.0)), ["a", "b"], places=[7, 5], labels=LABELS)
        return actor, lambda: with_actor(running, Settings(), to_beat_rps=7.0)

    return of


def level_of(**more):
    return Measurement("peak_rate", (a_level(clients=1, **more),), 0, True, False, 1.0, "")


def test_a_sample_that_fails_is_named_by_its_place_in_the_user_s_samples(measured):
    _, measure_it = measured(run=level_of(failed_samples=((1, "refused"),)))
    assert measure_it() == level_of(failed_samples=((5, "refused"),))


def test_a_replica_is_measured_from_away_with_all_that_was_asked(measured):
    """Each call is waited for before the next one; the answer no longer than its plan takes, and a start."""
    actor, measure_it = measured()
    assert measure_it() == level_of()
    endpoint, payloads = dict(actor.calls)["set_target"]
    assert endpoint() == "endpoint" and payloads == ["a", "b"]
    assert actor.calls == [
        ("kept for", "away from here"),
        ("set_target", (endpoint, payloads)), ("get set_target", None),
        ("pin_to_free_cores", ()), ("get pin_to_free_cores", None),
        ("run", (LoadTest(LoadPlan(total_max_s=30.0)), Settings(), 7.0, LABELS)),
        ("get run", 30.0 + 2 * 30.0 + 60.0),
        ("is_apart", ()), ("get is_apart", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("failed", "left_out"),
    [
        ("set_target", ["pin_to_free_cores", "run", "is_apart"]),
        ("pin_to_free_cores", ["run", "is_apart"]),
        ("run", ["is_apart"]),
    ],
)
def test_a_call_that_fails_ends_the_measurement_and_none_follows(measured, failed, left_out):
    """An actor that was not given its target would measure the replica of the trial before."""
    actor, measure_it = measured(**{failed: ray.exceptions.RayTaskError(failed, "traceback", ValueError("no"))})
    with pytest.raises(ray.exceptions.RayTaskError):
        measure_it()
    assert not {name for name, _ in actor.calls} & set(left_out)


@pytest.mark.parametrize(("before", "after"), [(True, True), (True, False), (False, True)])
def test_the_load_was_apart_if_it_was_from_its_begin_to_its_end(measured, before, after):
    _, measure_it = measured(pin_to_free_cores=before, is_apart=after)
    assert measure_it().apart is (before and after)


def test_a_load_test_that_does_not_end_says_why(measured):
    failed = LoadFailed("a sender has ended")
    task_error = ray.exceptions.RayTaskError("run", "traceback", failed)
    with pytest.raises(LoadFailed, match="^a sender has ended$"):
        measured(run=task_error)[1]()
    with pytest.raises(ray.exceptions.RayTaskError):
        measured(run=ray.exceptions.RayTaskError("run", "traceback", KeyError("x")))[1]()
    with pytest.raises(LoadFailed, match="^the load test did not end: GetTimeoutError: too late$"):
        measured(run=ray.exceptions.GetTimeoutError("too late\nand more"))[1]()
    with pytest.raises(LoadFailed, match="^the load test did not end: GetTimeoutError$"):
        measured(run=ray.exceptions.GetTimeoutError(" "))[1]()
