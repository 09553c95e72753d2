"""What is exported is what was measured: the same model, settings and queue; without Ray."""

from dataclasses import asdict, replace
from typing import Any

import pytest
import yaml
from ray.serve.exceptions import RayServeException

from raytune_infer.report.export.serve_config import serve_config
from raytune_infer.spec.service_spec import load_spec
from serve_deployments.backend import ReplicaDied
from serve_deployments.models.model import Builder, ModelFiles
from serve_deployments.replicas import serve_backend
from serve_deployments.replicas.application import application
from serve_deployments.replicas.http.payload_type import AS_JSON
from serve_deployments.replicas.replica import Replica
from serve_deployments.replicas.serve_backend import ServeBackend
from serve_deployments.settings import Settings

MEASURED = Settings(cpu_cores=2, max_batch_size=3, batch_wait_ms=250, emulated=True, args={"factor": 10})


def model(factor):
    return lambda payloads: [factor * payload["x"] for payload in payloads]


SOURCE = Builder(f"{__name__}:model")


def exported(settings, tmp_path):
    path = tmp_path / "service.yaml"
    path.write_text(
        f"name: demo\nmodel: {{build: '{SOURCE.reference}', args: {{factor: 10}}}}\nsamples: [{{x: 1}}]\n"
        "knobs: {max_batch_size: [1, 3]}\nobjective: {maximize: rps}\n"
    )
    return yaml.safe_load(serve_config(load_spec(path), settings, AS_JSON))


def test_the_exported_application_is_the_replica_that_was_measured(tmp_path):
    [app] = exported(MEASURED, tmp_path)["applications"]
    assert app["import_path"] == "serve_deployments.replicas.application:application"
    bound: Any = application(app["args"])._bound_deployment
    source, settings = bound.init_args
    assert source == replace(SOURCE, folder=str(tmp_path)) and Settings(**settings) == MEASURED
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
    args = {"model": asdict(ModelFiles("package:x/y", "onnx")), "settings": Settings().as_dict()}
    bound: Any = application(args)._bound_deployment
    source, settings = bound.init_args
    assert source == ModelFiles("package:x/y", "onnx") and Settings(**settings) == Settings()


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
            def remote(settings, pid, samples):
                assert samples == [{"x": 1}]
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
        assert deployment.init_args == (SOURCE,) and deployment.num_replicas == 1
        assert deployment.ray_actor_options["num_cpus"] == 1
        return deployment

    return deploy
