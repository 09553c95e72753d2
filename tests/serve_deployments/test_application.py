"""What is exported is what was measured: the same model, settings, batches and queue, over HTTP; without Ray."""

import asyncio
import os
from concurrent.futures import Executor, Future
from dataclasses import asdict
from typing import Any

import pytest
import yaml
from ray.serve.exceptions import RayServeException

from raytune_infer.export import serve_config
from raytune_infer.spec import load_spec
from serve_deployments.models.model import Builder, Weights
from serve_deployments.replicas import hosting, serve_backend
from serve_deployments.replicas.application import application
from serve_deployments.replicas.backend import ReplicaDied
from serve_deployments.replicas.fakes import run_virtual
from serve_deployments.replicas.hosting import HostedModel
from serve_deployments.replicas.replica import NotServing, Replica, ReplicaServer
from serve_deployments.replicas.serve_backend import ServeBackend
from serve_deployments.settings import Settings

# Emulated, so that nothing is pinned: the replica is in the tests' own process.
MEASURED = Settings(cpu_cores=2, max_batch_size=3, batch_wait_ms=250, emulated=True, args={"factor": 10})


def model(factor, precision="float32"):
    """Says with whom each was answered."""

    async def batch(payloads):
        return [{"times": factor * payload["x"], "of": len(payloads)} for payload in payloads]

    return batch


SOURCE = Builder(f"{__name__}:model")


