"""What a study says and refuses as it begins: of its cluster, its space and its default."""

import pytest
from whole_studies import NODE, SPEC, Machine, study, without_ray

from cluster.inventory import Node
from raytune_infer.errors import NothingFits, UserError
from raytune_infer.progress import Silent

EMULATED = Node(
    node_id="b", hostname="b", cpu_cores=4, memory_gib=8.0, gpu_type="T4", gpus=1.0, gpu_memory_gib=16.0, emulated=True
)


class Notes(Silent):
    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


def test_a_real_model_is_not_measured_on_devices_that_are_emulated(tmp_path, monkeypatch):
    without_ray(monkeypatch, None, EMULATED)
    real = SPEC.replace('"cluster.emulated:model", args: {profile: bert-base}', '"collections:Counter"')
    with pytest.raises(UserError, match="'known' is a real model, but GPUs of this cluster are emulated"):
        study(tmp_path / "run", text=real, searcher="random").run()
    assert not (tmp_path / "run").exists()
    result = study(tmp_path / "emulated", searcher="random").run()
    assert all(trial.emulated for trial in result.trials)
    without_ray(monkeypatch)
    result = study(tmp_path / "real", text=real, searcher="random").run()
    assert not any(trial.emulated for trial in result.trials)


def test_what_does_not_fit_is_told_and_left_out(tmp_path, monkeypatch):
    without_ray(monkeypatch)
    text = SPEC.replace("cpu_cores: [1, 2, 4]", "cpu_cores: [8, 2, 4]")
    result = study(tmp_path / "run", machine := Machine(), text, searcher="random").run(12, progress=(notes := Notes()))
    assert any(told.startswith("4 configurations left out: asks 8 cores") for told in notes.told)
    assert f"the run's folder is {tmp_path / 'run'}" in notes.told
    # The first value of every knob is the default, and this one fits nowhere.
    assert "the default configuration does not fit on this cluster: nothing to compare with" in notes.told
    assert result.default is None and result.ratio is None
    assert {settings.cpu_cores for _, settings, _ in machine.asked} == {2, 4}
    with pytest.raises(NothingFits, match="no configuration of 'known' fits on this cluster: 4 configurations: asks 8"):
        study(tmp_path / "none", text=SPEC.replace("[1, 2, 4]", "[8]"), searcher="random").run()


def test_where_all_is_well_nothing_but_the_folder_is_told(tmp_path, monkeypatch):
    without_ray(monkeypatch, None, NODE)
    result = study(tmp_path / "run", searcher="random").run(progress=(notes := Notes()))
    assert [told for told in notes.told if "folder" not in told] == []
    assert result.prices.startswith("cloud-2026, 20") and result.run.path == tmp_path / "run"
