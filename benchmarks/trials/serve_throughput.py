"""Throughput of Ray Serve with one trivial replica, and a replica's peak against its model in a bare loop.

    python -m benchmarks serve_throughput [--repeats 2] [--clients 64] [--seconds 3]

The trivial replica returns what it is sent. A closed loop of so many clients loads it from one, two and three sending
processes, with and without the settings of the fast path (`serve_deployments/environment/serve_path.py`), apart for
the senders and the replica, and with batches that wait. Then stacks of linear layers, whose batches take 5 ms and more:
their peak through Serve (with as many clients as two batches hold) over the requests/s of the same model in a bare
loop, one before and one after it, in a process of its own on as many cores. Rows of a round follow one another; figures
are medians of the rounds. Requests per core are requests/s over CPU seconds per second: the rate of a whole core, which
says more where cores are shared. About six minutes.
"""

from __future__ import annotations

import asyncio
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from benchmarks.recording.spread import middle
from benchmarks.replica.bare_loop import BareLoop
from benchmarks.replica.served import PREFIX, actor, local_serve
from benchmarks.replica.services import KNOWN_MODELS
from serve_deployments.device.limits import machine_cores, unleased_cores
from serve_deployments.environment.serve_path import FAST_LOAD, FAST_REPLICA, LOAD_ENVIRONMENT
from serve_deployments.load.clock import RealClock
from serve_deployments.load.load_generator import LoadGenerator
from serve_deployments.load.remote_sender import RemoteSender, SenderActor
from serve_deployments.measuring.level import closed_level
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.models.model import Builder
from serve_deployments.replicas.handles import HandleEndpoint
from serve_deployments.replicas.serve_backend import ServeBackend
from serve_deployments.settings import Settings

PAYLOAD = "a sentence of some words, as long as most are"
SLOW = {"load": {**LOAD_ENVIRONMENT, **dict.fromkeys(FAST_LOAD, "1")}, "replica": dict.fromkeys(FAST_REPLICA, "1")}
"""Environment variables of the fast path with Ray's own defaults, which are all 1."""

LAYERS = f"{__name__}:layers"
WIDTH, TOKENS = 1024, 24
"""Sizes with which one layer takes 0.4 to 0.8 ms per payload on one core."""

MODELS = ((6, 1), (24, 1), (6, 8), (24, 8))
"""Layers and largest batch. Serve's overhead is per request, so its share depends on the model's time per request."""


def layers(count: int) -> Callable[[list[Any]], list[Any]]:
    """A model of so many linear layers, whose batches take some milliseconds."""
    import torch

    model = torch.nn.Sequential(*(torch.nn.Linear(WIDTH, WIDTH) for _ in range(count))).eval()
    row = torch.randn(TOKENS, WIDTH)

    def batch(payloads: list[Any]) -> list[Any]:
        with torch.inference_mode():
            return model(row.expand(len(payloads), TOKENS, WIDTH).contiguous()).sum(dim=(1, 2)).tolist()

    return batch


class Senders:
    """Sending processes, which are reused from row to row."""

    def __init__(self) -> None:
        self._kept: dict[str, list[Any]] = {"fast": [], "slow": []}

    def first(self, count: int, kind: str) -> list[Any]:
        kept = self._kept[kind]
        variables = LOAD_ENVIRONMENT if kind == "fast" else SLOW["load"]
        while len(kept) < count:
            options = {"num_cpus": 0, "runtime_env": {"env_vars": dict(variables)}}
            kept.append(ray.remote(SenderActor).options(**options).remote())
        return kept[:count]


async def level(app: str, actors: Sequence[Any], clients: int, seconds: float) -> LevelResult:
    """Runs a closed loop whose requests are sent by these actors."""
    endpoint, payloads, cores = HandleEndpoint(app), [PAYLOAD], unleased_cores(machine_cores()) or machine_cores()
    senders = await asyncio.gather(
        *(
            RemoteSender.with_target(actor, lambda: HandleEndpoint(app), payloads, i, len(actors), cores)
            for i, actor in enumerate(actors)
        )
    )
    plan = LoadPlan(level_min_s=seconds, level_max_s=3 * seconds, max_concurrency=clients)
    return await closed_level(LoadGenerator(endpoint, senders, RealClock()), payloads, clients, plan)


@dataclass(frozen=True)
class Way:
    """How the requests of a row are sent and served: number of senders, and the fast path's settings on or off."""

    senders: int
    load: str
    replica: str
    wait_ms: float = 0.0


ROWS: Mapping[str, Way] = {
    "1 sender, neither": Way(1, "slow", "slow"),
    "1 sender, its own settings": Way(1, "fast", "slow"),
    "1 sender, the replica's settings": Way(1, "slow", "fast"),
    "1 sender, both": Way(1, "fast", "fast"),
    "2 senders, both": Way(2, "fast", "fast"),
    "3 senders, both": Way(3, "fast", "fast"),
    "1 sender, both, batches wait 10 ms": Way(1, "fast", "fast", 10.0),
    "2 senders, both, batches wait 10 ms": Way(2, "fast", "fast", 10.0),
}
SENT = [
    "settings of the fast path", "requests/s (range)", "÷ neither", "busiest sender, cores", "replica, cores",
    "per core of senders", "per core of the replica", "lag p99 ms", "p50 ms",
]  # fmt: skip


