"""`torch.compile` as a knob: each value means what it says, and graphs are recorded once, not twice."""

import pytest

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
