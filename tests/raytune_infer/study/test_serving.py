"""What a study runs its trials on is set up as service.yaml says, and taken down again: Ray and Serve are stand-ins."""

import datetime as dt
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from raytune_infer.spec.document import Document
from raytune_infer.spec.samples.sample_order import spread
from raytune_infer.spec.service import Service
from raytune_infer.spec.service_spec import parse_spec
from raytune_infer.study import serving
from raytune_infer.study.connection.worker_environment import SENT_BELOW
from serve_deployments.load.arrivals import CONSTANT

SPEC = """\
name: known
model: {build: "cluster.emulated:model", args: {profile: bert-base}}
samples: [x, y]
knobs: {cpu_cores: [1]}
objective: {maximize: rps, at_least: {rps: 3}}
limits: {p99_ms: 70, error_rate: 0.02, usd_per_hour: 9}
budget: {deploy_s: 33}
load: {find: highest_rate, arrivals: constant, precision: 0.1, level_min_s: 2, level_max_s: 3, total_max_s: 40,
       max_concurrency: 17, rate_precision: 0.2}
"""
STUDY: Any = SimpleNamespace(name="known", id=7, seed=3, created_at=dt.datetime(2026, 1, 2, 3, 4, 5))
PREFIX = "raytune-infer-known-20260102-030405-7"
LABELS = {"study": "known", "run": "2026-01-02 03:04:05 #7"}


@pytest.fixture
def told(monkeypatch) -> list:
    """What Serve and the cluster are told, in order."""
    told: list = []

    def backend(source, samples, prefix, *, deadline_s):
        told.append(("backend", source, samples, prefix, deadline_s))
        return SimpleNamespace(prefix=prefix)

    def warm(fresh, pool):
        assert (fresh.prefix, pool) == (PREFIX, "pool")
        return SimpleNamespace(close=lambda: told.append("closed"))

    monkeypatch.setattr(serving, "ServeBackend", backend)
    monkeypatch.setattr(serving, "WarmBackend", warm)
    monkeypatch.setattr(serving, "StoredSamples", SimpleNamespace(put=list))

    def shared_pool(*, labels):
        assert labels == LABELS
        return nullcontext("pool")

    monkeypatch.setattr(serving, "shared_pool", shared_pool)
    monkeypatch.setattr(serving, "release_cores", lambda: told.append("let go"))
    monkeypatch.setattr(serving, "delete_left_behind", lambda prefix: told.append(("deleted", prefix)))
    monkeypatch.setattr(serving, "get_global_client", lambda **options: None)
    monkeypatch.setattr(serving, "serve", SimpleNamespace(
        start=lambda **options: told.append(("start", options)), status=lambda: SimpleNamespace(applications={}),
        shutdown=lambda: told.append("shut down"),
    ))  # fmt: skip
    monkeypatch.setattr(serving, "ray", SimpleNamespace(
        get_runtime_context=lambda: SimpleNamespace(runtime_env={})
    ))  # fmt: skip
    return told


def service(text: str = SPEC, folder: Path = Path(".")) -> Service:
    return Service(parse_spec(Document(text, "known.yaml"), folder=folder))


def test_every_load_test_is_as_the_file_says_and_each_round_has_arrivals_of_its_own(told):
    with serving.on_ray_serve(service(), STUDY) as runtime:
        measures: list[Any] = [runtime.measure, *(runtime.measure_in(number) for number in (1, 2, 3))]
    assert [measure.load_test.plan.seed for measure in measures] == [0, 1, 2, 3]
    for measure in measures:
        assert measure.load_test.at_most == {"p99_ms": 70, "error_rate": 0.02}  # of the load; a price is none of it
        assert measure.load_test.find == "highest_rate"
        assert measure.labels == LABELS  # of its level, while it runs
        plan = measure.load_test.plan
        assert (plan.precision, plan.max_concurrency) == (0.1, 17)
        assert (plan.level_min_s, plan.level_max_s, plan.total_max_s) == (2, 3, 40)
        assert plan.arrivals is CONSTANT
    # The search is coarser than the rounds, which measure its best again, for longer.
    assert [measure.load_test.plan.rate_precision for measure in measures] == [0.4, 0.2, 0.2, 0.2]
    assert runtime.again == 4.0


def test_replicas_have_the_files_samples_and_seconds_and_are_all_gone_afterwards(told):
    known = service()
    with serving.on_ray_serve(known, STUDY):
        # What a driver that was killed has left is taken down first.
        assert told == [
            ("start", {"proxy_location": "Disabled"}), ("deleted", PREFIX),
            ("backend", known.source, spread(["x", "y"], np.random.default_rng(3)), PREFIX, 33),
        ]  # fmt: skip
    assert told[3:] == ["closed", "let go", ("deleted", PREFIX)]
    told.clear()
    with pytest.raises(KeyboardInterrupt), serving.on_ray_serve(known, STUDY):
        raise KeyboardInterrupt
    assert told[3:] == ["closed", "let go", ("deleted", PREFIX)]


