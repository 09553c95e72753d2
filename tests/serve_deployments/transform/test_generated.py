"""Random architectures become one another: ties, odd steps, other types, training mode, frozen weights, any way."""

import tempfile
from pathlib import Path

import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from serve_deployments.models.context import ModelError
from serve_deployments.transform.graph.reading import graph_of
from serve_deployments.transform.graph.tensors import held_tensors
from serve_deployments.transform.graph.traced_edges import Sample
from serve_deployments.transform.live.equality import differences
from serve_deployments.transform.live.holder import Holder
from serve_deployments.transform.live.memory import Mapped, Private
from serve_deployments.transform.live.registering import register
from serve_deployments.transform.planning.plan import Way
from serve_deployments.transform.registered.model_store import ModelStore
from serve_deployments.transform.registered.registered_model import Recipe
from tests.serve_deployments.transform.conftest import made_up_costs

KINDS = ("linear", "norm", "recurrent", "tied", "transposed", "batch norm", "constant", "overlapping")
ARCHITECTURES = st.tuples(
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=4),
    st.sampled_from((torch.float32, torch.float64, torch.bfloat16)),
    st.sampled_from(("eval", "train", "mixed")),
    st.booleans(),
)


class Generated(nn.Module):
    """Layers of one width, with whatever a model may have beside plain weights."""

    def __init__(self, kinds, frozen: bool) -> None:
        super().__init__()
        self.kinds = list(kinds)
        self.layers = nn.ModuleList(nn.LSTM(4, 4) if kind == "recurrent" else nn.Linear(4, 4) for kind in kinds)
        self.norms = nn.ModuleList(nn.BatchNorm1d(4) if kind == "batch norm" else nn.LayerNorm(4) for kind in kinds)
        self.first = nn.Linear(4, 4, bias=False)
        for n, (kind, layer) in enumerate(zip(kinds, self.layers, strict=True)):
            if kind == "tied":
                layer.weight = self.first.weight
            elif kind == "transposed":
                layer.weight = nn.Parameter(torch.randn(4, 4).t())
            elif kind == "constant":
                setattr(self, f"constant{n}", torch.randn(4))
            elif kind == "overlapping":
                both = torch.randn(6)
                layer.bias = nn.Parameter(both[:4])
                self.register_buffer(f"shift{n}", both[2:], persistent=False)
        for parameter in list(self.parameters())[: len(kinds) if frozen else 0]:
            parameter.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for n, (kind, layer, norm) in enumerate(zip(self.kinds, self.layers, self.norms, strict=True)):
            x = norm(layer(x)[0] if kind == "recurrent" else layer(x))
            x = x + vars(self).get(f"constant{n}", 0) + (getattr(self, f"shift{n}") if kind == "overlapping" else 0)
        return x


def builder(architecture, seed):
    kinds, dtype, mode, frozen = architecture

    def build() -> nn.Module:
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            model = Generated(kinds, frozen).train(mode == "train")
            if mode == "mixed":
                model.layers[0].train()
            model.register_buffer("other", torch.randn(3).to(dtype))
            return model

    return build


def told(model: nn.Module):
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    named += [(name, value) for name, value in vars(model).items() if isinstance(value, torch.Tensor)]
    first: dict[int, str] = {}
    where = [tensor.data_ptr() for _, tensor in named]
    overlaps = [
        (i, j) for i, a in enumerate(where) for j, b in enumerate(where)
        if a <= b < a + named[i][1].numel() * named[i][1].element_size()
    ]  # fmt: skip
    return (
        [(n, type(t), t.dtype, t.shape, t.stride(), t.requires_grad, first.setdefault(id(t), n)) for n, t in named],
        [(n, type(m), m.training) for n, m in model.named_modules()],
        overlaps,
    )


def assert_same(model: nn.Module, build) -> None:
    fresh = build()
    assert told(model) == told(fresh)
    for ours, theirs in zip(held_tensors(model), held_tensors(fresh), strict=True):
        assert ours.places == theirs.places and torch.equal(ours.tensor, theirs.tensor)
    for rows in (2, 3, 5):
        x = torch.randn(rows, 4, generator=torch.Generator().manual_seed(rows))
        with torch.inference_mode():
            assert torch.equal(model(x), fresh(x))


@settings(max_examples=25, phases=(Phase.explicit, Phase.generate))  # to shrink takes minutes, and reads no better
@given(
    st.lists(ARCHITECTURES, min_size=2, max_size=2),
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from([*Way, None])), min_size=2, max_size=5),
    st.booleans(),
)
def test_generated_models_become_one_another(architectures, walk, private):
    builds = [builder(architectures[0], 1), builder(architectures[1], 2), builder(architectures[0], 3)]
    with tempfile.TemporaryDirectory() as folder:
        store = ModelStore(Path(folder))
        recipes = [Recipe(f"model{n}", build) for n, build in enumerate(builds)]
        for recipe in recipes:
            made = register(store, recipe, [Sample((torch.ones(3, 4),))])
            assert made.why_not is None, made.why_not
            assert store.load(recipe.name) == made
        ours = Holder(store, recipes, made_up_costs(), Private() if private else Mapped())
        now = "model0"
        ours.convert(now)
        for number, way in walk:
            target = f"model{number}"
            if target == now:
                continue
            try:
                done = ours.convert(target, source=now, way=way, insist=True)
            except ModelError as error:
                assert "cannot be got by the way" in str(error) or "another replica" in str(error)
                done = ours.convert(target, source=now)
            assert done.failed == () and ours.held == (target,)
            assert_same(done.module, builds[number])
            # What serving does to it: running statistics, in-place writes.
            with torch.no_grad():
                done.module(torch.randn(3, 4))
                next(done.module.parameters()).mul_(2)
            now = target


def test_what_differs_is_said():
    def build(scale=1.0, **given):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 2, **given), nn.BatchNorm1d(2)).eval()
        with torch.no_grad():
            model[0].weight.mul_(scale)
        return model

    assert differences(build(), build(), [Sample((torch.ones(2, 2),))]) == []
    for other, said in (
        (build(2.0), "0.weight differs in content"),
        (build(bias=False), "0.bias has its places"),
        (build().train(), "has training False"),
        (build().double(), "differs in dtype"),
        (build().requires_grad_(False), "differs in requires_grad"),
        (nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)).eval(), "module '1' has"),
    ):
        assert any(said in line for line in differences(build(), other)), said
    zero, minus = nn.Linear(1, 1), nn.Linear(1, 1)
    with torch.no_grad():
        for parameter in [*zero.parameters(), *minus.parameters()]:
            parameter.zero_()
        minus.bias.neg_()
    assert differences(zero, minus) == ["tensor bias differs in content"]
    assert graph_of(zero).same_structure(graph_of(minus))
