"""Compares our load actor with MLPerf LoadGen and wrk on one replica: do they agree where they measure the same?

    python -m benchmarks cross_check [--services sleeping-40 minilm] [--rounds 5] [--seconds 5] [--quick]

The replicas run on a local Ray Serve: models that sleep for a known time, and the model of examples/minilm.yaml with
its sentences, all in batches of 8 on one core. In each round every tool measures the replica once, by handle or over
HTTP (loopback), in reverse order in every other round. Ratios within a round are compared. LoadGen is installed with
the extra `bench`, wrk with the system (`apt-get install wrk`). About seven minutes a service; `--quick` checks in one
minute that everything is installed.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence

from benchmarks.measuring.cross_text import Checked, Judged, echo_section, section, verdicts
from benchmarks.measuring.rounds import Round, Seen, order
from benchmarks.measuring.tools import loadgen, wrk
from benchmarks.measuring.tools.cross_tools import CLOSED, HTTP, WRK, Tools, tools
from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import put
from benchmarks.replica.served import local_serve, others
from benchmarks.replica.services import SERVICES, Service, echo

SHARE = 0.7
"""Rate of random arrivals as a fraction of the peak: they queue, but the replica keeps up (our choice)."""
BELOW, ABOVE = 0.85, 1.15
"""Rates judged by LoadGen, as fractions of the highest rate that we found. A rate is found to within 5 %, and LoadGen
needs more certainty to call a rate valid than we to let it pass, so both are well away from 1 (our choice)."""
QUERIES = 1000
"""Queries of a test. LoadGen calls a p99 valid from 459 queries if none is late, from 662 if one is (early stopping,
99 %)."""
LONGEST = 4
"""Longest test of LoadGen, in multiples of a level's duration; slower services get fewer queries."""
TERMS = """\
*Closed*: so many clients, each waits for its answer. *Open*, *Server*: Poisson arrivals, latency from when a request
was due. *Offline*: a set at once, rate = set ÷ time to its last answer. Ratios are within a round; of rates they are
geometric means over the rounds, and their goal is met, or missed, where the whole 95 % interval (Student's t) is
within, or outside of, 5 %. *Limited*: levels of which our client says that it was the bottleneck."""


def rounds_of(aimed: Tools, clients: int, rate_rps: float, rounds: int) -> list[Round]:
    """Rounds of measurements, in each of which every tool measures once."""
    found: list[Round] = []
    for number in range(rounds):
        todo = aimed.measurements(clients, rate_rps, seed=number)
        seen = {name: todo[name]() for name in order(list(todo), number)}
        found.append({name: seen[name] for name in todo})
        said = ", ".join(f"{name} {seen.rate_rps:.0f}/s" for name, seen in found[-1].items())
        print(f"{aimed.service.name}, round {number + 1}: {said}")
    return found


def check(service: Service, port: int, rounds: int, seconds: float, queries: int) -> tuple[Checked, list[Judged]]:
    """Measures one service by all tools, then has LoadGen judge the highest rate."""
    with tools(service, port, seconds) as aimed:
        peak = aimed.peak()
        clients = peak.levels[peak.reported].concurrency or 1
        rate_rps = SHARE * peak.metrics["rps"]
        print(f"{service.name}: {peak.metrics['rps']:.0f}/s at {clients} clients ({peak.reason})")
        found = rounds_of(aimed, clients, rate_rps, rounds)
        judged = judge(aimed, rounds, queries)
        return Checked(
            service.name, clients, rate_rps, seconds, found, true_rps=service.true_rps, apart=aimed.apart
        ), judged


def judge(aimed: Tools, rounds: int, queries: int) -> list[Judged]:
    """LoadGen's verdicts below and above the highest rate that we find; empty if no rate keeps the bound on p99."""
    highest = aimed.highest()
    if not highest.found:
        print(f"{aimed.service.name}: no rate keeps p99 within {aimed.service.p99_ms:g} ms ({highest.reason})")
        return []
    rate_rps = highest.metrics["rps"]
    print(f"{aimed.service.name}: {rate_rps:.0f}/s keep p99 within {aimed.service.p99_ms:g} ms ({highest.reason})")
    tests = {f"{share:g} × {rate_rps:.0f}": share * rate_rps for share in (BELOW, ABOVE)}
    server = {
        asked: [
            loadgen.Server(
                at_rps,
                aimed.seconds,
                aimed.service.p99_ms,
                queries=min(queries, round(LONGEST * aimed.seconds * at_rps)),
                seed=100 + number,
            )
            for number in range(rounds)
        ]
        for asked, at_rps in tests.items()
    }
    seen: dict[str, list[Seen]] = {asked: [] for asked in tests}
    for number in range(rounds):
        for asked in order(list(tests), number):
            seen[asked].append(aimed.by_loadgen(server[asked][number]))
    title = f"{aimed.service.name}, p99 ≤ {aimed.service.p99_ms:g} ms"
    return [Judged(title, asked, at_rps, seen[asked]) for asked, at_rps in tests.items()]


def way(port: int, rounds: int, seconds: float) -> list[Round]:
    """Measures a model that answers at once with one client, by handle and over HTTP."""
    found: list[Round] = []
    with tools(echo(), port, seconds) as aimed:
        for number in range(rounds):
            todo = aimed.measurements(1, 1.0, seed=number)
            found.append({name: todo[name]() for name in order([CLOSED, HTTP, WRK], number)})
    return found


def text(
    there_and_back: Sequence[Round],
    results: Sequence[tuple[Checked, list[Judged]]],
    rounds: int,
    seconds: float,
    queries: int,
) -> str:
    """The text of the section of results."""
    judged = [each for _, those in results for each in those]
    return "\n\n".join([
        f"One replica, batches of 8 on one core; medians (ranges) of {rounds} rounds, levels of {seconds:g} s or more; "
        f"{others()}. {TERMS}",
        echo_section(there_and_back),
        *(section(checked) for checked, _ in results),
        *([verdicts(judged, queries)] if judged else []),
    ])  # fmt: skip


def preflight() -> None:
    """Exits with the remedy if a tool is missing, before anything is started."""
    if importlib.util.find_spec("mlperf_loadgen") is None:
        raise SystemExit(loadgen.REMEDY)
    if shutil.which("wrk") is None:
        raise SystemExit(wrk.REMEDY)


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--services", nargs="+", choices=SERVICES, default=["sleeping-10", "sleeping-40", "minilm"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="least seconds per level")
    parser.add_argument("--quick", action="store_true", help="one service, one round of short levels; writes nothing")
    asked = parser.parse_args(arguments)
    if asked.rounds < 1 or asked.seconds < 1:
        parser.error(f"--rounds and --seconds must be 1 or more, got {asked.rounds} and {asked.seconds:g}")
    if asked.quick:
        asked.services, asked.rounds, asked.seconds = ["sleeping-40"], 1, 1.0
    preflight()
    queries, results = 1 if asked.quick else QUERIES, []
    with local_serve() as port:
        there_and_back = way(port, asked.rounds, asked.seconds)
        for name in asked.services:
            results.append(check(SERVICES[name](), port, asked.rounds, asked.seconds, queries))
            body = text(there_and_back, results, asked.rounds, asked.seconds, queries)
            if not asked.quick:  # after each service, so that a later failure loses nothing
                put(asked.out, "Checked against MLPerf LoadGen and wrk", Origin.here(__name__, arguments), body)
    print(body)
