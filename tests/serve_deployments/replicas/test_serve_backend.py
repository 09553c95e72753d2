"""Replicas on a Serve that is not there: how long each is waited for, what each end of the wait is called, teardown."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray.serve.exceptions import RayServeException

from serve_deployments.backend import (
    DeployFailed,
    DeployTimeout,
    ModelStuck,
    NodeDied,
    OutOfMemory,
    ReplicaDied,
    Startup,
)
from serve_deployments.models.model import Builder
from serve_deployments.replicas import serve_backend
from serve_deployments.replicas.handles import HandleEndpoint
from serve_deployments.replicas.serve_backend import (
    ServeBackend,
    ServeReplica,
    check,
    check_same,
    delete_left_behind,
    with_job_environment,
)
from serve_deployments.settings import Settings
from tests.serve_deployments.replicas.fake_serve import NEVER, FakeServe, facts

ONE = Settings(env={"A": "1"})


@pytest.fixture
def on(monkeypatch):
    """(Serve, backend) where this happens to what is deployed, in a job of this environment."""

    def made(job=None, **happens):
        fake = FakeServe(**happens)
        monkeypatch.setattr(serve_backend, "time", fake)
        monkeypatch.setattr(serve_backend, "serve", fake)
        monkeypatch.setattr(serve_backend, "run_many", fake.run_many)
        monkeypatch.setattr(serve_backend, "handle_of", fake.handle_of)
        monkeypatch.setattr(serve_backend, "forget", fake.forgotten.append)
        monkeypatch.setattr(serve_backend, "get_global_client", lambda: fake)
        monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(runtime_env=job or {}))
        backend = ServeBackend(Builder("a:b"), ["x"], "study", deadline_s=120.0, queue_s=900.0, route="/r")
        return fake, backend

    return made


def ran(backend, settings=ONE):
    with backend.running(settings, "t") as replica:
        return replica


def test_a_replica_takes_on_its_settings_and_is_gone_afterwards(on):
    fake, backend = on(ready_s=12.0)
    with backend.running(ONE, "t") as replica:
        assert replica == ServeReplica("study-t", Startup(False, {"deploy": 12.0}))
        assert isinstance(replica.endpoint, HandleEndpoint) and replica.endpoint.app == "study-t"
        assert set(fake.status().applications) == {"study-t"}
    assert fake.asked == [("study-t", "change", ONE.as_dict(), None, ["x"]), ("study-t", "facts")]
    assert not fake.status().applications and fake.forgotten == ["study-t"]
    [target] = fake.targets
    assert (target.name, target.route_prefix) == ("study-t", "/r")
    assert target.target._bound_deployment.init_args == (Builder("a:b"),)


@pytest.mark.parametrize(
    ("settings", "gpus"),
    [
        (ONE, None),
        (Settings(gpu_type="T4"), 1),
        (Settings(gpu_type="T4", gpu_share=0.25, gpu_memory=0.5), 1),  # two at once would measure each other
    ],
)
def test_while_a_replica_is_measured_its_gpu_is_its_own(on, settings, gpus):
    fake, backend = on()
    ran(backend, settings)
    options = fake.targets[0].target._bound_deployment.ray_actor_options
    assert options.get("num_gpus") == gpus and options["num_cpus"] == 1


@pytest.mark.parametrize(("placed_s", "ready_s"), [(0.0, 119.0), (500.0, 619.0), (899.0, 1018.0)])
def test_a_model_has_all_of_its_time_however_long_the_replica_waited_for_room(on, placed_s, ready_s):
    _, backend = on(placed_s=placed_s, ready_s=ready_s)
    assert ran(backend).startup.seconds == {"deploy": ready_s}


@pytest.mark.parametrize("placed_s", [0.0, 500.0])
def test_a_model_that_takes_longer_is_said_to_with_serves_words(on, placed_s):
    fake, backend = on(placed_s=placed_s, ready_s=NEVER)
    with pytest.raises(DeployTimeout) as caught:
        ran(backend)
    assert str(caught.value) == (
        "the replica was not ready after 120 s (waits 1 replica is STARTING); "
        "raise `budget.deploy_s` if the model takes longer to load"
    )
    assert fake.time_s - fake.began_s == pytest.approx(placed_s + 120, abs=1.5)
    assert fake.responses[0].cancelled and not fake.status().applications


def test_what_finds_no_room_is_given_up_and_what_would_help_is_said(on):
    fake, backend = on(placed_s=NEVER, ready_s=NEVER)
    with pytest.raises(DeployTimeout, match=r"no node had room for .*'num_cpus': 1.* within 900 s; free these"):
        ran(backend)
    assert fake.time_s - fake.began_s == pytest.approx(900, abs=1.5) and fake.responses[0].cancelled


def test_others_make_room_as_long_as_there_is_none_and_not_while_the_model_loads(on):
    """A node after 3 s, the model after 60 s more."""
    fake, backend = on(placed_s=3.0, ready_s=63.0)
    asked_s: list[float] = []
    backend.deploy("study-t", ONE, {}, while_waiting=lambda: asked_s.append(fake.time_s - fake.began_s))
    assert asked_s == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.5])


def test_what_ends_the_wait_ends_it(on):
    def gone():
        raise NodeDied("node a is gone")

    fake, backend = on(placed_s=NEVER, ready_s=NEVER)
    with pytest.raises(NodeDied, match="node a is gone"):
        backend.deploy("study-t", ONE, {}, while_waiting=gone)
    assert fake.responses[0].cancelled


def test_a_deployment_that_serve_gave_up_fails_with_its_words(on):
    fake, backend = on(ready_s=NEVER, failed_s=5.0)
    with pytest.raises(DeployFailed, match=r"^waits 1 replica is STARTING$"):
        ran(backend)
    assert fake.time_s - fake.began_s < 7 and not fake.status().applications


@pytest.mark.parametrize("error", [ray.exceptions.ActorDiedError(), RayServeException("unavailable")])
def test_a_process_that_ends_before_it_was_ready_is_lost(on, error):
    fake, backend = on(answer=error)
    with pytest.raises(ReplicaDied, match=r"ended before it was ready \(waits 1 replica is STARTING\)"):
        ran(backend)
    assert not fake.status().applications


STATES = [
    (facts(), None),
    (facts(failure="ValueError: weights"), "ValueError: weights"),
    (facts(out_of_memory="2 GiB"), "2 GiB"),
    (facts(failure="OutOfMemoryError: 2 GiB", out_of_memory="2 GiB"), "2 GiB"),  # the one is due to the other
    (facts(pid=8), "process 7 on host has ended"),  # Serve started another one
]


@pytest.mark.parametrize(
    ("told", "says", "error"),
    [
        (told, says, error)
        for (told, says), error in zip(STATES, [None, ModelStuck, OutOfMemory, OutOfMemory, ReplicaDied], strict=True)
    ],
)
def test_after_the_load_a_replica_has_to_be_well_and_the_same(on, told, says, error):
    fake, backend = on()
    fake.later = told
    if error is None:
        assert ran(backend).app == "study-t" and check_same(7, told) is told
    else:
        with pytest.raises(error, match=says) as caught:
            ran(backend)
        assert type(caught.value) is error
    assert not fake.status().applications


@pytest.mark.parametrize(("number", "error"), [(1, DeployFailed), (2, OutOfMemory), (3, OutOfMemory)])
def test_a_model_that_does_not_run_under_the_settings_is_the_configurations_fault(on, number, error):
    told, says = STATES[number]
    _, backend = on(answer=told)
    with pytest.raises(error, match=says):
        ran(backend)
    assert check(facts()) == facts()


@pytest.mark.parametrize("error", [TimeoutError(), RayServeException("gone"), ray.exceptions.ActorDiedError()])
@pytest.mark.parametrize("asked", ["facts", "change", "park"])
def test_a_replica_that_does_not_answer_is_lost(on, asked, error):
    fake, _ = on(answer=error, ready_s=0.0)
    replica = ServeReplica("study-t")
    change = partial(replica.change, ONE, 7, ["x"], deadline_s=60)
    ask: Any = {"facts": replica.facts, "change": change, "park": replica.park}[asked]
    waits_s = 60 if asked == "change" else 30
    said = f"it did not within {waits_s} s" if isinstance(error, TimeoutError) else type(error).__name__
    with pytest.raises(ReplicaDied, match=f"the replica no longer answers: {said}"):
        ask()
    assert fake.responses[0].waits_s == [waits_s]


def test_a_replica_is_asked_in_its_own_words(on):
    fake, _ = on(ready_s=0.0)
    replica = ServeReplica("study-t")
    assert [replica.facts(), replica.change(ONE, 7, ["x"], deadline_s=9), replica.park("cores")] == [facts()] * 3
    assert [each[1:] for each in fake.asked] == [("facts",), ("change", ONE.as_dict(), 7, ["x"]), ("park", "cores")]


@pytest.mark.parametrize(
    ("job", "own", "environment"),
    [
        ({}, {}, {}),
        ({}, {"env_vars": {"A": "own"}}, {"env_vars": {"A": "own"}}),
        ({"working_dir": "gcs://x.zip"}, {}, {"working_dir": "gcs://x.zip"}),
        ({"env_vars": {"B": "job"}}, {}, {"env_vars": {"B": "job"}}),
        (
            {"working_dir": "gcs://x.zip", "env_vars": {"A": "job", "B": "job"}},
            {"env_vars": {"A": "own"}},
            {"working_dir": "gcs://x.zip", "env_vars": {"A": "own", "B": "job"}},
        ),
        ({"pip": ["a"], "working_dir": "d"}, {"pip": ["b"]}, {"pip": ["b"], "working_dir": "d"}),
    ],
)
def test_a_replicas_environment_adds_to_the_jobs(on, job, own, environment):
    on(job=job)
    options = {"num_cpus": 1, **({"runtime_env": own} if own else {})}
    given = {**options, "runtime_env": dict(own)} if own else dict(options)
    assert with_job_environment(options) == {"num_cpus": 1, **({"runtime_env": environment} if environment else {})}
    assert options == given


def test_what_is_deployed_has_the_jobs_environment(on):
    fake, backend = on(job={"working_dir": "gcs://x.zip", "env_vars": {"A": "job", "B": "job"}})
    ran(backend)
    environment = fake.targets[0].target._bound_deployment.ray_actor_options["runtime_env"]
    assert environment["working_dir"] == "gcs://x.zip"
    assert (environment["env_vars"]["A"], environment["env_vars"]["B"]) == ("1", "job")


def test_what_was_left_behind_is_taken_down_and_no_other_studys(on):
    fake, _ = on()
    others = ["study2-t", "study", "studyx-a", "a-study-t"]
    fake.apps = dict.fromkeys(["study-t", *others, "study-u-2"], NEVER)
    assert delete_left_behind("study") == ("study-t", "study-u-2")
    assert list(fake.status().applications) == others and fake.forgotten == ["study-t", "study-u-2"]


@pytest.mark.parametrize(
    ("gone_after_s", "deadline_s", "took_s"),
    [(0.2, 30.0, 0.2), (10.0, 30.0, 10.0), (NEVER, 30.0, 30.0), (10, 0.0, 0.0)],
)
def test_taking_down_waits_until_serve_has_forgotten_it_but_not_for_ever(on, gone_after_s, deadline_s, took_s):
    fake, _ = on(gone_after_s=gone_after_s)
    fake.apps = {"study-t": NEVER}
    serve_backend.delete("study-t", deadline_s=deadline_s)
    assert fake.time_s - fake.began_s == pytest.approx(took_s, abs=0.06)


def test_taking_down_hides_no_error_that_is_on_its_way(on, monkeypatch):
    fake, backend = on()

    def lost(app, _blocking):
        raise RayServeException("there is no controller")

    monkeypatch.setattr(fake, "delete", lost)
    with pytest.raises(ZeroDivisionError), backend.running(ONE, "t"):
        raise ZeroDivisionError
    backend.remove("never there")
    assert fake.forgotten == ["study-t", "study-never there"]


def test_before_serve_knows_the_application_nothing_is_said_of_it(on):
    fake, backend = on(answer=RayServeException("unavailable"))
    fake.get_serve_details = lambda: {"applications": {}}
    with pytest.raises(ReplicaDied, match=r"\(Serve gave no message\)"):
        ran(backend)