def driven(repeats: int, clients: int, seconds: float) -> dict[str, list[LevelResult]]:
    """Measures the trivial replica; its levels by row."""
    backend, senders = ServeBackend(Builder(f"{KNOWN_MODELS}:echo"), [PAYLOAD], PREFIX), Senders()
    found: dict[str, list[LevelResult]] = {row: [] for row in ROWS}
    replicas = dict.fromkeys((way.replica, way.wait_ms) for way in ROWS.values())
    for repeat in range(repeats):
        for kind, wait_ms in replicas:
            settings = Settings(max_batch_size=32, batch_wait_ms=wait_ms, env=SLOW["replica"] if kind == "slow" else {})
            with backend.running(settings, f"echo-{kind}-{wait_ms:g}-{repeat}") as running:
                for row, way in ROWS.items():
                    if (way.replica, way.wait_ms) == (kind, wait_ms):
                        actors = senders.first(way.senders, way.load)
                        found[row].append(asyncio.run(level(running.app, actors, clients, seconds)))
    return found


def against_bare(repeats: int, models: Sequence[tuple[int, int]], seconds: float) -> list[list[str]]:
    """Rows of the peak through Serve of models of these layers and batch sizes, over the same models in a bare loop."""
    backend, senders = ServeBackend(Builder(LAYERS), [PAYLOAD], PREFIX), Senders()
    rows = []
    for count, batch in models:
        alone, shares = [], []
        settings = Settings(max_batch_size=batch, args={"count": count})
        with actor(BareLoop, Builder(LAYERS), batch, settings.args, [PAYLOAD]) as bare:
            for repeat in range(repeats):
                before = _alone_rps(bare, seconds)
                with backend.running(settings, f"layers-{count}-{batch}-{repeat}") as running:
                    shares.append(asyncio.run(level(running.app, senders.first(1, "fast"), 2 * batch, seconds)))
                alone.append(statistics.mean([before, _alone_rps(bare, seconds)]))
        rows.append(bare_row(count, batch, alone, shares))
    return rows


def _alone_rps(bare: Any, seconds: float) -> float:
    """The bare loop's rate on a core that is not leased."""
    free = sorted(unleased_cores(machine_cores()))[:1]
    return float(ray.get(bare.rate_rps.remote(seconds, free)))


def bare_row(count: int, batch: int, alone: Sequence[float], served: Sequence[LevelResult]) -> list[str]:
    ratios = [load.achieved_rps / bare_rps for load, bare_rps in zip(served, alone, strict=True)]
    bare_rps, rps = statistics.median(alone), statistics.median([load.achieved_rps for load in served])
    return [
        f"{count} layers, batches of {batch}",
        f"{1e3 * batch / bare_rps:.1f}",
        f"{bare_rps:.0f}",
        f"{rps:.0f}",
        middle(ratios, ".2f"),
        f"{1e3 / rps - 1e3 / bare_rps:.2f}",
        f"{statistics.median([_batch(load) for load in served]):.1f}",
    ]


def _cores(load: LevelResult) -> float:
    return (load.usage.cpu_cores if load.usage else None) or math.nan


def _batch(load: LevelResult) -> float:
    return (load.usage.mean_batch if load.usage else None) or 0.0


def row_of(name: str, loads: Sequence[LevelResult], first: Sequence[LevelResult]) -> list[str]:
    rates = [load.achieved_rps for load in loads]
    return [
        name,
        middle(rates, ".0f"),
        f"{statistics.median([a.achieved_rps / b.achieved_rps for a, b in zip(loads, first, strict=True)]):.2f}",
        f"{statistics.median([load.client_cpu_share for load in loads]):.2f}",
        f"{statistics.median([_cores(load) for load in loads]):.2f}",
        f"{statistics.median([load.achieved_rps / load.client_cpu_share for load in loads]) / loads[0].senders:.0f}",
        f"{statistics.median([load.achieved_rps / _cores(load) for load in loads]):.0f}",
        f"{statistics.median([load.client_lag_ms for load in loads]):.1f}",
        f"{statistics.median([load.value('p50_ms') or 0.0 for load in loads]):.1f}",
    ]


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--note", default="", help="a sentence on the machine's state, put under the tables")
    asked = parser.parse_args(arguments)
    with local_serve(http=False):
        found = driven(asked.repeats, asked.clients, asked.seconds)
        first = next(iter(found.values()))
        sent = markdown(SENT, [row_of(name, loads, first) for name, loads in found.items()])
        print(sent, flush=True)
        against = against_bare(asked.repeats, MODELS, asked.seconds)
    header = [
        "model", "a batch alone, ms", "bare loop, requests/s", "through Serve", "÷ bare (range)", "more a request, ms",
        "mean batch",
    ]  # fmt: skip
    body = (
        f"A trivial replica, {asked.clients} clients; the goal is 2,000 requests/s.\n\n{sent}\n\n"
        "Models with batches of 5 ms and more; the goal is 0.9 of the bare loop. Serve's own work for a request runs "
        f"on the same core as the model.\n\n{markdown(header, against)}\n\n"
        f"{asked.note}"
    )
    print(body)
    put(asked.out, "Requests/s through Serve", Origin.here(__name__, arguments), body)
