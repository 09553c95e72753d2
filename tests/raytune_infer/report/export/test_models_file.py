"""A models.yaml: what it becomes, and what is said of one that cannot be served."""

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from raytune_infer.errors import UserError
from raytune_infer.report.export.models_file import cautions, many_config, read_models
from serve_deployments.models.model import Builder
from serve_deployments.replicas.many.application import application
from serve_deployments.replicas.many.entry import ModelEntry

MODEL = "def build(factor=1):\n    return lambda payloads: [factor * p for p in payloads]\n"
INLINE = {"model": {"reference": "many_models_here:build"}, "settings": {"cpu_cores": 1}}


@pytest.fixture
def written(tmp_path):
    (tmp_path / "many_models_here.py").write_text(MODEL)

    def write(text, name="models.yaml"):
        path = tmp_path / name
        path.write_text(text if isinstance(text, str) else yaml.safe_dump(text))
        return path

    return write


def test_models_are_inline_or_exported_configs_and_code_starts_in_the_folder(written, tmp_path):
    source = {"reference": "many_models_here:build", "folder": str(tmp_path)}
    exported = {"model": source, "settings": {"args": {"factor": 2}}, "payload": {"kind": "json"}}
    written({"applications": [{"name": "x", "args": exported}]}, "exported.yaml")
    args = read_models(written({"models": {"one": INLINE, "two": "exported.yaml"}, "replicas": 2, "idle_s": 5}))
    entries = [ModelEntry.of(name, each) for name, each in args["models"].items()]
    assert [entry.source for entry in entries] == [Builder("many_models_here:build", str(tmp_path))] * 2
    assert entries[1].settings.args == {"factor": 2} and (args["replicas"], args["idle_s"]) == (2, 5)
    assert len(cautions(args)) == 2 and all("many_models_here:build" in said for said in cautions(args))
    config = ServeDeploySchema.model_validate(yaml.safe_load(many_config(args, "models")))
    front = application(config.applications[0].args)._bound_deployment
    assert front.name == "Front" and [entry.name for entry in front.init_args[0]] == ["one", "two"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: {}", "models: Dictionary should have at least 1 item"),
        ({"models": {"one": INLINE}, "replicas": 0}, "replicas: Input should be greater than or equal to 1"),
        ({"models": {"one": INLINE}, "replica": 1}, "replica: Extra inputs are not permitted"),
        ({"models": {"one": INLINE}, "idle_s": -1}, "idle_s: Input should be greater"),
        ("models: [", "is no YAML"),
        ("", "it has `models`, `replicas` and `idle_s`"),
        ({"models": {"one": "nowhere.yaml"}}, "nowhere.yaml cannot be read: No such file"),
        ({"models": {"one": "many_models_here.py"}}, "is no"),
        ({"models": {"one": {"settings": {}}}}, "models.one: 'model'; it takes `model`"),
        ({"models": {"one": {**INLINE, "model": {"reference": "many_models_here:nothing"}}}}, "has no 'nothing'"),
        ({"models": {"one": {**INLINE, "settings": {"args": {"other": 1}}}}}, "models.one: .*other"),
        ({"models": {"one": INLINE, "two": {**INLINE, "settings": {"cpu_cores": 2}}}}, "differ in cpu_cores"),
        ({"models": {"o\ne": INLINE}}, "printable ASCII"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(written, text, said):
    with pytest.raises(UserError, match=said):
        read_models(written(text))
