"""The exported config says what was measured: the same model, resources, batches and waits, for `serve deploy`."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from ray.serve.schema import ServeDeploySchema

from raytune_infer.comparing.comparison import compared
from raytune_infer.comparing.configuration_result import result_of_search
from raytune_infer.report.export.serve_config import payload_type_of, samples_of, serve_config
from raytune_infer.report.words.values import spelled
from raytune_infer.report.words.verdict import answer_so_far
from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import parse_spec
from raytune_infer.store.run_folder import RunFolder, open_run
from serve_deployments.batches.passing_on import AnswerWait
from serve_deployments.replicas.application import application
from serve_deployments.replicas.http.payload_type import AS_JSON, PayloadType
from serve_deployments.replicas.http.warm_up import MOST_BYTES
from serve_deployments.settings import Settings
from tests.raytune_infer.report.export.a_service import BUILT, service
from tests.raytune_infer.report.test_report import OBJECTIVE, trial

MEASURED = Settings(
    cpu_cores=3, gpu_type="T4", node_labels={"ray.io/accelerator-type": "in(T4)"}, gpu_share=0.5, gpu_memory=0.25,
    gpu_memory_gib=4.0, max_batch_size=16, batch_wait_ms=7.5, threads=2, precision="bfloat16", env={"MODE": "fast"},
    args={"size": 3, "beams": 4},
)  # fmt: skip


def exported(
    settings: Settings = MEASURED,
    text: str = BUILT,
    folder: Path = Path("/srv/models"),
    payload: PayloadType = AS_JSON,
) -> dict:
    return yaml.safe_load(serve_config(parse_spec(Document(text, "s.yaml"), folder=folder), settings, payload))


def test_the_config_is_one_that_serve_takes_with_one_application_at_the_root():
    schema = ServeDeploySchema.model_validate(exported())
    [app] = schema.applications
    assert (app.name, app.route_prefix) == ("my-service", "/")
    assert app.import_path == f"{application.__module__}:{application.__name__}"
    assert (schema.http_options.host, schema.http_options.port) == ("127.0.0.1", 8000)
    assert str(schema.proxy_location.value) == "EveryNode"
    [deployment] = app.deployments
    assert (deployment.name, deployment.num_replicas) == ("Replica", 1)


@pytest.mark.parametrize(("batch", "ongoing"), [(1, 1024), (16, 1024), (512, 1024), (513, 1026), (2000, 4000)])
def test_serve_lets_as_many_requests_in_as_in_the_trial(batch, ongoing):
    """1024, and two batches where those are more: Serve's own default of 5 would cap every batch."""
    [deployment] = exported(replace(MEASURED, max_batch_size=batch))["applications"][0]["deployments"]
    assert deployment["max_ongoing_requests"] == ongoing


def test_the_replica_runs_under_all_that_was_measured():
    args = exported()["applications"][0]["args"]
    assert Settings(**args["settings"]) == MEASURED
    assert args["settings"]["batch_wait_ms"] == 7.5 and args["settings"]["max_batch_size"] == 16
    assert args["model"] == {"reference": "json:loads", "folder": "/srv/models", "concurrent": None}
    bound: Any = application(args)._bound_deployment
    assert bound.init_args[1] == args["settings"]


