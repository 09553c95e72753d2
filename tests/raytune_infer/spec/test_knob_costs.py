"""What changing a knob costs: service.yaml, the searcher, the pool, the replica and the documentation say the same."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch

from cluster.inventory import Inventory, Node
from cluster.prices import load_prices
from raytune_infer.spec.document import Document
from raytune_infer.spec.service_spec import parse_spec
from raytune_infer.spec.standard_knobs import STANDARD_KNOBS, encode
from raytune_infer.study.space import service_space
from searchers.base import History
from searchers.meta.switching import replicas, warm
from serve_deployments.fakes.fake_backend import FakeBackend
from serve_deployments.models.model import Builder
from serve_deployments.replicas.warm.pool import Pool
from serve_deployments.settings import Settings
from tests.repository import ROOT
from tests.serve_deployments.virtual_replica import served

VALUES: dict[str, list[Any]] = {
    "cpu_cores": [1, 2],
    "gpu_type": ["T4", "V100", "none"],
    "gpu_share": [0.25, 0.5],
    "gpu_memory": [0.25, 0.5],
    "max_batch_size": [1, 2, 512, 513, 600],
    "batch_wait_ms": [0, 250],
    "threads": [1, 2],
    "precision": ["float32", "bfloat16"],
}
NODES = tuple(
    Node(node_id=gpu, hostname=gpu, cpu_cores=4, memory_gib=32.0, gpu_type=gpu, gpus=1.0, gpu_memory_gib=16.0)
    for gpu in ("T4", "V100")
)


def space_of(name):
    knobs = {name: VALUES[name], **({"gpu_type": ["T4"]} if name in ("gpu_share", "gpu_memory") else {})}
    text = f"name: s\nmodel: {{build: 'a:b'}}\nsamples: [x]\nobjective: {{maximize: rps}}\nknobs: {knobs}"
    spec = parse_spec(Document(text, "s.yaml"), folder=Path("."))
    return service_space(spec, Inventory(NODES), load_prices(), emulated=True)


def of_context(precision, device, cpu_cores, threads, gpu_type, gpu_share, gpu_memory_gib):
    """A model that answers with what it was told when it was built, and what it runs under."""
    told = (precision, device, cpu_cores, threads, gpu_type, gpu_share, gpu_memory_gib)

    async def batch(payloads):
        return [(*told, torch.get_num_threads(), len(payloads))] * len(payloads)

    return batch


def shown(settings, *before):
    """What three requests at once are answered and when, by a replica that ran under other settings before or not."""

    async def ask(server):
        for one in (*before, settings):
            assert (await server.change(one.as_dict())).failure is None
        loop = asyncio.get_running_loop()
        began_s = loop.time()

        async def answer():
            return await server.infer("x"), round(loop.time() - began_s, 6)

        return await asyncio.gather(answer(), answer(), answer())

    return served(Builder(f"{__name__}:of_context"), None, ask)


@pytest.fixture(autouse=True)
def threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_every_standard_knob_is_asked():
    assert set(VALUES) == set(STANDARD_KNOBS)
    changes = {encode(name, values).changes for name, values in VALUES.items()}
    assert changes == {"in place", "new replica"}


@pytest.mark.parametrize("name", VALUES)
def test_what_the_searcher_believes_of_a_change_is_what_the_pool_and_the_replica_do(name):
    found = space_of(name)
    space = found.problem.space
    assert {space[i][name] for i in range(len(space))} == set(VALUES[name])
    anew: dict[int, Any] = {}
    for live in range(len(space)):
        spared = warm(replicas(space), History().observe(live, {"rps": 1.0}))
        before = found.resolver.settings(space[live])
        for wanted in range(len(space)):
            after = found.resolver.settings(space[wanted])
            backend = FakeBackend(lambda settings, batch: 0.01, pool=Pool())
            with backend.running(before, "first"):
                pass
            with backend.running(after, "second") as replica:
                assert replica.startup.in_place == spared[wanted], (space[live], space[wanted])
            if replica.startup.in_place:
                if wanted not in anew:
                    anew[wanted] = shown(after)
                assert shown(after, before) == anew[wanted], (space[live], space[wanted])


def test_a_change_shows_in_what_the_replica_answers():
    """Else the replica would be asked nothing."""
    first = Settings(emulated=True)
    changes: list[dict[str, Any]] = [{"max_batch_size": 2}, {"batch_wait_ms": 250, "max_batch_size": 4}, {"threads": 2}]
    for change in changes:
        assert shown(Settings(emulated=True, **change)) != shown(first)
    assert shown(Settings(emulated=True, precision="bfloat16")) != shown(first)


@pytest.mark.parametrize("name", VALUES)
def test_the_documentation_says_what_a_change_needs(name):
    page = ROOT / "docs" / "service-yaml.md"
    [row] = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{name}` |")]
    needs = row.split("|")[-2].strip()
    assert (needs == "a new replica") == (encode(name, VALUES[name]).changes == "new replica")
