"""A process that holds one model of torch after the other: right answers each time, by conversions where it can."""

import asyncio
import functools
from typing import Any

import pytest
import torch
from torch import nn

from serve_deployments.models.model import Builder
from serve_deployments.replicas.many.conversions import TransformConversions, without_weights
from serve_deployments.replicas.many.entry import ModelEntry
from serve_deployments.replicas.many.errors import ReplicaLost
from serve_deployments.replicas.many.held_models import HeldModels
from serve_deployments.replicas.many.module_places import ModulePlaces
from serve_deployments.settings import Settings
from serve_deployments.transform.graph.graph import NoGraph
from tests.serve_deployments.replicas.many import sibling_models
from tests.serve_deployments.replicas.many.sibling_models import Sibling, expected
from tests.serve_deployments.transform.conftest import made_up_costs

X = [0.5, -1.0, 2.0, 0.25]
KEPT: list[Any] = []


def entry(head, name=None, builder="model", module=sibling_models.__name__):
    settings = Settings(max_batch_size=4, args={"head": head}, emulated=True)
    return ModelEntry(name or f"m{head}", Builder(f"{module}:{builder}"), settings)


def keeps_a_part(head):
    module = Sibling(head).eval()
    part = module.head
    return lambda payloads: [{"y": part(torch.relu(module.trunk(torch.tensor(p["x"])))).item()} for p in payloads]


def known_elsewhere(head):
    module = Sibling(head).eval()
    KEPT.append(module)
    return lambda payloads: [{"y": KEPT[-1](torch.tensor(p["x"])).item()} for p in payloads if module]


def plain(head):
    return lambda payloads: [{"y": head} for _ in payloads]


def raises(head):
    raise ValueError("no such weights")


def converting(tmp_path):
    return HeldModels(lambda: TransformConversions(tmp_path, lambda store: made_up_costs()))


async def answered(held, *entries):
    found = []
    for each in entries:
        loaded = await held.hold(each)
        found.append(((await held.infer(each.name, {"x": X}))["y"], loaded.way))
    return found


def test_the_second_time_a_model_is_converted_to_and_only_what_differs_moves(tmp_path):
    async def test():
        held = converting(tmp_path)
        one, two = entry(1), entry(2)
        found = await answered(held, one, two, one, two, two)
        assert [y for y, _ in found] == pytest.approx([expected(h, X) for h in (1, 2, 1, 2, 2)])
        ways = [way for _, way in found]
        assert ways[:2] == ["built", "built"] and ways[4] == "held" and "built" not in ways[2:]
        back = await held.hold(one)
        assert 0 < back.bytes_moved <= 4 * (8 + 1)  # the head: eight weights and a bias
        held = converting(tmp_path)  # another process of the node finds both in the store
        assert [y for y, _ in await answered(held, two, one, two)] == pytest.approx([expected(h, X) for h in (2, 1, 2)])

    asyncio.run(test())


@pytest.mark.parametrize("builder", ["keeps_a_part", "known_elsewhere", "plain"])
def test_what_cannot_be_converted_is_built_each_time_and_right(tmp_path, builder):
    async def test():
        held = converting(tmp_path)
        models = [entry(head, builder=builder, module=__name__) for head in (1, 2)]
        found = await answered(held, *models, *models)
        wanted = (1, 2) if builder == "plain" else (expected(1, X), expected(2, X))
        assert [y for y, _ in found] == pytest.approx([*wanted, *wanted])
        assert {way for _, way in found} == {"built"}

    asyncio.run(test())


def test_a_model_that_raises_when_it_is_built_leaves_none_and_the_next_is_served(tmp_path):
    async def test():
        held = converting(tmp_path)
        await held.hold(entry(1))
        with pytest.raises(ValueError, match="no such weights"):
            await held.hold(entry(2, builder="raises", module=__name__))
        assert held.name is None
        with pytest.raises(ReplicaLost, match="holds no model, and not m1"):
            await held.infer("m1", {"x": X})
        assert (await answered(held, entry(1)))[0][0] == pytest.approx(expected(1, X))
        await held.drop()
        assert held.name is None and (await answered(held, entry(1)))[0][0] == pytest.approx(expected(1, X))

    asyncio.run(test())


def test_a_conversion_that_fails_is_followed_by_a_build(tmp_path, monkeypatch):
    async def test():
        held = converting(tmp_path)
        await answered(held, entry(1), entry(2))

        def fails(self, *args):
            raise OSError("a file is gone")

        monkeypatch.setattr("serve_deployments.transform.live.holder.Holder._get", fails)
        monkeypatch.setattr(TransformConversions, "note", lambda *args: None)
        [(y, way)] = await answered(held, entry(1))
        assert y == pytest.approx(expected(1, X)) and way == "built"

    asyncio.run(test())


def test_without_conversions_each_model_is_built(tmp_path):
    found = asyncio.run(answered(HeldModels(), entry(1), entry(2), entry(1)))
    assert [way for _, way in found] == ["built"] * 3


def test_a_module_is_exchanged_wherever_the_function_holds_it():
    old, new = nn.Linear(1, 1), nn.Linear(1, 1)

    class Holds:
        pass

    built: Any = Holds()
    inner, in_a_cell = {"m": [old]}, old
    built.attribute, built.function, built.inner = old, lambda: in_a_cell, inner
    places = ModulePlaces(built, old)
    places.put(new)
    assert built.attribute is new and built.function() is new and inner["m"][0] is new


@pytest.mark.parametrize(
    "refers",
    [
        lambda m: (m,),
        lambda m: functools.partial(print, m),
        lambda m: m.forward,
        lambda m: [m.weight],
        lambda m: m,
        lambda m: 3,
    ],
)
def test_what_would_go_on_with_the_old_module_is_refused(refers):
    module = nn.Linear(1, 1)
    with pytest.raises(NoGraph):
        ModulePlaces({"a": [1], "refers": refers(module)}["refers"], module)


def test_a_structure_has_no_memory_and_what_is_tied_stays_tied():
    module = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    module["b"].weight = module["a"].weight
    module.register_buffer("shift", torch.ones(2), persistent=False)
    copied = without_weights(module)
    assert all(t.is_meta for t in (*copied.parameters(), *copied.buffers()))
    assert copied["b"].weight is copied["a"].weight and not module["a"].weight.is_meta
