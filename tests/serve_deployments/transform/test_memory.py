"""Where bytes lie: files that other readers can read, mapped or copied, and a device whose copies come late."""

import hashlib
import json

import pytest
import torch
from safetensors import safe_open
from torch import nn

from serve_deployments.fakes.fake_accelerator import FakeAccelerator
from serve_deployments.models.context import ModelError
from serve_deployments.transform.live.holder import Holder
from serve_deployments.transform.live.memory import Mapped, OnDevice, Private
from serve_deployments.transform.live.registering import register
from serve_deployments.transform.planning.plan import Way
from serve_deployments.transform.registered.model_store import ModelStore
from serve_deployments.transform.registered.registered_model import Recipe, StoredBlob
from serve_deployments.transform.registered.weights_file import Entry, write
from tests.serve_deployments.transform.conftest import made_up_costs
from tests.serve_deployments.transform.families import FAMILIES, inputs, output, seeded, sibling

BERT = seeded(FAMILIES["bert"], 1)
TWIN = seeded(FAMILIES["bert"], 2)


def data(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.uint8)


def test_a_file_can_be_read_by_others_and_every_tensor_begins_at_a_multiple_of_64(tmp_path):
    half = torch.randn(3, 5).to(torch.bfloat16)
    entries = [
        Entry("a", "int8", (3,), data(1, 2, 3)),
        Entry("b.c", "bfloat16", (3, 5), half.view(torch.uint8).reshape(-1)),
        Entry("odd", "", (9,), data(*range(9))),
        Entry("complex", "complex64", (1,), data(*range(8))),
    ]
    begins = write(tmp_path / "w.safetensors", entries)
    assert [begin % 64 for begin in begins] == [0, 0, 0, 0]
    raw = (tmp_path / "w.safetensors").read_bytes()
    for begin, entry in zip(begins, entries, strict=True):
        assert raw[begin : begin + entry.data.numel()] == entry.data.numpy().tobytes()
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        assert {name for name in file.keys() if not name.startswith("__room__")} == {
            "a", "b.c", "odd#bytes", "complex#bytes",
        }  # fmt: skip
        assert torch.equal(file.get_tensor("b.c"), half) and file.get_tensor("a").tolist() == [1, 2, 3]
    assert [file.name for file in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.fixture
def store(tmp_path):
    return ModelStore(tmp_path / "store")


def weights_of(store):
    return {file.name for file in store.folder.glob("*.safetensors")}


def test_a_sibling_keeps_its_own_bytes_alone_and_removing_one_leaves_the_other_whole(store):
    register(store, Recipe("bert", BERT))
    one = weights_of(store)
    register(store, Recipe("fine", sibling(BERT)))
    [own] = weights_of(store) - one
    assert (store.folder / own).stat().st_size < 4096 < sum((store.folder / file).stat().st_size for file in one)
    store.remove("bert")
    assert store.names() == ["fine"] and weights_of(store) == one | {own}  # the trunk is used by what is left
    module = Holder(store, [Recipe("fine", sibling(BERT))], made_up_costs()).convert("fine").module
    given = inputs("bert")[2]
    assert torch.equal(output(module, given), output(sibling(BERT)(), given))
    store.remove("fine")
    assert weights_of(store) == set() and store.names() == []
    store.remove("fine")  # harmless


def test_files_that_are_gone_short_or_of_another_version_are_said_before_anything_is_done(store):
    recipe = Recipe("bert", BERT)
    register(store, recipe)
    [file] = weights_of(store)
    whole = (store.folder / file).read_bytes()
    (store.folder / file).write_bytes(whole[:-10])
    with pytest.raises(ModelError, match=r"has \d+ bytes, and bert needs \d+; register bert again"):
        store.load("bert")
    (store.folder / file).unlink()
    with pytest.raises(ModelError, match="No such file or directory; register bert again"):
        store.load("bert")
    description = store.folder / "bert.model.json"
    description.write_text(json.dumps(json.loads(description.read_text()) | {"form": 99}))
    with pytest.raises(ModelError, match="written by another version; register bert again"):
        store.load("bert")
    description.write_text("{")
    with pytest.raises(ModelError, match="cannot be read .* register bert again"):
        store.load("bert")


def test_registered_anew_a_model_has_its_new_weights(store):
    register(store, Recipe("model", BERT))
    ours = Holder(store, [Recipe("model", BERT)], made_up_costs())
    ours.convert("model")
    register(store, Recipe("model", TWIN))
    ours.release("model")
    ours.forget("model")
    given = inputs("bert")[0]
    assert torch.equal(output(ours.convert("model").module, given), output(TWIN(), given))


def stored(tmp_path, sizes):
    """Pieces of these sizes in a file, with content of their own."""
    contents = [torch.randint(0, 256, (size,), dtype=torch.uint8) for size in sizes]
    begins = write(tmp_path / "w", [Entry(f"{n}", "", (), each) for n, each in enumerate(contents)])
    pieces = [
        StoredBlob("w" if size else "", begin if size else 0, size) for begin, size in zip(begins, sizes, strict=True)
    ]
    return pieces, contents


SIZES = (10, 0, 64, 65, 200, 1)


def bytes_of(storage):
    return torch.empty(0, dtype=torch.uint8).set_(storage)


@pytest.mark.parametrize("make", [Mapped, Private, lambda: OnDevice(FakeAccelerator(), "cpu", stage_bytes=64)])
def test_every_memory_holds_what_the_file_has_and_is_nobody_elses(tmp_path, make):
    pieces, contents = stored(tmp_path, SIZES)
    before = hashlib.sha256((tmp_path / "w").read_bytes()).digest()
    memory = make()
    one, other = memory.take(tmp_path, pieces), memory.take(tmp_path, pieces)
    for storage in one:
        bytes_of(storage).fill_(7)
    for storage, content in zip(other, contents, strict=True):
        assert storage.nbytes() == content.numel() and torch.equal(bytes_of(storage), content)
    where = [storage.data_ptr() for storage in one]
    memory.fill(tmp_path, pieces, one)
    assert [storage.data_ptr() for storage in one] == where
    assert all(torch.equal(bytes_of(a), b) for a, b in zip(one, contents, strict=True))
    assert hashlib.sha256((tmp_path / "w").read_bytes()).digest() == before


def test_a_device_is_filled_by_two_buffers_in_turn_whatever_a_models_size(tmp_path):
    """The fake copies as late as it may: a buffer that is filled again too early would send the wrong bytes."""
    pieces, contents = stored(tmp_path, (1000, 3))
    device = FakeAccelerator()
    memory = OnDevice(device, "cpu", stage_bytes=64)
    assert device.allocated == [64, 64]
    made = memory.take(tmp_path, pieces)
    assert all(torch.equal(bytes_of(a), b) for a, b in zip(made, contents, strict=True))
    assert device.allocated == [64, 64, 1000, 3] and device.owners == ["copy in", "copy in"]
    assert device.journal.count("copy in") == 17  # 1000 bytes in sixteen parts, and 3 in one


def test_recorded_graphs_that_read_fixed_addresses_answer_for_the_model_that_was_copied_in(store):
    """A recording replays the same work on the same memory; `FakeAccelerator.capture` does as a CUDA graph does."""
    device = FakeAccelerator()
    recipes = [Recipe("bert", BERT), Recipe("twin", TWIN)]
    for recipe in recipes:
        register(store, recipe)
    ours = Holder(store, recipes, made_up_costs(), OnDevice(device, "cpu", stage_bytes=512))
    module = ours.convert("bert").module
    weight = module.get_parameter("pooler.dense.weight").detach()  # what a graph has of it is the address
    given = inputs("bert")[1]
    seen: list[torch.Tensor] = []
    replay = device.capture(lambda: seen.append(weight.clone()), device.compute_stream())
    replay()
    done = ours.convert("twin", source="bert", way=Way.IN_PLACE, insist=True)
    replay()
    fresh = BERT(), TWIN()
    assert done.failed == () and done.module is module
    assert [torch.equal(a, b.get_parameter("pooler.dense.weight")) for a, b in zip(seen, fresh, strict=True)] == [
        True
    ] * 2
    assert torch.equal(output(module, given), output(fresh[1], given))


def test_a_layer_without_weights_needs_no_file(store):
    assert register(store, Recipe("none", nn.ReLU)).files == frozenset()
    done = Holder(store, [Recipe("none", nn.ReLU)], made_up_costs()).convert("none")
    assert done.way is Way.SCRATCH and isinstance(done.module, nn.ReLU) and done.moved_bytes == 0
