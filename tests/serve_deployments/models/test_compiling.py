"""`torch.compile` as a knob: each value means what it says, and graphs are recorded once, not twice."""

from pathlib import Path

import pytest
import torch

from serve_deployments.models.compiling import MODES, compiled
from serve_deployments.models.context import ModelError


@pytest.mark.parametrize(
    ("mode", "device", "cuda_graphs", "taken"),
    [
        ("default", "cpu", False, "default"),
        ("reduce-overhead", "cuda", False, "reduce-overhead"),
        ("reduce-overhead", "cuda", True, "default"),
        ("max-autotune", "cuda", True, "max-autotune-no-cudagraphs"),
        ("max-autotune", "cpu", True, "max-autotune"),
    ],
)
def test_the_mode_is_what_was_asked_for_unless_graphs_are_ours(mode, device, cuda_graphs, taken):
    model, [told] = compiled(
        "model", mode, device=device, cuda_graphs=cuda_graphs, compile=lambda model, mode: (model, mode)
    )
    assert model == ("model", taken) and f"mode {taken}" in told.how and told.asked == mode


def test_none_leaves_the_model_as_it_is_and_others_do_not_exist():
    assert compiled("model", "none", device="cuda", cuda_graphs=True) == ("model", ())
    with pytest.raises(ModelError, match="unknown compile mode 'fast'; use one of " + ", ".join(MODES)):
        compiled("model", "fast", device="cpu", cuda_graphs=False)


@pytest.mark.parametrize(
    ("mode", "cuda_graphs", "taken", "enforced"),
    [
        ("default", False, "default", True),
        ("reduce-overhead", False, "default", False),
        ("max-autotune", False, "max-autotune-no-cudagraphs", False),
        ("reduce-overhead", True, "default", True),
    ],
)
def test_torch_records_no_graphs_outside_the_share_of_a_gpu(mode, cuda_graphs, taken, enforced):
    """It records in a stream of its own, and what is replayed has the multiprocessors of where it was recorded."""
    model, [told] = compiled(
        "model", mode, device="cuda", cuda_graphs=cuda_graphs, in_stream=True, compile=lambda model, mode: (model, mode)
    )
    assert model == ("model", taken) and told.enforced is enforced and f"mode {taken}" in told.how
    assert ("outside the model's gpu_share; `cuda_graphs: true` records them within" in told.how) is not enforced


def test_torch_still_records_in_a_stream_of_its_own():
    """What the mode's fate under a share rests on; where this fails, look anew at whether it escapes."""
    source = Path(torch.__file__).with_name("_inductor").joinpath("cudagraph_trees.py").read_text(encoding="utf-8")
    assert "self.stream = torch.cuda.Stream()" in source
