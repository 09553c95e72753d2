"""The parts of a service: read as service.yaml says, from beside it, and refused with their place."""

from dataclasses import replace
from pathlib import Path

import pytest

from cluster.prices import DEFAULT_BOOK, load_prices
from raytune_infer.errors import SpecError
from raytune_infer.spec.document import Document
from raytune_infer.spec.service import Service, model_source
from raytune_infer.spec.service_spec import ServiceSpec, parse_spec
from serve_deployments.load.arrivals import POISSON, Renewal
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.models.model import Builder, ModelFiles
from tests.repository import ROOT

SPEC = """\
name: s
model: {build: "cluster.emulated:model", args: {profile: bert-base}}
samples: [x]
knobs: {cpu_cores: [1]}
objective: {maximize: rps}
"""
BOOK = """\
name: {name}
date: 2026-01-15
source: made up
base_usd_per_hour: 0
cpu_core_usd_per_hour: 0.25
gpu_usd_per_hour: {{T4: 1}}
"""


def spec(more: str = "", folder: Path = Path("."), text: str = SPEC) -> ServiceSpec:
    return parse_spec(Document(text + more, "s.yaml"), folder=folder)


def test_a_load_test_is_as_the_file_says_and_else_as_the_documentation_does():
    load = """load: {arrivals: {gamma: {cv: 2}}, precision: 0.1, level_min_s: 2, level_max_s: 3, total_max_s: 40,
      max_concurrency: 17, rate_precision: 0.2}"""
    assert Service(spec(load)).plan == LoadPlan(
        precision=0.1, level_min_s=2, level_max_s=3, total_max_s=40, max_concurrency=17, rate_precision=0.2,
        arrivals=Renewal(2.0),
    )  # fmt: skip
    assert Service(spec()).plan == LoadPlan(
        precision=0.05, level_min_s=1, level_max_s=10, total_max_s=60, max_concurrency=512, rate_precision=0.05,
        arrivals=POISSON, stretch=10.0,
    )  # fmt: skip
    assert Service(spec()).plan == LoadPlan(stretch=10.0)  # the same from Python; a time that is stated is kept
    with pytest.raises(SpecError, match="s.yaml:6: load: .*level_max_s"):
        Service(spec("load: {level_min_s: 3, level_max_s: 2}"))


def test_a_price_book_beside_the_service_comes_before_a_built_in_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (folder := tmp_path / "there").mkdir()
    (folder / "mine.yaml").write_text(BOOK.format(name="mine"))
    (folder / "morphling-2021").write_text(BOOK.format(name="beside"))
    assert Service(spec("prices: mine.yaml", folder)).prices.name == "mine"
    assert Service(spec("prices: morphling-2021", folder)).prices.name == "beside"
    assert Service(spec("prices: morphling-2021", tmp_path)).prices == load_prices("morphling-2021")
    assert Service(spec("", folder)).prices == load_prices(DEFAULT_BOOK)
    with pytest.raises(SpecError, match="s.yaml:6: prices: no price book 'nowhere'"):
        Service(spec("prices: nowhere", folder))


@pytest.mark.parametrize(
    ("model", "source"),
    [
        ('{build: "a.b:c"}', Builder("a.b:c")),
        ("{path: weights/m.pt2, loader: pt2}", ModelFiles("{folder}/weights/m.pt2", "pt2")),
        ("{path: /abs/m.onnx}", ModelFiles("/abs/m.onnx")),
        ("{path: ~/m.onnx}", ModelFiles("/home/me/m.onnx")),
        ('{path: "package:some/model"}', ModelFiles("package:some/model")),
    ],
)
def test_a_model_is_looked_for_beside_the_service(tmp_path, monkeypatch, model, source):
    monkeypatch.setenv("HOME", "/home/me")
    text = SPEC.replace('{build: "cluster.emulated:model", args: {profile: bert-base}}', model)
    found = model_source(spec(text=text, folder=tmp_path))
    if isinstance(source, ModelFiles):
        source = ModelFiles(source.path.format(folder=tmp_path), source.loader)
    assert found == replace(source, folder=str(tmp_path))


def test_a_builder_is_called_with_every_argument_that_it_will_ever_have():
    with pytest.raises(SpecError, match="s.yaml:2: model.args.odd: .*odd"):
        Service(spec(text=SPEC.replace("profile: bert-base", "profile: bert-base, odd: 1")))
    with pytest.raises(SpecError, match="s.yaml:3: model.args.odd: .*odd"):
        Service(spec(text=SPEC.replace("profile: bert-base}", "profile: bert-base,\n  odd: 1}")))
    with pytest.raises(SpecError, match="s.yaml:4: knobs.odd: .*odd"):
        Service(spec(text=SPEC.replace("cpu_cores: [1]", "cpu_cores: [1], odd: {kind: args, values: [1, 2]}")))
    assert Service(spec(text=SPEC.replace("cpu_cores: [1]", "cpu_cores: [1], ODD: {kind: env, values: [1]}")))


