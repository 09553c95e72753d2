import stat

import pytest
import torch
from safetensors.torch import load_file

from searchers.pretrained.weights_file import FileKind, part, read, write

CATS = FileKind("cat", "cats", "make cats")
TENSORS = {"a.x": torch.arange(3.0), "a.y.z": torch.arange(6.0).reshape(2, 3).T, "b.x": torch.ones(1)}


def test_what_was_written_is_read_in_a_folder_that_is_made(tmp_path):
    path = tmp_path / "one" / "two" / "cats.safetensors"
    write(path, CATS, TENSORS, {"name": "Ähre", "list": [1, None]})
    write(path, CATS, TENSORS, {"name": "Ähre", "list": [1, None]})  # over what is there
    tensors, about = read(path, CATS)
    assert about == {"name": "Ähre", "list": [1, None]}
    assert set(tensors) == set(TENSORS) and all(torch.equal(tensors[k], v) for k, v in TENSORS.items())
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert set(load_file(path)) == set(TENSORS)


@pytest.mark.parametrize("kind", [FileKind("dog", "dogs", "make dogs"), FileKind("", "dogs", "make dogs")])
def test_another_kind_is_refused_with_the_command_that_writes_one(tmp_path, kind):
    path = tmp_path / "f.safetensors"
    write(path, CATS, TENSORS, {})
    with pytest.raises(
        ValueError, match=r"f.safetensors is not a dogs file .*does not say.*create one with `make dogs`"
    ):
        read(path, kind)


def test_no_file_no_safetensors_and_no_json_are_refused_alike(tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "text").write_text("hello")
    save_file({"x": torch.ones(1)}, tmp_path / "bare")
    save_file({"x": torch.ones(1)}, tmp_path / "odd", metadata={"cat": "{"})
    for name in ("missing", "text", "bare", "odd"):
        with pytest.raises(ValueError, match=f"{name} is not a cats file"):
            read(tmp_path / name, CATS)


def test_a_part_is_what_begins_with_its_name_and_a_dot():
    assert set(part(TENSORS, "a")) == {"x", "y.z"} and set(part({**TENSORS, "ab.x": torch.ones(1)}, "a")) == {
        "x",
        "y.z",
    }
    assert torch.equal(part(TENSORS, "b")["x"], torch.ones(1)) and part(TENSORS, "c") == {}
