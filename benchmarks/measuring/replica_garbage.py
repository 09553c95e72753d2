"""How long collections of garbage stop a replica under load, with its model set aside from them and without.

    python -m benchmarks replica_garbage [--rounds 3] [--rate 200] [--seconds 12]

Two replicas of a tiny model that has imported transformers, as a language model has, are loaded in turn. One leaves its
collector as Serve has set it when the replica started: what was imported before the model is set aside, and the model
and its own imports are not.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray

from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from benchmarks.replica.known_models import PAUSES
from benchmarks.replica.served import local_serve, others, up
from benchmarks.replica.services import importing
from serve_deployments.measuring.in_cluster.load_side import load_actor
from serve_deployments.measuring.plan import LoadPlan


@dataclass(frozen=True)
class Level:
    """What one level of load showed.

    Args:
        p99_ms: 99th percentile of latency.
        p999_ms: 99.9th percentile.
        pauses_ms: length of each full collection in the replica.
    """

    p99_ms: float
    p999_ms: float
    pauses_ms: tuple[float, ...]


def level(actor: Any, replica: Any, rate_rps: float, seconds: float, seed: int) -> Level:
    """Loads one replica at a steady rate."""
    endpoint = replica.endpoint
    ray.get(actor.set_target.remote(lambda: endpoint, ["x"]))
    ray.get(actor.pin_to_free_cores.remote())
    replica.handle.infer.remote(PAUSES).result(timeout_s=60)  # those of before
    plan = LoadPlan(level_min_s=seconds, level_max_s=seconds, precision=1e-9, seed=seed)
    load = ray.get(actor.open.remote(rate_rps, plan))
    pauses = replica.handle.infer.remote(PAUSES).result(timeout_s=60)
    return Level(load.value("p99_ms") or 0.0, load.value("p999_ms") or 0.0, tuple(pauses))


def text(levels: dict[str, list[Level]], rate_rps: float, seconds: float) -> str:
    """The text of the section of results."""
    rows = []
    for name, these in levels.items():
        pauses = [pause for one in these for pause in one.pauses_ms]
        longest = f"{max(pauses):.0f} ms" if pauses else "–"
        each = [f"{statistics.median(values):.1f} ms ({min(values):.1f} to {max(values):.1f})"
                for values in ([one.p99_ms for one in these], [one.p999_ms for one in these])]  # fmt: skip
        rows.append([name, str(len(these)), *each, str(len(pauses)), longest])
    header = ["the model", "levels", "p99", "p99.9", "full collections", "longest"]
    return "\n\n".join([
        f"Levels of {seconds:g} s at {rate_rps:g} requests/s, Poisson arrivals, one core a replica; {others()}.",
        markdown(header, rows),
    ])  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=200.0, help="requests/s")
    parser.add_argument("--seconds", type=float, default=12.0, help="seconds per level")
    asked = parser.parse_args(arguments)
    if asked.rounds < 1 or asked.seconds < 1 or asked.rate <= 0:
        parser.error("--rounds and --seconds are 1 or more, and --rate is above 0")
    levels: dict[str, list[Level]] = {"set aside": [], "as Serve leaves it": []}
    with local_serve(http=False) as port:
        node = ray.get_runtime_context().get_node_id()
        for number in range(asked.rounds):
            for name in sorted(levels, reverse=bool(number % 2)):
                with (
                    up(importing(set_aside=name == "set aside"), port, http=False) as (replica, _),
                    load_actor(node) as actor,
                ):
                    levels[name].append(level(actor, replica, asked.rate, asked.seconds, number))
                print(f"round {number + 1}, {name}: {levels[name][-1]}", flush=True)
    body = text(levels, asked.rate, asked.seconds)
    print(body)
    put(asked.out, "Collections of garbage in a replica", Origin.here(__name__, arguments), body)