@pytest.mark.parametrize(
    ("precisions", "refused"),
    [
        ("float32", None),
        ("float32, bfloat16, float16", None),
        ("int8", "int8"),
        ("float32, int8", "int8"),
        ("int8, float32", "int8"),
        ("float32, int8, bfloat16", "int8"),
    ],
)
def test_every_precision_must_be_one_that_the_loader_can_do(tmp_path, precisions, refused):
    """A trial of another one would fail, however few of them there are."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text('{"architectures": ["BertModel"], "model_type": "bert"}')
    (tmp_path / "m" / "model.safetensors").touch()
    text = SPEC.replace('{build: "cluster.emulated:model", args: {profile: bert-base}}', "{path: m}")
    asked = spec(text=text.replace("cpu_cores: [1]", f"precision: [{precisions}]"), folder=tmp_path)
    if refused is None:
        assert Service(asked).source == ModelFiles(f"{tmp_path}/m", folder=str(tmp_path))
        return
    with pytest.raises(SpecError) as told:
        Service(asked)
    assert str(told.value) == (
        f"s.yaml:4: knobs.precision: loader 'transformers' does not support {refused}; "
        "it supports float32, bfloat16, float16"
    )


def test_a_builder_that_takes_no_precision_has_no_such_knob(tmp_path):
    (tmp_path / "builds_one_way.py").write_text("def build():\n    return list\n")
    (tmp_path / "builds_any_way.py").write_text("def build(precision):\n    return list\n")
    text = SPEC.replace("args: {profile: bert-base}", "args: {}").replace(
        "cpu_cores: [1]", "precision: [float32, int8]"
    )
    for module, takes in (("builds_any_way", True), ("builds_one_way", False)):
        asked = spec(text=text.replace("cluster.emulated:model", f"{module}:build"), folder=tmp_path)
        if takes:
            assert Service(asked).source == Builder("builds_any_way:build", str(tmp_path))
        else:
            with pytest.raises(SpecError, match="s.yaml:4: knobs.precision: builds_one_way:build takes no argument"):
                Service(asked)


def test_a_module_beside_the_service_is_found(tmp_path):
    (tmp_path / "beside_the_service.py").write_text("def build():\n    return list\n")
    text = SPEC.replace("cluster.emulated:model", "beside_the_service:build").replace("profile: bert-base", "")
    assert Service(spec(text=text, folder=tmp_path)).source == Builder("beside_the_service:build", str(tmp_path))


@pytest.mark.parametrize("name", ["cluster.py", "searchers/__init__.py"])
def test_a_module_that_would_hide_one_of_our_packages_is_refused(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    with pytest.raises(SpecError, match=f"{name} would hide a package of raytune-infer .*; rename it"):
        Service(parse_spec(Document(SPEC, "service.yaml"), folder=tmp_path))


def test_a_service_beside_our_own_packages_and_a_folder_of_data_are_taken(tmp_path):
    (tmp_path / "cluster").mkdir()
    Service(parse_spec(Document(SPEC, "service.yaml"), folder=tmp_path))
    Service(parse_spec(Document(SPEC, "service.yaml"), folder=ROOT))


@pytest.mark.parametrize(
    ("limit_s", "waits"),
    [(None, (12.0, 60.0, 600.0)), (2.5, (2.5, 2.5, 2.5)), (30, (12.0, 30.0, 30.0)), (7200, (12.0, 60.0, 600.0))],
)
def test_a_trial_waits_for_an_engine_no_longer_than_the_service_itself(limit_s, waits):
    """10 s of a level and 2 s for its last answers, 60 s of a load test, ten times as much for a slow service."""
    stated = "" if limit_s is None else f", answers_within_s: {limit_s}"
    text = SPEC.replace("args: {profile: bert-base}", f"args: {{profile: bert-base}}, concurrent: true{stated}")
    source = Service(spec(text=text)).source
    assert isinstance(source, Builder) and source.wait is not None
    assert (source.wait.least_s, source.wait.first_s, source.wait.most_s) == waits


@pytest.mark.parametrize("more", ["", ", concurrent: false"])
def test_batches_have_no_time_limit_of_their_own(more):
    text = SPEC.replace("args: {profile: bert-base}", f"args: {{profile: bert-base}}{more}, answers_within_s: 5")
    with pytest.raises(SpecError, match="`answers_within_s` goes with `concurrent: true`"):
        spec(text=text)
