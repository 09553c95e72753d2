"""What a torch can run on is what it says itself; how kernels carry over between cards is CUDA's rule."""

from types import SimpleNamespace

import pytest
import torch

from cluster.torch_build import TorchBuild, torch_here


@pytest.mark.parametrize(
    ("architectures", "runs", "not_on"),
    [
        (("sm_70",), [(7, 0), (7, 5)], [(6, 1), (8, 0)]),
        (("sm_75", "sm_80"), [(7, 5), (8, 0), (8, 6), (8, 9)], [(7, 0), (9, 0)]),
        (("sm_86",), [(8, 6), (8, 9)], [(8, 0)]),
        (("sm_90a",), [(9, 0)], [(8, 0), (10, 0)]),
        (("sm_100", "sm_120"), [(10, 0), (10, 3), (12, 0), (12, 1)], [(9, 0), (11, 0)]),
        (("sm_100f",), [(10, 0), (10, 3)], [(12, 0)]),
        (("compute_80",), [(8, 0), (9, 0), (12, 0)], [(7, 5)]),
        (("sm_50", "compute_90"), [(5, 2), (9, 0), (10, 0)], [(6, 0), (8, 0)]),
        (("gfx90a",), [], [(9, 0)]),
        ((), [], [(9, 0)]),
    ],
)
def test_kernels_carry_over_as_cuda_says(architectures, runs, not_on):
    build = TorchBuild("2", architectures)
    assert [capability for capability in runs + not_on if build.why_not(capability) is None] == runs


def test_why_not_names_what_there_is():
    assert "compute capability 7.0 (it has sm_75, sm_90)" in (TorchBuild("2", ("sm_75", "sm_90")).why_not((7, 0)) or "")
    assert "it has none for any GPU" in (TorchBuild("2+cpu", ()).why_not((9, 0)) or "")


def test_torch_is_asked():
    assert torch_here() == TorchBuild(torch.__version__, tuple(torch.cuda.get_arch_list()))
    other = SimpleNamespace(__version__="9", cuda=SimpleNamespace(get_arch_list=lambda: ["sm_90"]))
    assert torch_here(other) == TorchBuild("9", ("sm_90",))


def test_where_there_is_no_torch_nothing_is_known(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert torch_here() is None
