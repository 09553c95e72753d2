"""The highest rate of one configuration, measured ten times on a real replica: variation, and what the intervals hold.

    python -m benchmarks same_rate [--services sleeping-40 uneven minilm] [--runs 10] [--total-s 30]

Three services of different kinds: batches that always take the same, batches of which some take four times as long, and
a transformer. Each is measured as a trial does it, under a limit on the p99, with other arrivals each time. The true
rate is not known; what an interval should hold is the mean of the other measurements. About a quarter of an hour.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace

from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from benchmarks.recording.spread import middle, variation, variation_within
from benchmarks.replica.served import local_serve, others, up
from benchmarks.replica.services import SERVICES, Service
from serve_deployments.measuring.in_cluster.measure import WithLoadActor
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.metrics.measurement import Measurement

GOAL = 0.05
"""Largest variation of the rates of one configuration."""

HELD = 0.9
"""Smallest share of the intervals that hold the mean of the others."""


def measured(service: Service, port: int, runs: int, plan: LoadPlan) -> list[Measurement]:
    """Measures a service as often as asked, on one warm replica."""
    found = []
    with up(service, port, http=False) as (replica, _):
        for number in range(runs):
            test = LoadTest(replace(plan, seed=number), {"p99_ms": service.p99_ms})
            one = WithLoadActor(test, service.payloads)(replica, service.settings)
            found.append(one)
            said = f"{service.name}, {number + 1} of {runs}: {one.metrics['rps']:.4g}/s in {one.seconds:.0f} s"
            print(f"{said}; {one.reason}", flush=True)
    return found


def holding(found: Sequence[Measurement]) -> int:
    """Number of measurements whose interval holds the geometric mean of the other ones' rates."""
    held = 0
    for i, one in enumerate(found):
        rest = [math.log(other.metrics["rps"]) for k, other in enumerate(found) if k != i and other.metrics["rps"] > 0]
        interval = one.interval_rps
        held += bool(rest) and interval is not None and interval[0] <= math.exp(statistics.fmean(rest)) <= interval[1]
    return held


def table(services: Sequence[Service], found: dict[str, list[Measurement]]) -> str:
    """The table of the variation of each service's rate."""
    rows = []
    for service in services:
        its = found[service.name]
        rates = [one.metrics["rps"] if one.found else 0.0 for one in its]
        varies = variation(rates) if any(rates) else math.inf
        low, high = variation_within(varies, len(rates))
        held = holding(its)
        rows.append([
            f"{service.name}, p99 of {service.p99_ms:g} ms", f"{statistics.median(one.seconds for one in its):.1f}",
            middle(rates, ".1f"), f"{varies:.1%}", f"{low:.1%} to {high:.1%}", "yes" if varies <= GOAL else "**no**",
            f"{held} of {len(its)}", "yes" if held >= HELD * len(its) else "**no**",
        ])  # fmt: skip
    header = ["service", "s each", "requests/s", "variation", "its 95 % interval", f"within {GOAL:.0%}",
              "intervals hold", f"in {HELD:.0%}"]  # fmt: skip
    return markdown(header, rows)


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--services", nargs="+", choices=SERVICES, default=["sleeping-40", "uneven", "minilm"])
    parser.add_argument("--runs", type=int, default=10, help="measurements of each service")
    parser.add_argument("--total-s", type=float, default=30.0, help="the most that a measurement may take")
    asked = parser.parse_args(arguments)
    if asked.runs < 2 or asked.total_s < 2:
        parser.error(f"--runs and --total-s are 2 or more, got {asked.runs} and {asked.total_s:g}")
    services = [SERVICES[name]() for name in asked.services]
    with local_serve(http=False) as port:
        plan = LoadPlan(total_max_s=asked.total_s)
        found = {service.name: measured(service, port, asked.runs, plan) for service in services}
    body = (
        f"One warm replica each, batches of 8, {asked.runs} measurements of at most {asked.total_s:g} s. "
        "Variation: standard deviation ÷ mean, with the interval that so few runs leave it (χ²). Intervals hold: those "
        f"in which the mean of the other measurements lies. {others().capitalize()}.\n\n" + table(services, found)
    )
    print(body)
    put(asked.out, "The same configuration, measured again", Origin.here(__name__, arguments), body)
