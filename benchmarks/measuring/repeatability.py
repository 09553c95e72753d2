"""Variation among ten measurements of one warm replica, and how much of it comes from the machine.

    python -m benchmarks repeatability [--service minilm] [--runs 10] [--fixed 10] [--total 12] [--quick]

Each round has one measurement of each kind: what a trial does (the peak, until sure), one closed level until sure, one
of a fixed window, and a bare loop of the same model over full batches, on the replica's core while the replica is idle.
The bare loop shows what the machine contributes. About five minutes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray

from benchmarks.measuring.rounds import Round, Seen, order, ratios, seen_of, values
from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from benchmarks.recording.spread import middle, variation, variation_within
from benchmarks.replica.bare_loop import BareLoop
from benchmarks.replica.served import actor, local_serve, others, up
from benchmarks.replica.services import SERVICES, Service
from serve_deployments.measuring.in_cluster.load_side import load_actor
from serve_deployments.measuring.in_cluster.measure import WithLoadActor
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.replicas.serve_backend import ServeReplica

TRIAL = "peak, as a trial finds it"
LEVEL = "one level until sure"
FIXED = "one level, fixed window"
BARE = "bare loop of the model"
GOAL = 0.03


def measured(
    service: Service, port: int, runs: int, fixed_s: float, total_s: float
) -> tuple[list[Round], dict[str, list[float]]]:
    """Measures in rounds; returns the figures of each round, and the seconds that each kind of measurement took.

    Args:
        service: the service to measure.
        port: port of Serve, whose proxy is not used.
        runs: number of rounds.
        fixed_s: seconds of the fixed window; the bare loop runs half as long.
        total_s: most seconds of a whole trial, and of the single level until it is sure.
    """
    here = ray.get_runtime_context().get_node_id()
    bare_args = (service.source, service.settings.max_batch_size, dict(service.settings.args), list(service.payloads))
    seconds: dict[str, list[float]] = {name: [] for name in (TRIAL, LEVEL, FIXED, BARE)}
    with up(service, port, http=False) as (replica, _), actor(BareLoop, *bare_args) as bare:
        first = _peak(service, replica, total_s)  # makes the connections, and tells how many clients are enough
        clients = first.levels[first.reported].concurrency or 1
        cores = list(replica.facts().cores)
        until_sure, fixed = (
            LoadPlan(level_max_s=total_s),
            LoadPlan(level_min_s=fixed_s, level_max_s=2 * fixed_s, precision=1e9),
        )

        def level(plan: LoadPlan) -> Seen:
            endpoint = replica.endpoint
            with load_actor(here) as ours:
                ray.get(ours.set_target.remote(lambda: endpoint, list(service.payloads)))
                return seen_of(ray.get(ours.closed.remote(clients, plan)))

        todo: dict[str, Callable[[], Seen]] = {
            TRIAL: lambda: Seen(_peak(service, replica, total_s).metrics["rps"]),
            LEVEL: lambda: level(until_sure),
            FIXED: lambda: level(fixed),
            BARE: lambda: Seen(ray.get(bare.rate_rps.remote(fixed_s / 2, cores))),
        }
        rounds: list[Round] = []
        for number in range(runs):
            seen: dict[str, Seen] = {}
            for name in order(list(todo), number):
                began = time.monotonic()
                seen[name] = todo[name]()
                seconds[name].append(time.monotonic() - began)
            rounds.append(seen)
            print(f"round {number + 1}: " + ", ".join(f"{name} {seen[name].rate_rps:.1f}/s" for name in todo))
    return rounds, seconds


def _peak(service: Service, replica: ServeReplica, total_s: float) -> Any:
    plan = LoadPlan(level_max_s=total_s / 2, total_max_s=total_s, max_concurrency=64)
    return WithLoadActor(LoadTest(plan), service.payloads)(replica, service.settings)


def table(rounds: Sequence[Round], seconds: Mapping[str, Sequence[float]]) -> str:
    """The table of the variation of each kind of measurement, as it is and relative to the bare loop."""
    header = [
        "measured", "s each", "requests/s", "variation", "its 95 % interval", "÷ bare loop", "its variation",
        f"goal {GOAL:.0%}",
    ]  # fmt: skip
    rows = []
    for name in (TRIAL, LEVEL, FIXED, BARE):
        rates = values(rounds, name, "rate_rps")
        found, beside = variation(rates), ratios(rounds, name, BARE)
        low, high = variation_within(found, len(rates))
        rows.append([
            name, f"{statistics.median(seconds[name]):.1f}", middle(rates, ".1f"), f"{found:.1%}",
            f"{low:.1%} to {high:.1%}", middle(beside, ".3f"), f"{variation(beside):.1%}",
            "–" if name == BARE else "yes" if found <= GOAL else "**no**",
        ])  # fmt: skip
    return markdown(header, rows)


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--service", choices=SERVICES, default="minilm")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--fixed", type=float, default=10.0, help="seconds of the fixed window")
    parser.add_argument("--total", type=float, default=12.0, help="seconds that a trial may measure, as in the demo")
    parser.add_argument("--quick", action="store_true", help="two rounds, a window of 1 s; writes nothing")
    asked = parser.parse_args(arguments)
    if asked.quick:
        asked.runs, asked.fixed, asked.total = 2, 1.0, 4.0
    if asked.runs < 2 or asked.fixed < 1 or asked.total < 2:
        parser.error(
            "--runs and --total are 2 or more, --fixed is 1 or more, "
            f"got {asked.runs}, {asked.total:g} and {asked.fixed:g}"
        )
    with local_serve(http=False) as port:
        rounds, seconds = measured(SERVICES[asked.service](), port, asked.runs, asked.fixed, asked.total)
    body = (
        f"One warm replica, batches of 8 on one core, measured {asked.runs} times each way, interleaved, every other "
        "round in reverse. Variation: standard deviation ÷ mean, with the interval that so few runs leave it (χ²). The "
        "bare loop runs on the replica's core while that is idle: its variation is the machine's. The variation of the "
        f"ratio to it within a round has the machine's slow drift taken out. {others().capitalize()}.\n\n"
        + table(rounds, seconds)
    )
    print(body)
    if not asked.quick:
        put(asked.out, f"Repeatability: {asked.service}", Origin.here(__name__, arguments), body)
