"""What a run that may be somebody else's may put into an exported config: nothing that its service does not say."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cluster.inventory import Inventory, Node
from raytune_infer.commands.app import app
from raytune_infer.errors import RunError
from raytune_infer.report.export.trust import recorded_settings, refuse_loading, samples_within
from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import parse_spec
from raytune_infer.store.records import Outcome
from raytune_infer.store.run_folder import RunFolder
from raytune_infer.study.space import Resolver
from serve_deployments.settings import Settings
from tests.raytune_infer.ranking.measured_runs import SPEC as MEASURED_SPEC
from tests.raytune_infer.report.export.a_service import BUILT, service

KNOBS = BUILT.replace("[1, 2]}", "[1, 2], MODE: {kind: env, values: [a, b]}, beams: {kind: args, values: [1, 4]}}")
CONFIG: dict[str, Any] = {"cpu_cores": 1, "MODE": "a", "beams": 4}
RECORDED = Settings(env={"MODE": "a"}, args={"size": 3, "beams": 4}).as_dict()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"env": {"MODE": "a", "LD_PRELOAD": "/tmp/evil.so"}}, "other settings .* \\(env: LD_PRELOAD\\)"),
        ({"env": {"MODE": "b"}}, "other settings .* \\(env: MODE\\)"),
        ({"args": {"size": 4, "beams": 4, "hook": "os:system"}}, "other settings .* \\(args: hook, size\\)"),
        ({"cpu_cores": 64}, "other settings .* \\(cpu_cores: 64, not 1\\)"),
        ({"max_batch_size": 512, "threads": 9}, "\\(max_batch_size: 512, not 1; threads: 9, not nothing\\)"),
        ({"batch_wait_ms": 50}, "batch_wait_ms: 50.0, not 0.0"),
        ({"precision": "float16"}, "precision: .*float16"),
        ({"gpu_type": "T4", "node_labels": {"ray.io/node-id": "a"}}, "gpu_type: .*T4"),
        ({"gpu_memory_gib": 4.0}, "gpu_memory_gib: 4.0, not nothing"),
        ({"node_labels": {"ray.io/node-id": "a"}}, "are not those of a replica: node_labels"),
        ({"emulated": "yes"}, "are not those of a replica: emulated"),
        ({"cpu_cores": 0}, "are not those of a replica: cpu_cores"),
        ({"cpu_cores": math.inf}, "are not those of a replica: "),
        ({"env": ["LD_PRELOAD"]}, "other settings .*env"),
        (
            {"args": {"key": {"Secret": "geheim"}}},
            "are not those of a replica: a secret is .secret: NAME. and nothing else",
        ),
        ({"shell": "sh"}, "are not those of a replica: .*shell"),
    ],
)
def test_settings_that_the_service_does_not_give_are_not_exported(changed, said):
    assert recorded_settings(service(KNOBS), CONFIG, RECORDED) == Settings(**RECORDED)
    with pytest.raises(RunError, match=said):
        recorded_settings(service(KNOBS), CONFIG, {**RECORDED, **changed})


@pytest.mark.parametrize(
    "changed", [{"MODE": "c"}, {"beams": 5}, {"cpu_cores": 64}, {"precision": "float16"}, {"LD_PRELOAD": "evil.so"}]
)
def test_a_configuration_that_the_service_does_not_have_is_not_exported(changed):
    with pytest.raises(RunError, match=f"a configuration that its service.yaml does not have .{next(iter(changed))}"):
        recorded_settings(service(KNOBS), {**CONFIG, **changed}, RECORDED)
    with pytest.raises(RunError, match="does not have .MODE"):
        recorded_settings(service(KNOBS), {name: v for name, v in CONFIG.items() if name != "MODE"}, RECORDED)


ON_GPU = BUILT.replace("[1, 2]}", "[1, 2], gpu_type: [none, T4], gpu_share: [0.5, 1], gpu_memory: [0.25, 1]}")
PLACED: dict[str, Any] = {"cpu_cores": 2, "gpu_type": "T4", "gpu_share": 0.5, "gpu_memory": 0.25}


@pytest.mark.parametrize("gpus", [1, 2], ids=["by type", "by node"])
def test_what_the_study_gave_a_configuration_on_its_cluster_is_exported(gpus):
    """With what only the cluster tells: the label of its nodes, and the memory of their cards."""
    spec = service(ON_GPU)
    nodes = [Node("a", "host-a", 8, 16.0, gpu_type="T4", gpus=1, gpu_memory_gib=14.6, ray_label="T4")]
    if gpus == 2:
        nodes.append(Node("b", "host-b", 8, 16.0, gpu_type="T4", gpus=1, gpu_memory_gib=15.0))
    resolver = Resolver(spec, Inventory(tuple(nodes)), emulated=False)
    for config in (PLACED, {**PLACED, "gpu_type": "none"}):
        given = resolver.settings(config)
        assert recorded_settings(spec, config, json.loads(json.dumps(given.as_dict()))) == given
    assert resolver.settings(PLACED).gpu_memory_gib == pytest.approx(0.25 * 14.6)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"gpu_share": 0.05}, "gpu_share: 0.05, not 0.5"),
        ({"gpu_memory": 1.0}, "gpu_memory: 1.0, not 0.25"),
        ({"gpu_type": "V100"}, "gpu_type"),
        ({"node_labels": {}}, "node_labels must have one label"),
        ({"node_labels": {"ray.io/node-id": "a", "ray.io/accelerator-type": "T4"}}, "node_labels must have one label"),
        ({"node_labels": {"team": "theirs"}}, "node_labels must select"),
        ({"node_labels": {"ray.io/node-id": "!in(a)"}}, "node_labels must select"),
        ({"node_labels": {"ray.io/node-id": 5}}, "are not those of a replica"),
        ({"gpu_memory_gib": -1}, "gpu_memory_gib must be positive"),
        ({"gpu_memory_gib": math.nan}, "gpu_memory_gib must be positive"),
    ],
)
def test_what_the_cluster_decides_must_have_the_form(changed, said):
    placed = Settings(
        cpu_cores=2, gpu_type="T4", gpu_share=0.5, gpu_memory=0.25, gpu_memory_gib=3.65, args={"size": 3},
        node_labels={"ray.io/accelerator-type": "T4"},
    ).as_dict()  # fmt: skip
    assert recorded_settings(service(ON_GPU), PLACED, placed).as_dict() == placed
    with pytest.raises(RunError, match=said):
        recorded_settings(service(ON_GPU), PLACED, {**placed, **changed})


def test_settings_that_an_earlier_version_did_not_record_are_those_that_follow():
    older = {name: value for name, value in RECORDED.items() if name not in ("precision", "args", "cpu_cores")}
    assert recorded_settings(service(KNOBS), {**CONFIG, "cpu_cores": 2}, older) == Settings(
        **{**RECORDED, "cpu_cores": 2}
    )


def test_variables_that_load_code_have_to_be_trusted():
    refuse_loading(Settings(env={"OMP_WAIT_POLICY": "active", "MODE": "1"}))
    with pytest.raises(RunError, match="would set LD_PRELOAD=/tmp/evil.so, VLLM_PLUGINS=mine, which .*add --trust"):
        refuse_loading(Settings(env={"LD_PRELOAD": "/tmp/evil.so", "VLLM_PLUGINS": "mine", "MODE": "1"}))


def run_with(path: Path, text: str, config: dict[str, Any], settings: Settings, folder: Path | None = None) -> None:
    """A run whose only trial had this configuration and these settings."""
    path.mkdir()
    database = RunFolder(path, None, 1).database()
    study = database.create_study(
        name="fake", spec=text, folder=str(folder or path), searcher="random", seed=0, trials=1,
        fingerprint={"configurations": [6, "x"]}, emulated=None,
    )  # fmt: skip
    key, _ = database.start_trial(study, purpose="search", position=0, config=config, usd_per_hour=1.0, emulated=True)
    metrics = {"rps": 10.0, "p50_ms": 1.0, "p99_ms": 2.0}
    database.finish_trial(key, Outcome(metrics, settings=settings.as_dict()), 10.0)
    database.close()
    RunFolder(path, None, study.id).save()


def test_the_command_refuses_them_and_says_what_runs(tmp_path):
    text = MEASURED_SPEC.replace("knobs: {", "knobs: {LD_PRELOAD: {kind: env, values: [evil.so]}, ")
    settings = Settings(max_batch_size=4, env={"LD_PRELOAD": "evil.so"}, args={"profile": "bert-base"})
    run_with(tmp_path / "run", text, {"cpu_cores": 1, "max_batch_size": 4, "LD_PRELOAD": "evil.so"}, settings)
    refused = CliRunner().invoke(app, ["export", str(tmp_path / "run")])
    assert refused.exit_code == 1 and "would set LD_PRELOAD=evil.so" in str(refused.exception) and not refused.stdout
    done = CliRunner().invoke(app, ["export", str(tmp_path / "run"), "--trust"])
    assert done.exit_code == 0, done.output
    assert "this config runs code: cluster.emulated:model in " in done.stderr
    for code in ("cluster.emulated:model in ", "what LD_PRELOAD=evil.so may load"):
        assert f"# It runs code: {code}" in done.stdout


def private(folder: Path) -> Path:
    """A file that no run has to do with."""
    (folder / "diary.txt").write_text("my private line\n")
    return folder / "diary.txt"


def test_samples_of_the_service_and_its_folder_are_put_in(tmp_path):
    private(tmp_path)
    text = BUILT.replace("[x]", "{diary.txt: 1}")
    (tmp_path / "any.yaml").write_text(text)
    assert samples_within(parse_spec(Document(text, "s.yaml"), folder=tmp_path))
    assert samples_within(parse_spec(Document(BUILT, "s.yaml"), folder=Path("/no/such/folder")))  # in the file itself


@pytest.mark.parametrize(
    "samples", ["FILE", "../diary.txt", "link.txt", "linked", "{rows.txt: 1, link.txt: 1}", "loop.txt"]
)
def test_samples_from_elsewhere_are_not(tmp_path, samples):
    own = tmp_path / "own"
    (own / "linked").mkdir(parents=True)
    file = private(tmp_path)
    (own / "rows.txt").write_text("a\n")
    for link in ("link.txt", "linked/1"):
        (own / link).symlink_to(file)
    (own / "loop.txt").symlink_to(own / "loop.txt")
    text = BUILT.replace("[x]", samples.replace("FILE", str(file)))
    (own / "service.yaml").write_text(text)
    assert not samples_within(parse_spec(Document(text, "s.yaml"), folder=own))


def test_a_run_that_names_a_folder_of_yours_gets_no_file_of_it(tmp_path):
    text = MEASURED_SPEC.replace("[x]", private(tmp_path).name)
    (tmp_path / "service.yaml").write_text(MEASURED_SPEC)  # another service
    config = {"cpu_cores": 1, "max_batch_size": 4}
    run_with(tmp_path / "run", text, config, Settings(max_batch_size=4, args={"profile": "bert-base"}), folder=tmp_path)
    done = CliRunner().invoke(app, ["export", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "my private line" not in done.stdout and "may be slow" in done.stdout
    assert "no samples are put in as warm_up: " in done.stderr and "add --trust" in done.stderr
    trusted = CliRunner().invoke(app, ["export", str(tmp_path / "run"), "--trust"])
    assert "my private line" in trusted.stdout and "warm_up:" not in trusted.stderr
    (tmp_path / "service.yaml").write_text(text)
    assert "my private line" in CliRunner().invoke(app, ["export", str(tmp_path / "run")]).stdout
