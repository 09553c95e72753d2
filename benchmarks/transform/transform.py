"""Many models on few replicas: a trace replayed in simulated time, conversions against five other systems.

The costs of loading are measured on this machine first, with models of six structures and four siblings each. Every
system loads in the best known way; what it would take with naive loads is a column of its own. All have the same nodes
and replicas, and end none but to make room.

    python -m benchmarks transform --trace poisson
    python -m benchmarks transform --trace FILE     a file of Azure Functions of 2021, or a day or folder of 2019
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from benchmarks.transform.replay.costs import Costs
from benchmarks.transform.replay.measured_costs import measure
from benchmarks.transform.replay.outcome import Outcome
from benchmarks.transform.replay.simulation import Cluster, simulate
from benchmarks.transform.replay.systems import MULTIPLEX, OURS, System, systems
from benchmarks.transform.traces.invocations import Arrival, BadTrace
from benchmarks.transform.traces.named_trace import POISSON, Part, arrivals_of
from serve_deployments.replicas.many.choosing.cheapest_conversion import IDLE_S

_COLUMNS = (
    "system", "mean s", "p99 s", "held", "converted or loaded", "cold starts", "GB moved", "mean s with naive loads",
)  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    asked = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        costs = measure(Path(folder), asked.rounds, asked.siblings)
    part = Part(asked.from_s, 86400.0 * asked.days, asked.durations)
    try:
        arrivals = arrivals_of(asked.trace, list(costs.models), part, asked.seed)
    except BadTrace as error:
        raise SystemExit(f"--trace {asked.trace}: {error}") from None
    cluster = Cluster({f"node {n + 1}": asked.replicas for n in range(asked.nodes)}, asked.slots)
    rows = {s.name: replayed(s, costs, arrivals, cluster, asked.warm_up_s) for s in systems(asked.idle_s)}
    body = "\n\n".join((_about(asked, arrivals), _table(rows), _gain(rows), _cost_table(costs)))
    print(body)
    heading = f"Replay of {asked.trace if asked.trace == POISSON else Path(asked.trace).name}, {asked.slots} a replica"
    put(asked.out, heading, Origin.here(__name__, arguments), body)


def replayed(
    system: System, costs: Costs, arrivals: Sequence[Arrival], cluster: Cluster, from_s: float
) -> tuple[Outcome, Outcome]:
    """A system's outcome with the best loads, and with naive ones."""
    best, naive = (
        Outcome.of(simulate(arrivals, system.policy, system.prices(costs, naive), costs.serve_s, cluster), from_s)
        for naive in (False, True)
    )
    return best, naive


def _parser() -> Any:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--trace", default=POISSON, help="poisson, or a file or folder of a published trace")
    parser.add_argument("--from-s", type=float, default=0.0, help="where the replayed part begins")
    parser.add_argument("--days", type=float, default=14.0, help="how long it is")
    parser.add_argument("--durations", action="store_true", help="requests take as long as the trace's calls did")
    parser.add_argument("--siblings", type=int, default=4, help="models of each structure")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--replicas", type=int, default=3, help="largest number on each node")
    parser.add_argument("--slots", type=int, default=1, help="models that a replica holds at a time")
    parser.add_argument("--idle-s", type=float, default=IDLE_S, help="idle time after which a replica may be converted")
    parser.add_argument("--warm-up-s", type=float, default=3600.0, help="requests before that do not count")
    parser.add_argument("--rounds", type=int, default=5, help="how often each cost is measured")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _about(asked: Any, arrivals: Sequence[Arrival]) -> str:
    return (
        f"{len(arrivals)} requests for {len({each.model for each in arrivals})} models in {asked.days:g} days, "
        f"{asked.nodes} nodes with {asked.replicas} replicas each, {asked.slots} model(s) a replica; converted after "
        f"{asked.idle_s:g} s without a request. Simulated, with costs measured on this machine in CPU time, as other "
        f"work may have shared its cores. The first {asked.warm_up_s:g} s do not count."
    )


def _table(rows: dict[str, tuple[Outcome, Outcome]]) -> str:
    lines = [
        (
            name, f"{best.mean_s:.4f}", f"{best.p99_s:.4f}", str(best.hits), str(best.conversions),
            str(best.cold_starts), f"{best.bytes_moved / 1e9:.1f}", f"{naive.mean_s:.4f}",
        )
        for name, (best, naive) in rows.items()
    ]  # fmt: skip
    return markdown(_COLUMNS, lines)


def _gain(rows: dict[str, tuple[Outcome, Outcome]]) -> str:
    ours, theirs = rows[OURS][0], rows[MULTIPLEX][0]
    return (
        f"Against {MULTIPLEX}, conversion takes {_less(ours.mean_s, theirs.mean_s)} in the mean and "
        f"{_less(ours.p99_s, theirs.p99_s)} at the 99th percentile."
    )


def _less(ours_s: float, theirs_s: float) -> str:
    change = 100 * (1 - ours_s / theirs_s)
    return f"{abs(change):.0f} % {'less' if change >= 0 else 'more'}"


def _cost_table(costs: Costs) -> str:
    first = {model.structure: model for model in reversed(list(costs.models.values()))}
    lines = []
    for name, model in reversed(list(first.items())):
        times_s = (model.naive_s, model.scratch_s, model.skeleton_s, model.serve_s)
        lines.append((name, f"{model.size_bytes / 1e6:.0f}", *(f"{1e3 * each:.1f}" for each in times_s)))
    header = ("structure", "MB", "naive ms", "from scratch ms", "skeleton ms", "one request ms")
    return f"A new process: {costs.process_s:.1f} s. Medians of CPU time, one thread:\n\n{markdown(header, lines)}"
