"""The benchmark of replays: what it measures is what it says, and its section has every system."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks.transform import transform
from benchmarks.transform.replay.costs import Costs, ModelCosts
from benchmarks.transform.replay.families import Structure
from benchmarks.transform.replay.measured_costs import from_scratch
from benchmarks.transform.replay.systems import systems


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.norm, self.head = nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)
        self.register_buffer("shift", torch.arange(4.0), persistent=False)

    def forward(self, x):
        return self.head(self.norm(self.trunk(x + self.shift)))


def test_a_model_from_scratch_is_the_one_that_was_saved_and_nothing_stays_patched(tmp_path):
    saved = Small().eval()
    saved.norm.running_mean += 1.0
    save_file(saved.state_dict(), tmp_path / "w.safetensors")
    loaded = from_scratch(Structure(Small, dict, "head"), tmp_path / "w.safetensors")
    x = torch.randn(3, 4)
    assert torch.equal(loaded(x), saved(x)) and not loaded.training
    assert not any(t.is_meta for t in [*loaded.parameters(), *loaded.buffers()])
    assert not Small().trunk.weight.is_meta


def test_the_section_has_every_system_and_compares_with_multiplexing(tmp_path, monkeypatch, capsys):
    def costs(folder, rounds, siblings):
        model = ModelCosts("s", {"trunk": 90, "head": 10}, 8.0, 4.0, 2.0, 1.0)
        return Costs(10.0, {f"m{i}": model for i in range(6)})

    monkeypatch.setattr(transform, "measure", costs)
    out = tmp_path / "R.md"
    transform.main(["--days", "2", "--replicas", "1", "--out", str(out)])
    text = out.read_text()
    assert all(f"| {system.name} |" in text for system in systems(60.0))
    assert "## Replay of poisson, 1 a replica" in text and "Against Serve multiplexing, LRU, conversion takes" in text
    assert "| s | 0 | 8000.0 | 4000.0 | 2000.0 | 1000.0 |" in text
    with pytest.raises(SystemExit, match="there is no"):
        transform.main(["--trace", str(tmp_path / "none"), "--out", str(out)])
