"""A converted model is what a fresh load is, whatever was converted into it, by every way; and when something fails."""

import gc
import itertools
import resource

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from serve_deployments.models.context import ModelError
from serve_deployments.transform.graph.traced_edges import Sample
from serve_deployments.transform.live.equality import differences
from serve_deployments.transform.live.holder import ConversionFailed, Holder
from serve_deployments.transform.live.memory import Mapped, Private
from serve_deployments.transform.live.registering import register
from serve_deployments.transform.planning.plan import Way
from serve_deployments.transform.registered.model_store import ModelStore
from serve_deployments.transform.registered.registered_model import Recipe
from tests.serve_deployments.transform.conftest import made_up_costs
from tests.serve_deployments.transform.families import FAMILIES, inputs, merged, output, seeded, sibling

BUILDS = {name: seeded(make, 1) for name, make in FAMILIES.items()}
BUILDS["bert2"] = seeded(FAMILIES["bert"], 2)
BUILDS["bert-fine"] = sibling(BUILDS["bert"])
BUILDS["bert-lora"] = merged(BUILDS["bert"])
BUILDS["gpt2-2"] = seeded(FAMILIES["gpt2"], 2)
FAMILY = {name: "gpt2" if name == "gpt2-2" else name.split("-")[0].rstrip("2") for name in BUILDS} | {"gpt2": "gpt2"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    made = ModelStore(tmp_path_factory.mktemp("store"))
    for name, build in BUILDS.items():
        calls = [Sample((each,)) for each in inputs(FAMILY[name])]
        assert register(made, Recipe(name, build), calls[:1] if name in ("resnet", "vgg") else ()).why_not is None
    return made


def holder(store, memory=None, **given) -> Holder:
    recipes = [Recipe(name, build) for name, build in BUILDS.items()]
    return Holder(store, recipes, made_up_costs(), memory or Mapped(), **given)


def told(model: nn.Module):
    """All that an outsider can tell of a model, collected without any of the code that is tested."""
    named = list(model.named_parameters(remove_duplicate=False)) + list(model.named_buffers(remove_duplicate=False))
    first: dict[int, str] = {}
    tied = {name: first.setdefault(id(tensor), name) for name, tensor in named}
    modules = [(n, type(m), m.training, [len(vars(m)[h]) for h in vars(m) if h.endswith("_hooks")]) for n, m in
               model.named_modules()]  # fmt: skip
    tensors = [(n, type(t), t.dtype, t.shape, t.stride(), t.requires_grad, t.device, t.grad) for n, t in named]
    return modules, tensors, tied, sorted(model.state_dict())


def assert_as_fresh(model: nn.Module, name: str) -> None:
    fresh = BUILDS[name]()
    assert told(model) == told(fresh)
    theirs = dict(fresh.named_parameters()) | dict(fresh.named_buffers())
    for path, tensor in itertools.chain(model.named_parameters(), model.named_buffers()):
        assert torch.equal(tensor, theirs[path]), path
    for one in inputs(FAMILY[name]):
        assert torch.equal(output(model, one), output(fresh, one))
    assert differences(model, fresh) == []


@pytest.mark.parametrize("memory", [Mapped, Private])
@pytest.mark.parametrize("name", BUILDS)
def test_every_family_becomes_another_one_and_itself_again(store, name, memory):
    ours = holder(store, memory())
    assert ours.convert(name).way is Way.SCRATCH
    assert_as_fresh(ours.module(name), name)
    other = "vgg" if FAMILY[name] != "vgg" else "bert"
    assert_as_fresh(ours.convert(other, source=name).module, other)
    assert ours.held == (other,)
    back = ours.convert(name, source=other)
    assert back.way in (Way.REPOINT, Way.DIFFERENCE) and back.failed == ()  # new biases are all zero in any model
    assert_as_fresh(back.module, name)


@pytest.mark.parametrize("memory", [Mapped, Private])
@pytest.mark.parametrize("way", [Way.DIFFERENCE, Way.REPOINT, Way.IN_PLACE, Way.SCRATCH, Way.OPERATORS, Way.NAIVE])
def test_each_way_makes_of_a_model_its_sibling_and_of_that_the_model_again(store, way, memory):
    ours = holder(store, memory())
    ours.convert("bert")
    for source, target in (("bert", "bert-fine"), ("bert-fine", "bert"), ("bert", "bert2")):
        if way is Way.DIFFERENCE and target == "bert2":
            continue  # nothing is shared but what is all ones or zeros
        done = ours.convert(target, source=source, way=way, insist=True)
        assert done.way is way and done.failed == () and ours.held == (target,)
        assert_as_fresh(done.module, target)
        if way is Way.NAIVE:
            ours.release(target)
            ours.convert(target)


PAIRS = [("bert", "roberta"), ("resnet", "densenet"), ("gpt2", "llama"), ("vit", "vgg")]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_the_papers_operators_lead_from_any_family_to_another(store, source, target):
    ours = holder(store)
    ours.convert(source)
    done = ours.convert(target, source=source, way=Way.OPERATORS, insist=True)
    assert done.way is Way.OPERATORS and done.failed == ()
    assert_as_fresh(done.module, target)
    assert_as_fresh(ours.convert(source, source=target, way=Way.OPERATORS, insist=True).module, source)


def addresses(model):
    return [tensor.data_ptr() for tensor in itertools.chain(model.parameters(), model.buffers())]


def test_in_place_the_module_and_all_addresses_stay_and_only_what_differs_is_copied(store):
    ours = holder(store, Private())
    module = ours.convert("bert").module
    before = addresses(module)
    done = ours.convert("bert-fine", source="bert", way=Way.IN_PLACE)
    assert done.module is module and addresses(module) == before
    changed = list(BUILDS["bert"]().parameters())[-2:]
    assert done.moved_bytes == sum(each.numel() * each.element_size() for each in changed)


def test_the_difference_alone_is_mapped_and_what_is_shared_stays_where_it_is(store):
    ours = holder(store)
    module = ours.convert("bert").module
    before = addresses(module)
    done = ours.convert("bert-fine", source="bert")
    assert done.way is Way.DIFFERENCE and done.module is module
    after = addresses(module)
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 2
    assert done.moved_bytes == done.plan.moved_bytes == (16 * 16 + 16) * 4


@pytest.mark.parametrize("way", [None, Way.DIFFERENCE, Way.IN_PLACE, Way.REPOINT])
def test_what_a_served_model_has_changed_of_itself_does_not_reach_the_next_one(store, way):
    ours = holder(store)
    module = ours.convert("bert").module
    with torch.inference_mode():
        module.embeddings.word_embeddings.weight.add_(1)
    module.encoder.layer[0].register_forward_hook(lambda *given: None)
    module.train()
    module.encoder.layer[1].attention.self.extra = [1, 2]
    module.config.hidden_dropout_prob = 0.75
    module.pooler.dense.weight.requires_grad_(False)
    module.pooler.dense.bias.grad = torch.ones(16)
    module.embeddings.position_ids = torch.zeros(1, 32, dtype=torch.int64)
    module.forward = lambda *given: None
    done = ours.convert("bert-fine", source="bert", way=way)
    assert_as_fresh(done.module, "bert-fine")
    assert done.module.config.hidden_dropout_prob == 0.1
    assert not hasattr(done.module.encoder.layer[1].attention.self, "extra")


def test_a_resident_model_comes_back_as_it_was_loaded_and_the_source_stays(store):
    ours = holder(store)
    ours.convert("bert")
    module = ours.convert("resnet").module
    with torch.no_grad():
        next(module.parameters()).zero_()
    done = ours.convert("resnet", source="bert")
    assert done.way is Way.RESIDENT and done.module is module and set(ours.held) == {"bert", "resnet"}
    assert done.moved_bytes == 3 * 8 * 7 * 7 * 4  # the one that was written to
    assert_as_fresh(module, "resnet")


def test_live_models_share_no_memory_and_writing_reaches_no_file(store):
    ours = holder(store)
    one, other = ours.convert("bert").module, ours.convert("bert-fine").module
    twice = holder(store).convert("bert").module
    with torch.no_grad():
        for tensor in itertools.chain(one.parameters(), one.buffers()):
            tensor.fill_(7)
    assert_as_fresh(other, "bert-fine")
    assert_as_fresh(twice, "bert")
    assert_as_fresh(holder(store).convert("bert").module, "bert")


def test_no_two_tensors_of_a_model_share_memory_unless_they_do_when_it_is_built(store):
    module = holder(store).convert("bert").module  # all biases are zero, and all their hashes the same
    with torch.no_grad():
        module.encoder.layer[0].output.dense.bias.fill_(1)
    fresh = dict(BUILDS["bert"]().named_parameters())
    changed = [name for name, parameter in module.named_parameters() if not torch.equal(parameter, fresh[name])]
    assert changed == ["encoder.layer.0.output.dense.bias"]


class Failing(Mapped):
    """Fails at the n-th piece of memory that it copies into, or at the n-th call that it takes memory in."""

    def __init__(self, at_piece=None, at_call=None):
        self.at_piece, self.at_call, self.calls = at_piece, at_call, 0

    def take(self, folder, blobs):
        self.calls += 1
        if self.calls == self.at_call:
            raise OSError("no memory to map it")
        return super().take(folder, blobs)

    def fill(self, folder, blobs, into):
        for i, (blob, storage) in enumerate(zip(blobs, into, strict=True)):
            if i == self.at_piece:
                raise OSError("the file is gone")
            super().fill(folder, [blob], [storage])


@pytest.mark.parametrize("piece", [0, 1, 9])
def test_a_copy_that_fails_half_way_is_followed_by_a_load_from_scratch(store, piece):
    ours = holder(store, Failing(at_piece=piece))
    ours.convert("bert")
    done = ours.convert("bert2", source="bert", way=Way.IN_PLACE, insist=True)
    assert (
        done.way is Way.SCRATCH and done.failed == ("in place: OSError: the file is gone",) and ours.held == ("bert2",)
    )
    assert_as_fresh(done.module, "bert2")


def test_a_way_that_cannot_begin_leaves_the_live_model_as_it_was(store):
    ours = holder(store, Failing(at_call=2))
    ours.convert("bert")
    done = ours.convert("bert-fine", source="bert")
    assert done.way is Way.SCRATCH and done.failed == ("difference: OSError: no memory to map it",)
    assert_as_fresh(done.module, "bert-fine")


def test_where_nothing_leads_to_a_model_the_source_is_still_there(store, tmp_path):
    lonely = ModelStore(tmp_path)
    for name in ("bert", "vgg"):
        register(lonely, Recipe(name, BUILDS[name]))

    def broken():
        raise RuntimeError("its code is gone")

    ours = Holder(lonely, [Recipe("bert", BUILDS["bert"]), Recipe("vgg", broken)], made_up_costs())
    ours.convert("bert")
    with pytest.raises(ConversionFailed, match=r"scratch: RuntimeError: its code is gone; naive: RuntimeError"):
        ours.convert("vgg", source="bert")
    assert ours.held == ("bert",)
    assert_as_fresh(ours.module("bert"), "bert")


def test_refusals_say_what_there_is(store, tmp_path):
    ours = holder(store)
    with pytest.raises(ModelError, match="no model 'nobody' is registered in .*; there are: bert"):
        ours.convert("nobody")
    with pytest.raises(ModelError, match="'vgg' is not held here; held are none"):
        ours.convert("bert", source="vgg")
    with pytest.raises(ModelError, match="by the way 'in place' here; it can by scratch"):
        ours.convert("bert", way=Way.IN_PLACE)
    ours.convert("bert")
    with pytest.raises(ModelError, match=r"'operators' would take .* leave the choice to the planner, or insist"):
        ours.convert("vgg", source="bert", way=Way.OPERATORS)
    with pytest.raises(ModelError, match="cannot be a model's name"):
        Recipe("../bert", BUILDS["bert"])
    with pytest.raises(ModelError, match="ask whoever starts replicas"):
        ours.convert("vgg", way=Way.REPLICA, insist=True)
    empty = Holder(store, [], made_up_costs())
    with pytest.raises(ConversionFailed, match="has no recipe for 'bert'; it has none"):
        empty.convert("bert")


class Elsewhere(nn.Module):
    """Holds what a structure without memory would lack, or looks at a tensor's content when it is built."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        if kind == "list":
            self.tables = [torch.ones(2)]
        elif kind == "content":
            self.scale = float(torch.arange(3.0).sum())
        elif kind == "random":
            self.code = {object.__hash__(self)}
        elif kind == "loaded" and self.layer.weight.device.type != "meta":
            self.loaded = {"from": ["here", 1.5, None]}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


@pytest.mark.parametrize(
    ("kind", "said"), [("list", "register them as buffers"), ("random", "in the model itself: attribute 'code'")]
)
def test_what_cannot_be_converted_is_registered_with_the_reason_and_built_each_time(tmp_path, kind, said):
    there = ModelStore(tmp_path)
    model = register(there, Recipe("odd", lambda: Elsewhere(kind)))
    assert said in model.why_not and there.load("odd") == model
    ours = Holder(there, [Recipe("odd", lambda: Elsewhere(kind))], made_up_costs())
    done = ours.convert("odd")
    assert done.way is Way.NAIVE and done.module(torch.ones(1, 2)).shape == (1, 2)
    assert ours.convert("odd").way is Way.RESIDENT


def test_a_model_whose_code_reads_a_tensor_when_it_is_built_is_converted_all_the_same(tmp_path):
    there = ModelStore(tmp_path)
    recipe = Recipe("reads", seeded(lambda: Elsewhere("content"), 1))
    assert register(there, recipe, [Sample((torch.ones(1, 2),))]).why_not is None
    assert Holder(there, [recipe], made_up_costs()).convert("reads").module.scale == 3.0


def test_marks_that_loading_leaves_on_a_module_are_on_the_converted_one_too(tmp_path):
    there = ModelStore(tmp_path)
    recipe = Recipe("loaded", seeded(lambda: Elsewhere("loaded"), 1))
    assert register(there, recipe).why_not is None
    one, other = Holder(there, [recipe], made_up_costs()), Holder(there, [recipe], made_up_costs())
    made = one.convert("loaded").module
    assert made.loaded == {"from": ["here", 1.5, None]}
    made.loaded["from"].append(2)
    assert other.convert("loaded").module.loaded == {"from": ["here", 1.5, None]}


def test_two_hundred_conversions_take_no_memory(store):
    ours = holder(store)
    names = ["bert", "bert-fine", "bert2", "resnet", "gpt2", "llama"]
    ours.convert(names[0])

    def rounds(count):
        for i in range(count):
            ours.convert(names[(i + 1) % len(names)], source=names[i % len(names)])

    rounds(60)
    gc.collect()
    objects, maps, peak = len(gc.get_objects()), open("/proc/self/maps").read().count(".safetensors"), resident_kib()
    rounds(204)
    gc.collect()
    assert ours.held == (names[0],)
    assert len(gc.get_objects()) - objects < 500
    assert open("/proc/self/maps").read().count(".safetensors") <= maps + 2
    assert resident_kib() - peak < 4096


def resident_kib() -> int:
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() // 1024


# After thousands of other tests in one process it failed inside of torch once in two whole runs; by itself never.
@pytest.mark.slow
def test_compiled_code_serves_the_sibling_without_compiling_again(store):
    ours = holder(store)
    module = ours.convert("resnet").module
    twin = ModelStore(store.folder)
    register(twin, Recipe("resnet-twin", seeded(FAMILIES["resnet"], 5)))
    ours.add(Recipe("resnet-twin", seeded(FAMILIES["resnet"], 5)))
    count = 0

    def backend(graph, given):
        nonlocal count
        count += 1
        return graph.forward

    run = torch.compile(module, backend=backend)
    image = inputs("resnet")[0]
    with torch.no_grad():
        run(image)
        before = count
        done = ours.convert("resnet-twin", source="resnet")
        assert done.module is module and done.way in (Way.REPOINT, Way.DIFFERENCE)
        assert torch.equal(run(image), seeded(FAMILIES["resnet"], 5)()(image)) and count == before
    store.remove("resnet-twin")


IN_PROCESS = [Way.DIFFERENCE, Way.REPOINT, Way.IN_PLACE, Way.SCRATCH, Way.OPERATORS, None]


@settings(max_examples=15)
@given(data=st.data(), private=st.booleans())
def test_random_walks_over_families_by_random_ways(store, data, private):
    ours = holder(store, Private() if private else Mapped())
    now = data.draw(st.sampled_from(sorted(BUILDS)))
    ours.convert(now)
    for _ in range(4):
        target = data.draw(st.sampled_from(sorted(set(BUILDS) - {now})))
        plans = [way for way in IN_PROCESS if way is None or is_open(ours, target, now, way)]
        way = data.draw(st.sampled_from(plans))
        done = ours.convert(target, source=now, way=way, insist=True)
        assert done.failed == () and ours.held == (target,) and (way is None or done.way is way)
        assert_as_fresh(done.module, target)
        now = target


def is_open(ours, target, source, way):
    try:
        return ours.plan(target, source, way, insist=True).way is way
    except ModelError:
        return False
