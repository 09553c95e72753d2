"""Profiles of services of each kind: what is torch in them is seen, the rest is one line, and none is left without."""

import json
import os
import warnings

import pytest
import torch

from cluster.operators.kinds import OUTSIDE
from raytune_infer.errors import UserError
from raytune_infer.operators.built_model import payloads
from raytune_infer.operators.profiling import profile_service
from raytune_infer.report.chart import Chart
from raytune_infer.report.renderers import renderer_of
from raytune_infer.report.words.operators.profile_view import profile_view
from raytune_infer.spec.service import Service
from raytune_infer.spec.service_spec import load_spec
from tests.cluster.operators.test_onnx_trace import network
from tests.raytune_infer.operators.a_model import write


def profiled(file, **how):
    return profile_service(Service(load_spec(file)), **how)


def kinds(found):
    return {line.kind: line for line in found.profile.lines}


def test_a_network_on_its_own_samples_in_its_default_configuration(tmp_path):
    knobs = "max_batch_size: [4, 8], precision: [bfloat16, float32], cpu_cores: [1]"
    before = torch.get_num_threads(), os.getcwd()
    found = profiled(write(tmp_path, "conv", samples="images.npy", knobs=knobs))
    lines = kinds(found)
    assert (found.batch, found.precision) == (4, "bfloat16")
    assert lines["conv2d"].flops == 2 * (4 * 16 * 8 * 8) * 27 and lines["conv2d"].precision == "bfloat16"
    assert lines["conv2d"].weight_bytes == 2 * (16 * 27 + 16)
    assert lines["dense"].flops == 2 * 4 * 16 * 4 and OUTSIDE in lines
    assert any(operator.kind == "conv2d" and "[b x 3 x 8 x 8]" in operator.words for operator in found.classes)
    assert set(found.batch_s) == {1, 2, 4} and found.roofline is not None
    assert (torch.get_num_threads(), os.getcwd()) == before


def test_what_is_no_torch_is_one_line(tmp_path):
    found = profiled(write(tmp_path, "numbers"))
    assert list(kinds(found)) == [OUTSIDE] and found.profile.key == ()
    assert profile_view(found).answer.startswith("No operator is key")


def test_an_asynchronous_builder(tmp_path):
    assert kinds(profiled(write(tmp_path, "later"), batch=3))["dense"].flops == 2 * 3 * 4 * 4


def test_a_model_that_fails_under_the_profiler_has_a_profile_all_the_same(tmp_path):
    found = profiled(write(tmp_path, "unprofiled"))
    assert list(kinds(found)) == [OUTSIDE] and found.profile.batch_s > 0
    assert any("fails under torch's profiler: RuntimeError: not under a profiler" in note for note in found.notes)


def test_operators_that_do_not_follow_the_batch_have_a_profile_and_no_classes(tmp_path):
    found = profiled(write(tmp_path, "uneven"), batch=4)
    assert kinds(found)["relu"].calls == 4 and not found.classes
    assert any("do not follow the batch" in note for note in found.notes)


def test_files_of_torch(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.GELU()).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(net, torch.randn(2, 64)).save(tmp_path / "net.pt")
        dynamic = ({0: torch.export.Dim("batch", min=1, max=64)},)
        torch.export.save(torch.export.export(net, (torch.randn(4, 64),), dynamic_shapes=dynamic), tmp_path / "net.pt2")
    samples = json.dumps([[0.5] * 64] * 3)
    for name, loader in (("net.pt", "torchscript"), ("net.pt2", "pt2")):
        file = write(tmp_path, "", path=f"{name}, loader: {loader}", samples=samples)
        lines = kinds(profiled(file, batch=4))
        assert lines["dense"].flops == 2 * 4 * 64 * 8 and lines["activation"].calls == 1, name
        assert lines["dense"].weight_bytes == 4 * (64 * 8 + 8), name


def test_a_file_of_onnx(tmp_path):
    network(tmp_path / "net.onnx")
    samples = json.dumps([[[[0.5] * 16] * 16] * 3] * 2)
    found = profiled(write(tmp_path, "", path="net.onnx", samples=samples), batch=2)
    assert {"conv2d", "pooling", "dense"} <= set(kinds(found)) and not found.classes
    assert any("no resource curves" in note for note in found.notes)


@pytest.mark.parametrize(("build", "said"), [("unbuilt", "cannot be built here: OSError: no weights"),
                                             ("broken", "fails on 2 of its own samples: KeyError")])  # fmt: skip
def test_a_model_that_does_not_run_says_why(tmp_path, build, said):
    with pytest.raises(UserError, match=said):
        profiled(write(tmp_path, build), batch=2)


def test_an_emulated_model_has_no_operators(tmp_path):
    file = write(tmp_path, "conv")
    emulated = file.read_text().replace("operator_models:conv", "cluster.emulated:model")
    file.write_text(emulated.replace('model"', 'model", args: {profile: bert-base}'))
    with pytest.raises(UserError, match="emulated model"):
        profiled(file)


def test_batches_of_one_base_have_the_same_samples():
    assert payloads("abcdef", 2, 4) == ["b", "e", "b", "e"] and payloads("ab", 5, 3) == ["a", "b", "a"]


def test_the_view_has_the_roofline_and_every_format_takes_it(tmp_path):
    view = profile_view(profiled(write(tmp_path, "conv", samples="images.npy"), batch=4))
    [chart] = view.charts
    assert isinstance(chart, Chart) and chart.log_x and chart.log_y
    roof, *operators = chart.series
    assert [dot.y.value for dot in roof.dots] == sorted(dot.y.value for dot in roof.dots)
    assert {series.name for series in operators} >= {"conv2d", "dense"}
    for form in ("console", "json", "html", "csv"):
        with (tmp_path / f"out.{form}").open("w") as file:
            renderer_of(form)(view, file)
    page = (tmp_path / "out.html").read_text().replace(" ", "")
    assert "conv2d" in page and '"type":"log"' in page
    told = json.loads((tmp_path / "out.json").read_text())
    assert "conv2d" in json.dumps(told)
