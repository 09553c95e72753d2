"""Two models on one real replica for some minutes, against what the simulation says of the same minutes.

A replica of Ray Serve is warmed up with both models. Both get Poisson arrivals; before and after, requests that come
alone say what conversions and answers take. The simulation has the same arrivals, and the means of these costs.

    python -m benchmarks real_replay
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import ROOT, Origin
from benchmarks.recording.sections import markdown, put
from benchmarks.transform.replay.outcome import Outcome
from benchmarks.transform.replay.simulation import Cluster, Served, simulate
from benchmarks.transform.traces.invocations import Arrival
from benchmarks.transform.traces.poisson import poisson
from serve_deployments.replicas.many.choosing.cheapest_conversion import CheapestConversion
from serve_deployments.replicas.many.choosing.state import Kind, Price, ReplicaState
from serve_deployments.settings import Settings

MODELS = ("one", "two")
_ROUNDS = 10
"""How often a conversion and an answer of each model are timed before the minutes that count, and again afterwards: the
machine may be shared, and its other work may come and go."""


@dataclass(frozen=True)
class MeasuredPrices:
    """The prices of both models in a replica that has held both.

    Args:
        convert_s: seconds of a conversion, by the model that is wanted.
    """

    convert_s: dict[str, float]

    def convert(self, replica: ReplicaState, wanted: str, victim: str | None) -> Price:
        """See `Prices.convert`."""
        return Price(self.convert_s[wanted])

    def start(self, wanted: str, node: str, replicas: Sequence[ReplicaState]) -> Price:
        """Of the replica, which is there before the first request that counts."""
        return Price(0.0)


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--rate", type=float, default=1.0, help="requests/s for each model")
    parser.add_argument("--structure", default="bert", help="of benchmarks/transform/replay/families.py")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    arrivals = poisson(MODELS, (asked.rate,), 60 * asked.minutes, asked.seed)
    costs, real, stats = asyncio.run(_served(asked.structure, arrivals, 0.5 / asked.rate))
    simulated = Outcome.of(simulated_minutes(arrivals, *costs), from_s=0.0)
    body = _body(asked, costs, Outcome.of(real), simulated, stats)
    print(body)
    put(asked.out, "A real replica against the simulation", Origin.here(__name__, arguments), body)


def simulated_minutes(
    arrivals: Sequence[Arrival], convert_s: dict[str, float], serve_s: dict[str, float]
) -> list[Served]:
    """What the simulation says of these arrivals at a replica that held the last of the models before."""
    before = Arrival(-1e4, MODELS[-1])
    prices, cluster = MeasuredPrices(convert_s), Cluster({"node": 1})
    return list(simulate([before, *arrivals], CheapestConversion(0.0), prices, serve_s, cluster))


async def _served(
    structure: str, arrivals: Sequence[Arrival], gap_s: float
) -> tuple[tuple[dict[str, float], dict[str, float]], list[Served], dict[str, Any]]:
    """Costs (conversion, answer), the real replica's answers, and its own figures."""
    from ray import serve

    from raytune_infer.study.connection.session import ray_session
    from serve_deployments.replicas.many.application import application

    with ray_session(address=None, emulate=None, folder=ROOT, runs_code=True):
        serve.start(proxy_location="Disabled")
        args = {
            "models": {name: _model(structure, head) for head, name in enumerate(MODELS)},
            "replicas": 1,
            "idle_s": 0,
        }
        run = asyncio.get_running_loop().run_in_executor
        handle = await run(None, lambda: serve.run(application(args), name="real-replay", route_prefix=None))
        await _times(handle, 0.0, 2)  # both are built, and converted to once
        times = [await _times(handle, gap_s, _ROUNDS)]
        before = await handle.stats.remote()
        real = await _replayed(handle, arrivals)
        after = await handle.stats.remote()
        times.append(await _times(handle, gap_s, _ROUNDS))
        await run(None, lambda: serve.delete("real-replay"))
    counts = {name: after[name] - before[name] for name in ("hits", "conversions", "cold_starts")}
    return costs_of(times), real, {**counts, "ways": after["ways"]}


def _model(structure: str, head: int) -> dict[str, Any]:
    source = {"reference": "benchmarks.transform.replay.served_sibling:build", "folder": str(ROOT)}
    return {"model": source, "settings": Settings(args={"structure": structure, "head": head}).as_dict()}


async def _times(handle: Any, gap_s: float, rounds: int) -> dict[tuple[str, str], list[float]]:
    """Seconds of requests that come alone, by model and by whether they change the replica's model."""
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for name in MODELS:
            for what in ("switched", "again"):
                began_s = time.perf_counter()
                await _ask(handle, name)
                found.setdefault((what, name), []).append(time.perf_counter() - began_s)
                await asyncio.sleep(gap_s)
    return found


def costs_of(times: Sequence[dict[tuple[str, str], list[float]]]) -> tuple[dict[str, float], dict[str, float]]:
    """Mean seconds of a conversion to each model, and of an answer of each, from several measurements.

    Means, as the machine's stalls are part of what a request takes: the sum over all requests is to be the same.
    """

    def mean_s(what: str, name: str) -> float:
        return statistics.fmean(second for each in times for second in each[what, name])

    serve_s = {name: mean_s("again", name) for name in MODELS}
    return {name: max(0.0, mean_s("switched", name) - serve_s[name]) for name in MODELS}, serve_s


async def _replayed(handle: Any, arrivals: Sequence[Arrival]) -> list[Served]:
    began_s = time.perf_counter()

    async def one(arrival: Arrival) -> Served:
        await asyncio.sleep(max(0.0, began_s + arrival.at_s - time.perf_counter()))
        await _ask(handle, arrival.model)
        # From when it was due, not from the send: a stalled sender must not hide the queue.
        done_s = time.perf_counter() - began_s
        kind: Kind = "hit"  # the replica counts; a client cannot see
        return Served(arrival.model, arrival.at_s, done_s, done_s, kind, 0, "real")

    return list(await asyncio.gather(*map(one, arrivals)))


async def _ask(handle: Any, name: str) -> Any:
    return await handle.options(multiplexed_model_id=name).infer.remote(0)


def _body(asked: Any, costs: Any, real: Outcome, simulated: Outcome, stats: dict[str, Any]) -> str:
    convert_s, serve_s = costs
    rows = [
        ("real replica", _ms(real.mean_s), _ms(real.p99_s), str(stats["hits"]), str(stats["conversions"])),
        ("simulation", _ms(simulated.mean_s), _ms(simulated.p99_s), str(simulated.hits), str(simulated.conversions)),
    ]
    measured = ", ".join(
        f"{name}: conversion {_ms(convert_s[name])} ms, answer {_ms(serve_s[name])} ms" for name in MODELS
    )
    return (
        f"{real.requests} requests in {asked.minutes:g} min at {asked.rate:g} requests/s for each of two "
        f"{asked.structure} models with one trunk. Requests that came alone, before and after: {measured}. "
        f"The replica loaded models by: {stats['ways']}. "
        "Other work may have shared the machine's cores. The simulation serves one request at a time, the replica "
        f"those for one model together.\n\n{markdown(('', 'mean ms', 'p99 ms', 'held', 'converted'), rows)}\n\n"
        f"The simulated mean is {100 * (simulated.mean_s / real.mean_s - 1):+.0f} % off the real one."
    )


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.1f}"