@pytest.mark.parametrize(
    ("model", "load", "seconds", "origin"),
    [
        ("", "", 600.0, "600 s .*the default, as service.yaml has no `model.answers_within_s`"),
        # How long a load test may take says nothing of how long a user waits.
        ("", "load: {total_max_s: 5, level_max_s: 5, level_min_s: 1}", 600.0, "600 s .*the default"),
        ("", "load: {total_max_s: 900}", 900.0, "900 s .*`load.total_max_s` of service.yaml"),
        (", answers_within_s: 2.5", "", 2.5, "2.5 s .*as `model.answers_within_s` of service.yaml says"),
        (", answers_within_s: 7200", "", 7200.0, "7200 s .*as `model.answers_within_s` of service.yaml says"),
    ],
)
def test_a_request_to_an_engine_is_given_up_after_a_time_that_the_head_names_with_its_origin(
    model, load, seconds, origin
):
    text = BUILT.replace("args: {size: 3}", f"args: {{size: 3}}, concurrent: true{model}") + load
    args = exported(Settings(), text)["applications"][0]["args"]
    head = serve_config(parse_spec(Document(text, "s.yaml"), folder=Path(".")), Settings(), AS_JSON)
    assert re.search(f"A request that the model has not answered within {origin}", head.replace("\n# ", " "))
    assert "not answered" not in serve_config(
        parse_spec(Document(BUILT, "s.yaml"), folder=Path(".")), MEASURED, AS_JSON
    )
    assert args["answers_within_s"] == seconds and args["model"]["concurrent"] and "wait" not in args["model"]
    bound: Any = application(args)._bound_deployment
    assert bound.init_args[0].wait == AnswerWait.always(seconds)
    del args["answers_within_s"]  # as in a config of an earlier version
    older: Any = application(args)._bound_deployment
    assert older.init_args[0].wait is None
    assert "answers_within_s" not in exported()["applications"][0]["args"]


def test_the_replica_has_the_resources_of_the_trial():
    [deployment] = exported()["applications"][0]["deployments"]
    options = deployment["ray_actor_options"]
    assert (options["num_cpus"], options["num_gpus"]) == (3, 0.5)
    assert options["label_selector"] == {"ray.io/accelerator-type": "in(T4)"}
    variables = options["runtime_env"]["env_vars"]
    assert variables == MEASURED.environment
    assert variables["MODE"] == "fast" and variables["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] == "50"
    [plain] = exported(Settings())["applications"][0]["deployments"]
    assert plain["ray_actor_options"]["num_cpus"] == 1 and "num_gpus" not in plain["ray_actor_options"]


def test_the_users_own_path_of_modules_stands():
    [deployment] = exported(Settings(env={"PYTHONPATH": "/mine"}))["applications"][0]["deployments"]
    assert deployment["ray_actor_options"]["runtime_env"]["env_vars"]["PYTHONPATH"] == "/mine"


@pytest.mark.parametrize(
    ("model", "source", "noted"),
    [
        ("{path: weights, loader: torchscript}", {"path": "/srv/models/weights", "loader": "torchscript"}, True),
        ("{path: /abs/weights}", {"path": "/abs/weights", "loader": None}, True),
        ('{path: "package:some/model"}', {"path": "package:some/model", "loader": None}, False),
    ],
)
def test_weights_are_found_where_they_are(model, source, noted):
    text = BUILT.replace('{build: "json:loads", args: {size: 3}}', model)
    config = exported(text=text)
    assert config["applications"][0]["args"]["model"] == {**source, "folder": "/srv/models"}
    spec = parse_spec(Document(text, "s.yaml"), folder=Path("/srv/models"))
    assert ("The model's path must exist on each node." in serve_config(spec, MEASURED, AS_JSON)) == noted


def test_the_head_says_what_the_reader_must_know():
    spec = parse_spec(Document(BUILT, "s.yaml"), folder=Path("."))
    head = serve_config(spec, MEASURED, AS_JSON)
    assert head.startswith("# my-service: the recommended configuration.\n") and "serve deploy" in head
    assert "of the folder of service.yaml (`folder` below) must be on each node" in head
    assert "  host: 127.0.0.1  # for others than this machine, as on Kubernetes: 0.0.0.0\n" in head
    assert "path must exist" not in head and "listed one by one" not in head
    assert "configuration of emulated devices.\n" in serve_config(spec, replace(MEASURED, emulated=True), AS_JSON)
    by_node = replace(MEASURED, node_labels={"ray.io/node-id": "in(a,b)"})
    assert "so its nodes are listed one by one" in serve_config(spec, by_node, AS_JSON)


def test_the_head_says_how_to_start_a_ray_that_is_closed_to_others_and_no_other_way():
    head = serve_config(service(), MEASURED, AS_JSON)
    assert "#   export RAY_AUTH_MODE=token RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0; ray start --head\n" in head
    assert head.count("ray start") == 1


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        (MEASURED, True),
        (replace(MEASURED, gpu_share=1.0), False),
        (replace(MEASURED, gpu_share=0.0), False),  # its memory alone is limited: it has the GPU to itself
        (replace(MEASURED, emulated=True), False),
        (Settings(), False),
    ],
)
def test_the_head_of_a_share_of_a_gpu_says_that_it_needs_mps_and_how_to_start_it(settings, needed):
    head = serve_config(service(), settings, AS_JSON)
    assert ("nvidia-cuda-mps-control -d\n" in head) == needed
    assert all(line.startswith("#") and len(line) <= 120 for line in head.partition("\nproxy_location")[0].splitlines())