def test_samples_of_a_sorted_file_are_sent_in_one_order_that_is_not_the_files_and_follows_from_the_seed(told):
    known = service()
    known.samples = list(range(1000))
    with serving.on_ray_serve(known, STUDY) as runtime:
        measures: list[Any] = [runtime.measure, runtime.measure_in(1)]
    [warmed_up] = [entry[2] for entry in told if entry[0] == "backend"]
    assert [measure.payloads for measure in measures] == [warmed_up] * 2
    assert sorted(warmed_up) == known.samples and 400 < np.mean(warmed_up[:50]) < 600
    other: Any = SimpleNamespace(**vars(STUDY) | {"seed": 4})
    with serving.on_ray_serve(known, other) as runtime:
        measures.append(runtime.measure)
    assert measures[2].payloads != warmed_up


@pytest.mark.parametrize(
    ("is_remote", "client", "applications", "shut_down"),
    [(True, None, {}, True), (True, "there", {}, False), (True, None, {"other": 1}, False), (False, None, {}, False)],
)
def test_a_serve_that_was_started_on_someones_cluster_is_shut_down_unless_someone_uses_it(
    told, monkeypatch, is_remote, client, applications, shut_down
):
    monkeypatch.setattr(serving, "_is_remote", lambda: is_remote)
    monkeypatch.setattr(serving, "get_global_client", lambda **options: client)
    monkeypatch.setattr(serving.serve, "status", lambda: SimpleNamespace(applications=applications))
    with serving.on_ray_serve(service(), STUDY):
        pass
    assert ("shut down" in told) == shut_down


@pytest.mark.parametrize(
    ("path", "is_remote", "seen"),
    [
        ("weights/model.pt", True, "weights/model.pt"),
        ("weights/model.pt", False, "{folder}/weights/model.pt"),
        ("/elsewhere/model.pt", True, "/elsewhere/model.pt"),
        ("package:some/model", True, "package:some/model"),
    ],
)
def test_weights_beside_the_service_are_looked_for_where_its_folder_was_shipped_to(
    told, monkeypatch, tmp_path, path, is_remote, seen
):
    from serve_deployments.models.model import ModelFiles

    monkeypatch.setattr(serving, "_is_remote", lambda: is_remote)
    given = path if path.startswith(("package:", "/")) else str(tmp_path / path)
    known: Any = SimpleNamespace(
        source=ModelFiles(given, "torchscript", "/written/here"),
        spec=parse_spec(Document(SPEC, "known.yaml"), folder=tmp_path),
        samples=["x"], plan=service().plan,
    )  # fmt: skip
    with serving.on_ray_serve(known, STUDY):
        pass
    source = next(entry[1] for entry in told if entry[0] == "backend")
    assert source == ModelFiles(seen.format(folder=tmp_path), "torchscript", "." if is_remote else "/written/here")
    # Without code of its own it was sent below another folder, in which workers look for modules.
    text = SPEC.replace("build: ", "path: ")
    assert text != SPEC
    known.spec = parse_spec(Document(text, "known.yaml"), folder=tmp_path)
    with serving.on_ray_serve(known, STUDY):
        pass
    source = [entry[1] for entry in told if entry[0] == "backend"][-1]
    assert source.folder == (SENT_BELOW if is_remote else "/written/here")


@pytest.mark.parametrize(("sent", "folder"), [("", "a/b"), ("a", "b"), ("a/b", "."), ("elsewhere", "{written}")])
def test_a_service_deeper_in_the_folder_that_a_job_was_sent_with_is_found_there(
    told, monkeypatch, tmp_path, sent, folder
):
    from serve_deployments.models.model import Builder

    written = tmp_path / "a" / "b"
    for path in (written, tmp_path / sent):
        path.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path / sent)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    monkeypatch.setattr(serving, "_is_remote", lambda: True)
    known: Any = SimpleNamespace(
        source=Builder("m:build", str(written)), spec=parse_spec(Document(SPEC, "known.yaml"), folder=written),
        samples=["x"], plan=service().plan,
    )  # fmt: skip
    with serving.on_ray_serve(known, STUDY):
        pass
    source = next(entry[1] for entry in told if entry[0] == "backend")
    assert source == Builder("m:build", folder.format(written=written))


def test_a_cluster_that_was_there_before_has_the_folder_shipped_to_it(told, monkeypatch):
    shipped = SimpleNamespace(runtime_env={"working_dir": "gcs://x"})
    monkeypatch.setattr(serving.ray, "get_runtime_context", lambda: shipped)
    with serving.on_ray_serve(service(), STUDY):
        pass
    assert "shut down" in told
