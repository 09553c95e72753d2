"""The files of a service, and what is said of those that changed."""

import os
from pathlib import Path

import pytest

from raytune_infer.spec.service import Service
from raytune_infer.spec.service_spec import load_spec
from raytune_infer.study.fingerprint import file_digests
from raytune_infer.study.fingerprint.file_digests import changed_files, model_digests, named_digests
from raytune_infer.study.fingerprint.fingerprint import differences

BUILT = """\
name: mine
model:
  build: model:build
  args: {weights: w.bin, more: [{deep: deep.bin}], folder: hf, other: cache, text: "no file", long: "LONG"}
samples: [x]
quality: judging:score
knobs: {cpu_cores: [1], vocabulary: {kind: args, values: [a.txt, b.txt]}, MODE: {kind: env, values: [mode.json]}}
objective: {maximize: rps}
""".replace("LONG", "x" * 5000)
FILES = {
    "model.py": "import net\ndef build(**args):\n    return lambda batch: batch\n", "net.py": "",
    "judging.py": "def score(answer): return 1\n", "w.bin": "1", "deep.bin": "2", "a.txt": "", "b.txt": "",
    "mode.json": "{}", "hf/config.json": "{}", "hf/model.safetensors": "3", "hf/README.md": "", "cache/x": "",
}  # fmt: skip


def service(folder: Path, text: str = BUILT) -> Service:
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        if not (folder / name).exists():
            (folder / name).write_text(content)
    (folder / "service.yaml").write_text(text)
    return Service(load_spec(folder / "service.yaml"))


def test_code_and_score_and_what_arguments_and_knobs_name_is_there(tmp_path):
    of = service(tmp_path)
    assert set(model_digests(of)) == {"model.py", "net.py", "judging.py"}
    # A folder counts if it is a model's: in another one, such as a cache, the model may write.
    assert set(named_digests(of)) == {
        "w.bin", "deep.bin", "a.txt", "b.txt", "mode.json", "hf/config.json", "hf/model.safetensors"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["model.py", "net.py", "judging.py", "w.bin", "deep.bin", "b.txt", "hf/config.json"])
def test_a_file_that_changes_is_named_and_one_put_back_is_not(tmp_path, name):
    def digests() -> dict[str, object]:
        of = service(tmp_path)
        return {"files": model_digests(of), "named_files": named_digests(of)}

    before = digests()
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content + b"\n")
    assert differences(before, digests()) == [name]
    (tmp_path / name).write_bytes(content)
    os.utime(tmp_path / name, (0, 0))
    assert differences(before, digests()) == []


def test_files_of_weights_are_there_with_what_lies_beside_them(tmp_path):
    for name in ("m.onnx", "m.onnx_data", "m.onnx.data", "other.onnx"):
        (tmp_path / name).write_text(name)
    text = "name: m\nmodel: {path: PATH}\nsamples: [x]\nknobs: {cpu_cores: [1]}\nobjective: {maximize: rps}\n"
    of = service(tmp_path, text.replace("PATH", "m.onnx"))
    assert set(model_digests(of)) == {"m.onnx", "m.onnx_data", "m.onnx.data"} and named_digests(of) == {}
    of = service(tmp_path, text.replace("PATH", "hf"))
    assert set(model_digests(of)) == {"hf/config.json", "hf/model.safetensors"}


def test_of_a_large_file_size_and_time_of_change_count(tmp_path, monkeypatch):
    monkeypatch.setattr(file_digests, "MOST_BYTES", 3)
    before = named_digests(service(tmp_path))
    large = tmp_path / "mode.json"
    large.write_text("1234")
    os.utime(large, (1, 1))
    now = named_digests(service(tmp_path))
    assert changed_files(before, now) == ["mode.json (its size or time of change)"]
    large.write_text("5678")
    os.utime(large, (1, 1))
    assert named_digests(service(tmp_path)) == now
    os.utime(large, (2, 2))
    assert changed_files(now, named_digests(service(tmp_path))) == ["mode.json (its size or time of change)"]


def test_what_is_gone_or_added_is_said_so():
    before, now = {"a": "sha256:1", "b": "sha256:2"}, {"b": "sha256:2", "c": "sha256:3"}
    assert changed_files(before, now) == ["a (gone)", "c (added)"]
    assert changed_files(before, now, added=False) == ["a (gone)"]
    # The model may write a file that an argument names; code that is new may hide another module.
    assert differences({"files": {}, "named_files": {}}, {"files": {}, "named_files": {"log": "sha256:1"}}) == []
    assert differences({"files": {}, "named_files": {}}, {"files": now, "named_files": {}}) == [
        "b (added)", "c (added)"
    ]  # fmt: skip


def test_a_file_elsewhere_that_an_earlier_version_read_has_not_changed():
    before = {"files": {}, "named_files": {"/etc/hostname": "sha256:1", "../x": "sha256:2", "w.bin": "sha256:3"}}
    assert differences(before, {"files": {}, "named_files": {}}) == ["w.bin (gone)"]


def test_a_study_from_before_there_were_digests_has_changed_nothing():
    assert differences({"model": 1}, {"model": 1, "files": {"model.py": "sha256:1"}, "named_files": {}}) == []