def test_only_code_that_the_config_itself_runs_is_named():
    """Neither what scores answers in a study, nor values of a knob that another configuration has."""
    env = "PLUGINS: {kind: env, values: [mine.so, theirs.so]}"
    text = BUILT.replace("cpu_cores: [1, 2]", env) + 'quality: "math:sqrt"\n'
    config = serve_config(service(text), Settings(env={"PLUGINS": "mine.so", "OMP_NUM_THREADS": "1"}), AS_JSON)
    named = re.findall(r"^# It runs code: (.*)$", config, re.MULTILINE)
    assert [each.partition(" in ")[0] for each in named] == ["json:loads", "what PLUGINS=mine.so may load"]


@pytest.mark.parametrize(
    ("samples", "wanted", "said"),
    [
        ([{"a": 1}], {"kind": "json"}, "POST a payload as JSON"),
        (["a"], {"kind": "text"}, "POST a text"),
        ([b"a"], {"kind": "bytes"}, "POST the bytes of a file"),
        (
            list(np.zeros((2, 3, 4), np.float32)),
            {"kind": "array", "dtype": "float32", "shape": [3, 4]},
            "POST an array of float32 with shape [3, 4] as",
        ),
        (list(np.arange(2)), {"kind": "array", "dtype": "int64", "shape": []}, "POST an array of int64 as"),
    ],
)
def test_the_payloads_are_of_the_type_of_the_samples_and_the_head_says_how_to_send_one(samples, wanted, said):
    payload = PayloadType.of(samples)
    args = exported(payload=payload)["applications"][0]["args"]
    assert args["payload"] == wanted
    bound: Any = application(args)._bound_deployment
    assert bound.init_kwargs == {"payload_type": payload, "samples": []}
    assert said in serve_config(parse_spec(Document(BUILT, "s.yaml"), folder=Path(".")), MEASURED, payload)


def test_a_config_of_an_earlier_version_takes_json():
    args = exported()["applications"][0]["args"]
    del args["payload"]
    bound: Any = application(args)._bound_deployment
    assert bound.init_kwargs == {"payload_type": AS_JSON, "samples": []}


def test_replicas_run_their_first_batches_of_samples_of_the_study(tmp_path):
    np.save(tmp_path / "rows.npy", np.arange(200, dtype=np.float32).reshape(100, 2))
    spec = parse_spec(Document(BUILT.replace("[x]", "rows.npy"), "s.yaml"), folder=tmp_path)
    samples = samples_of(spec)
    firsts = sorted(sample[0] for sample in samples)
    assert len(samples) == 16 and firsts[0] < 20 and firsts[-1] > 180  # from all parts of the file
    payload = payload_type_of(RunFolder(tmp_path, None, 1), spec)
    config = serve_config(spec, Settings(), payload, samples=samples)
    args = yaml.safe_load(config)["applications"][0]["args"]
    bound: Any = application(args)._bound_deployment
    np.testing.assert_array_equal(np.stack(bound.init_kwargs["samples"]), np.stack(samples))
    assert "`warm_up` holds samples of the study" in config and "may be slow" not in config
    (tmp_path / "rows.npy").unlink()
    cold = serve_config(spec, Settings(), payload, samples=samples_of(spec))
    assert "warm_up" not in yaml.safe_load(cold)["applications"][0]["args"]
    assert "the first requests to a replica may be slow" in cold


