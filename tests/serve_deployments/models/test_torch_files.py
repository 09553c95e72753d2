"""Files that torch wrote, which are programs: they answer as their module does, and what was asked for is passed on."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from serve_deployments.models import model as models
from serve_deployments.models.context import ModelContext, ModelError
from serve_deployments.models.live.hooks import first_sizes, told
from serve_deployments.models.model import ModelFiles


def load(*args) -> Any:
    """None of these models has to be awaited."""
    return models.load(*args)


@pytest.fixture
def small():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2)).eval()


PAYLOADS: list[Any] = [[1.0, 2.0, 3.0], np.array([0.5, -1.0, 4.0]), [0, 0, 1.5]]


def expected(model):
    with torch.inference_mode():
        return model(torch.tensor(np.stack(PAYLOADS), dtype=torch.float32)).numpy()


def exported(module, path):
    """Saved as .pt2, for batches of any size."""
    dynamic = ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(module, (torch.zeros(2, 3),), dynamic_shapes=dynamic), path)
    return ModelFiles(str(path), "pt2")


def scripted(module, path):
    """Saved as TorchScript, in the mode that the module is in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(path)
    return ModelFiles(str(path), "torchscript")


def test_exported_programs_answer_as_their_module(small, tmp_path):
    source = exported(small, tmp_path / "small.pt2")
    model = load(source, {}, ModelContext())
    np.testing.assert_array_equal(np.stack(model(PAYLOADS)), expected(small))
    np.testing.assert_allclose(model(PAYLOADS[:1])[0], expected(small)[0], rtol=1e-5)
    with pytest.raises(ModelError, match="export it in that precision"):
        load(source, {}, ModelContext(precision="bfloat16"))


class Adds(torch.nn.Module):
    """Adds a small number, which single precision loses beside a large one."""

    def __init__(self, small, dtype):
        super().__init__()
        self.small = torch.nn.Buffer(torch.tensor([small], dtype=dtype))

    def forward(self, rows):
        return rows + self.small


@pytest.mark.parametrize(
    ("dtype", "large", "small"),
    [
        (torch.float64, 2.0**30, 2.0**-20),
        (torch.int64, 2**60, 1),
        (torch.float32, 0.5, 0.25),
        (torch.bfloat16, 2.0, 1.0),
    ],
)
@pytest.mark.parametrize("written", [float, int, np.float64])
def test_an_exported_program_is_given_the_numbers_that_it_takes(tmp_path, dtype, large, small, written):
    """Of doubles none is rounded to single precision, whole numbers of JSON become what a program of others takes."""
    payload = [written(large) if written(large) == large else large]
    path = tmp_path / "adds.pt2"
    dynamic = ({0: torch.export.Dim("batch")},)
    example = torch.zeros(2, 1, dtype=dtype)
    torch.export.save(torch.export.export(Adds(small, dtype), (example,), dynamic_shapes=dynamic), path)
    model = load(ModelFiles(str(path), "pt2"), {}, ModelContext())
    assert [row.tolist() for row in model([payload, payload])] == [[large + small]] * 2


def test_numbers_that_an_exported_program_cannot_hold_are_refused(tmp_path):
    dynamic = ({0: torch.export.Dim("batch")},)
    example = torch.zeros(2, 1, dtype=torch.int32)
    torch.export.save(torch.export.export(Adds(1, torch.int32), (example,), dynamic_shapes=dynamic), tmp_path / "a.pt2")
    model = load(ModelFiles(str(tmp_path / "a.pt2"), "pt2"), {}, ModelContext())
    assert [row.tolist() for row in model([[1.0], [2]])] == [[2], [3]]
    for payload in ([1.5], [2**40]):
        with pytest.raises(ModelError, match="the file takes int32, and payloads of .* that it cannot hold"):
            model([payload])


def test_an_exported_program_of_two_inputs_is_refused_with_the_remedy(tmp_path):
    class Sum(torch.nn.Module):
        def forward(self, one, other):
            return one + other

    torch.export.save(torch.export.export(Sum(), (torch.zeros(2), torch.zeros(2))), tmp_path / "sum.pt2")
    with pytest.raises(ModelError, match=r"has 2 inputs \(one, other\); one input is supported: .* of your own"):
        load(ModelFiles(str(tmp_path / "sum.pt2"), "pt2"), {}, ModelContext())


def test_torchscript_answers_as_its_module(small, tmp_path):
    source = scripted(small, tmp_path / "small.pt")
    model = load(source, {}, ModelContext())
    np.testing.assert_array_equal(np.stack(model(PAYLOADS)), expected(small))
    coarse = load(source, {}, ModelContext(precision="bfloat16"))
    np.testing.assert_allclose(np.stack(coarse(PAYLOADS)), expected(small), atol=0.05)


def test_whole_numbers_for_torchscript_stay_whole_numbers(tmp_path):
    """As ids of tokens, of which an embedding takes no others."""
    words = torch.nn.Embedding(4, 2)
    model = load(scripted(words, tmp_path / "words.pt"), {}, ModelContext())
    [row] = model([[1, 3]])
    np.testing.assert_array_equal(row, words.weight.detach().numpy()[[1, 3]])


def test_a_model_that_was_saved_while_it_was_trained_answers_as_when_it_is_not(tmp_path):
    """Each time the same, alone as in a batch: no dropout, and no statistics of the batch."""
    torch.manual_seed(0)
    trained = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5))
    trained(torch.randn(64, 3))  # statistics of its own
    model = load(scripted(trained, tmp_path / "trained.pt"), {}, ModelContext())
    answers = expected(trained.eval())
    for _ in range(2):
        np.testing.assert_allclose(np.stack(model(PAYLOADS)), answers, rtol=1e-6)
    np.testing.assert_allclose(model(PAYLOADS[1:2])[0], answers[1], rtol=1e-5)


COMPILED = ("compile", "default", True, "torch.compile, mode default")
NO_GRAPHS = ("cuda_graphs", "True", False, "CUDA graphs are not available on 'cpu'")


@pytest.mark.parametrize(
    ("save", "args", "says", "sizes"),
    [
        (exported, {}, [], (4,)),
        (exported, {"compile": "none"}, [], (4,)),
        (exported, {"compile": "default"}, [COMPILED], (4, 2, 1)),  # a size that is new under load would be measured
        (exported, {"cuda_graphs": True}, [NO_GRAPHS], (4,)),
        (exported, {"cuda_graphs": True, "compile": "default"}, [COMPILED, NO_GRAPHS], (4, 2, 1)),
        (scripted, {}, [], (4,)),
        (scripted, {"cuda_graphs": True}, [NO_GRAPHS], (4,)),
    ],
)
def test_what_was_asked_for_is_done_or_said(small, tmp_path, monkeypatch, save, args, says, sizes):
    compiled = []

    def compiling(module, mode):
        compiled.append(mode)
        return module

    monkeypatch.setattr(torch, "compile", compiling)
    model = load(save(small, tmp_path / "small.pt2"), args, ModelContext())
    assert [(each.limit, each.asked, each.enforced, each.how) for each in told(model)] == says
    assert first_sizes(model, 4) == sizes and compiled == ["default"] * (COMPILED in says)
    np.testing.assert_allclose(np.stack(model(PAYLOADS)), expected(small), rtol=1e-6)