class AtOnce(Executor):
    """In place of threads, which know nothing of virtual time."""

    def __init__(self, **options):
        pass

    def submit(self, call, /, *args, **kwargs):
        done: Future[Any] = Future()
        try:
            done.set_result(call(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


@pytest.fixture(autouse=True)
def without_threads(monkeypatch):
    monkeypatch.setattr(hosting, "ThreadPoolExecutor", AtOnce)


def exported(settings, tmp_path):
    path = tmp_path / "service.yaml"
    path.write_text(
        f"name: demo\nmodel: {{build: '{SOURCE.reference}', args: {{factor: 10}}}}\nsamples: [{{x: 1}}]\n"
        "knobs: {max_batch_size: [1, 3]}\nobjective: {maximize: rps}\n"
    )
    return yaml.safe_load(serve_config(load_spec(path), settings))


def test_the_exported_application_is_the_replica_that_was_measured(tmp_path):
    [app] = exported(MEASURED, tmp_path)["applications"]
    assert app["import_path"] == "serve_deployments.replicas.application:application"
    bound: Any = application(app["args"])._bound_deployment
    source, settings = bound.init_args
    assert source == SOURCE and Settings(**settings) == MEASURED
    [deployment] = app["deployments"]
    assert deployment["name"] == bound.name == Replica.name
    assert deployment["num_replicas"] == 1 and deployment["ray_actor_options"]["num_cpus"] == 2


@pytest.mark.parametrize("max_batch_size", [1, 3, 700])
def test_as_many_requests_are_let_in_as_while_it_was_measured(tmp_path, deployed, max_batch_size):
    """Serve's own default of 5 would cap every batch, and nobody would see why."""
    settings = Settings(max_batch_size=max_batch_size, emulated=True, args={"factor": 10})
    [app] = exported(settings, tmp_path)["applications"]
    measured = deployed(settings)
    assert measured.max_ongoing_requests == app["deployments"][0]["max_ongoing_requests"]
    assert measured.max_ongoing_requests == max(1024, 2 * max_batch_size)


def test_weights_stay_weights():
    args = {"model": asdict(Weights("package:x/y", "onnx")), "settings": Settings().as_dict()}
    bound: Any = application(args)._bound_deployment
    source, settings = bound.init_args
    assert source == Weights("package:x/y", "onnx") and Settings(**settings) == Settings()


class Request:
    """An HTTP request as Starlette has it: its body is JSON, and has to be waited for."""

    def __init__(self, body):
        self.body = body

    async def json(self):
        await asyncio.sleep(0)
        return self.body


def served(settings, main, args=()):
    """What `main` makes of a replica as Serve would start it, in virtual time."""

    async def all_of_it():
        server: Any = object.__new__(ReplicaServer)
        await server.__init__(SOURCE, settings, *args)
        return await main(server)

    return run_virtual(all_of_it())


def test_over_http_the_decoded_body_is_the_payload():
    async def ask(server):
        return await server(Request({"x": 4}))

    assert served(MEASURED.as_dict(), ask) == {"times": 40, "of": 1}


def test_a_deployed_replica_batches_as_it_did_while_it_was_measured():
    """Batches of three at most; a single request waits 250 ms for others, and no longer."""

    async def ask(server):
        loop, began = asyncio.get_running_loop(), asyncio.get_running_loop().time()

        async def one(x):
            answer = await server(Request({"x": x}))
            return answer["of"], round(loop.time() - began, 6)

        alone = await one(1)
        began = loop.time()
        return alone, await asyncio.gather(*(one(x) for x in range(4)))

    alone, four = served(MEASURED.as_dict(), ask)
    assert alone == (1, 0.25)
    assert four == [(3, 0.0)] * 3 + [(1, 0.25)]


def test_a_parked_or_changed_replica_serves_what_it_is_told_and_nobody_meanwhile():
    async def ask(server):
        before = await server.facts()
        with pytest.raises(NotServing):
            await server.infer({"x": 1})
        changed = await server.change({**MEASURED.as_dict(), "batch_wait_ms": 0}, pid=None)
        answer = await server.infer({"x": 1})
        parked = await server.park("cores of t")
        with pytest.raises(NotServing):
            await server.infer({"x": 1})
        idle = await server.facts()
        again = await server.change({**MEASURED.as_dict(), "batch_wait_ms": 500})
        both = await asyncio.gather(server.infer({"x": 1}), server.infer({"x": 2}))
        return before, changed, answer, parked, idle, again, both, await server.facts(), await server.usage()

    before, changed, answer, parked, idle, again, both, after, usage = served(None, ask)
    assert before.failure is None and before.idle_with is None and changed.failure is None
    assert answer == {"times": 10, "of": 1} and parked.idle_with is None and idle.idle_with == "cores of t"
    assert again.failure is None and after.idle_with is None
    assert both == [{"times": 10, "of": 2}, {"times": 20, "of": 2}] and usage.batches == {1: 1, 2: 1}
    assert before.pid == os.getpid() and 0 < after.free_memory < 1 and after.raised == 0


def test_a_process_that_is_not_the_one_that_was_meant_is_not_changed():
    async def ask(server):
        facts = await server.change(MEASURED.as_dict(), pid=-5)
        with pytest.raises(NotServing):
            await server.infer({"x": 1})
        return facts.failure

    assert served(None, ask) == "NotServing: process -5 has ended"


def test_what_waits_is_refused_and_what_runs_ends_before_a_change(monkeypatch):
    """A batch of two runs for a second, a third request waits: the change comes after the two were answered."""

    async def slow(self, payloads):
        await asyncio.sleep(1.0)
        return payloads

    monkeypatch.setattr(HostedModel, "__call__", slow)

    async def ask(server):
        loop = asyncio.get_running_loop()
        two = [asyncio.create_task(server.infer({"x": x})) for x in range(2)]
        await asyncio.sleep(0.5)
        third = asyncio.create_task(server.infer({"x": 3}))
        await asyncio.sleep(0.1)
        began = loop.time()
        facts = await server.change({**MEASURED.as_dict(), "max_batch_size": 2})
        return facts.failure, loop.time() - began, await asyncio.gather(*two, third, return_exceptions=True)

    failure, took_s, (first, second, third) = served({**MEASURED.as_dict(), "max_batch_size": 2}, ask)
    assert failure is None and 0.4 <= took_s < 0.5
    assert (first, second) == ({"x": 0}, {"x": 1}) and isinstance(third, NotServing)


def test_a_batch_that_does_not_end_makes_parking_fail_in_time(monkeypatch):
    async def stuck(self, payloads):
        await asyncio.sleep(3600)

    monkeypatch.setattr(HostedModel, "__call__", stuck)

    async def ask(server):
        task = asyncio.create_task(server.infer({"x": 1}))
        await asyncio.sleep(1.0)
        facts, took_s = await server.park("cores"), asyncio.get_running_loop().time() - 1.0
        task.cancel()
        return facts, took_s

    facts, took_s = served(MEASURED.as_dict(), ask)
    assert facts.failure == "a batch under way did not end in 10 s" and took_s == pytest.approx(10, abs=0.3)
    assert facts.idle_with is None


@pytest.fixture
def deployed(monkeypatch):
    """The deployment that Serve would be given, of one that never comes up."""

    class Change:
        def result(self, timeout_s):
            raise RayServeException("stop here")

        def cancel(self):
            pass

    class Handle:
        class change:
            @staticmethod
            def remote(settings):
                return Change()

    def deploy(settings):
        targets = []
        monkeypatch.setattr(serve_backend, "run_many", lambda wanted, **options: targets.extend(wanted))
        monkeypatch.setattr(serve_backend, "handle_of", lambda app: Handle)
        monkeypatch.setattr(serve_backend, "_details", lambda app: {})
        monkeypatch.setattr(serve_backend, "with_job_environment", lambda options: options)
        backend = ServeBackend(SOURCE, [{"x": 1}], "study")
        with pytest.raises(ReplicaDied):
            backend.deploy("study-t", settings, {"num_cpus": 1})
        [target] = targets
        assert target.name == "study-t" and target.route_prefix is None
        deployment = target.target._bound_deployment
        assert deployment.init_args == (SOURCE, None, [{"x": 1}]) and deployment.num_replicas == 1
        assert deployment.ray_actor_options["num_cpus"] == 1
        return deployment

    return deploy