def test_a_row_of_an_array_takes_one_line_and_the_largest_config_stays_small():
    samples = [np.full((4, 2000), digit, np.int8) for digit in range(5)]  # 16,003 to 16,007 bytes each as JSON
    payload = PayloadType.of(samples)
    config = serve_config(service(), Settings(), payload, samples=samples)
    warm_up = yaml.safe_load(config)["applications"][0]["args"]["warm_up"]
    assert warm_up == [sample.tolist() for sample in samples[:4]]
    rows = [count for line in config.splitlines() if (count := line.count(",")) > 100]
    assert rows == 16 * [1999]  # four samples fit in, of four rows each
    assert len(config.splitlines()) < 16 + 100 and len(config) < 1.7 * MOST_BYTES


def test_a_run_keeps_the_type_of_its_samples_and_an_older_one_has_that_of_its_file(tmp_path):
    spec = parse_spec(Document(BUILT.replace("[x]", "rows.npy"), "s.yaml"), folder=tmp_path)
    older, kept = RunFolder(tmp_path, None, 1), RunFolder(tmp_path, None, 1, payload_type={"kind": "bytes"})
    kept.save()
    assert payload_type_of(open_run(tmp_path), spec) == PayloadType("bytes")
    assert payload_type_of(older, spec) == AS_JSON  # its file is gone
    np.save(tmp_path / "rows.npy", np.zeros((2, 3)))
    assert payload_type_of(older, spec) == PayloadType("array", "float64", (3,))


@given(st.text(), st.text(st.characters(categories=["Cc", "Zl", "Zp", "Zs"])), st.sampled_from(["n", "json:loads"]))
@example("a\nproxy_location: Disabled", "", "n")
@example("\r\x85\u2028\u2029\x0b\x0c\x1c\x1d\x1e\x00\ud800", "", "n")
def test_no_text_of_a_user_leaves_the_comment_that_it_is_in(said, controls, dtype):
    """Of a knob's value, a name or whatever else is told in the head: the config below stays what it is."""
    spec = parse_spec(Document(BUILT, "s.yaml"), folder=Path("."))
    knob = spelled({"PROMPT": said + controls, said or "x": 1, "other": f"{controls}{said}"})
    config = serve_config(spec, MEASURED, PayloadType("array", "float32"), f"Run {knob} ({said}{controls})")
    config.encode()
    head, _, body = config.partition("\nproxy_location:")
    assert all(line.startswith("#") for line in re.split("[\n\r\x85\u2028\u2029\x0b\x0c\x1c-\x1e]", head))
    assert all(c.isprintable() or c == "\n" for c in head)
    assert yaml.safe_load(config) == exported(payload=PayloadType("array", "float32"), folder=Path("."))
    assert body


@pytest.mark.parametrize("value", ["two\nlines", "a\r\nb", "tab\t", "\x1b[31m", "# no comment", "{{", "{name}"])
def test_a_knobs_value_in_the_answer_of_a_run_is_on_one_line_of_the_head(value):
    """As `export` puts it together: what is said of the run, then the config."""
    only = replace(trial(), config={"PROMPT": value, "LAST": "end of the answer"})
    said = answer_so_far(result_of_search(only), compared((only,), OBJECTIVE, None), OBJECTIVE)
    config = serve_config(parse_spec(Document(BUILT, "s.yaml"), folder=Path(".")), MEASURED, AS_JSON, said)
    [line] = [line for line in config.splitlines() if "PROMPT=" in line]
    assert line.startswith("# ") and "LAST=end of the answer" in line
    assert yaml.safe_load(config) == exported(folder=Path("."))


def test_a_config_names_its_secrets_and_has_none(monkeypatch):
    monkeypatch.setenv("MY_KEY", "very secret")
    text = serve_config(service(), Settings(args={"key": {"secret": "MY_KEY"}}), AS_JSON)
    assert "# The environment of Ray on each node must have the secret MY_KEY.\n" in text and "very secret" not in text
    assert yaml.safe_load(text)["applications"][0]["args"]["settings"]["args"] == {"key": {"secret": "MY_KEY"}}
