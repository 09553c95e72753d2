"""Duration and error of the search for the highest rate under a limit on p99.

    python -m benchmarks highest_rate_cost [--runs 10] [--total-s 60] [--levels]

Ten servers in virtual time take 5 ms to 2 s for a full batch: half of it for any batch, half in proportion to the
items. The true rate comes from a queue that is simulated apart from the load test, in very long levels with arrivals of
the same kind (bisection). `--levels` shows each level of the first run.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from benchmarks.measuring.service_times import Varies, constant, gamma, remembering
from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.metrics.measurement import Measurement
from serve_deployments.settings import Settings

WRONG = 0.10
"""Relative error of a rate above which it counts as wrong."""

_LONG = 200_000  # requests of a level that gives the true p99: 2,000 of them lie above it
_STEPS = 12  # of the bisection, for 1 in 1,000
_PERCENT = 99


@dataclass(frozen=True)
class Server:
    """A server and the limit on its p99.

    Args:
        name: name in the table.
        full_s: mean service time of a full batch, seconds.
        batch: requests in a full batch.
        varies: rng → function from the time to the next batch's service time relative to its mean.
        limit: limit on the p99, as a multiple of `full_s`.
    """

    name: str
    full_s: float
    batch: int
    varies: Varies
    limit: float

    def service_s(self, size: int) -> float:
        """Mean service time of a batch of this size, seconds."""
        return self.full_s * (0.5 + 0.5 * size / self.batch)

    @property
    def limit_ms(self) -> float:
        """The limit on the p99 in ms."""
        return 1e3 * self.limit * self.full_s

    def found(self, seed: int, plan: LoadPlan, stalls: tuple[tuple[float, float], ...] = ()) -> Measurement:
        """One measurement by a load test in virtual time; `stalls` are pairs (start, length) in seconds."""
        factor = self.varies(np.random.default_rng([seed, 1]))

        async def test() -> Measurement:
            clock = VirtualClock()
            server = FakeServer(
                lambda size: self.service_s(size) * factor(clock.now()), max_batch=self.batch, stalls=stalls
            )
            question = LoadTest(replace(plan, seed=seed), {"p99_ms": self.limit_ms})
            return await question.run(server, ["x"], Settings(max_batch_size=self.batch), clock=clock)

        return run_virtual(test())

    def p99_s(self, rate_rps: float) -> float:
        """The p99 in seconds of a very long level at this rate, by a recursion over its batches."""
        rng = np.random.default_rng(99)
        arrived = np.cumsum(rng.exponential(1, _LONG)) / rate_rps
        factor, latencies = self.varies(np.random.default_rng(98)), np.empty(_LONG)
        due, first, free_s = arrived.tolist(), 0, 0.0
        while first < _LONG:
            start_s = max(free_s, due[first])
            last = bisect_right(due, start_s, first, min(first + self.batch, _LONG))
            free_s = start_s + self.service_s(last - first) * factor(start_s)
            latencies[first:last] = free_s - arrived[first:last]
            first = last
        return float(np.percentile(latencies, _PERCENT))

    @cached_property
    def true_rps(self) -> float:
        """The highest rate whose p99 is within the limit."""
        low, high = 1e-3 / self.full_s, 2 * self.batch / self.full_s
        for _ in range(_STEPS + 5):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self.p99_s(middle) <= self.limit_ms / 1e3 else (low, middle)
        return low


SERVERS = (
    Server("always alike, 5 ms, batch 1, limit 3x", 0.005, 1, constant, 3.0),
    Server("always alike, 5 ms, batch 1, limit 10x", 0.005, 1, constant, 10.0),
    Server("exponential, 10 ms, batch 1, limit 10x", 0.010, 1, gamma(1.0), 10.0),
    Server("varies by 0.2, 20 ms, batch 8, limit 1.5x", 0.020, 8, gamma(0.2), 1.5),
    Server("varies by 0.2, 50 ms, batch 4, limit 3x", 0.050, 4, gamma(0.2), 3.0),
    Server("always alike, 100 ms, batch 16, limit 3x", 0.1, 16, constant, 3.0),
    Server("remembers 0.8, varies by 0.1, 100 ms, batch 16, limit 1.5x", 0.1, 16, remembering(0.8, 0.1), 1.5),
    Server("remembers 0.95, varies by 0.1, 20 ms, batch 8, limit 10x", 0.02, 8, remembering(0.95, 0.1), 10.0),
    Server("varies by 0.1, 500 ms, batch 32, limit 3x", 0.5, 32, gamma(0.1), 3.0),
    Server("always alike, 2 s, batch 64, limit 3x", 2.0, 64, constant, 3.0),
)


def row(server: Server, runs: int, plan: LoadPlan) -> tuple[list[str], list[float], list[float]]:
    """A row of the table, and the seconds and ratios (found / true rate) of its runs."""
    found = [server.found(seed, plan) for seed in range(runs)]
    ratios = np.array([(x.metrics["rps"] if x.found else 0.0) / server.true_rps for x in found])
    seconds = [x.seconds for x in found]
    middle = np.median(ratios)
    between = [
        (x.rate_low_rps or 0) / (1 + plan.rate_precision) <= server.true_rps <= (x.rate_high_rps or math.inf)
        for x in found
    ]
    cells = [
        f"{server.true_rps:.4g}", f"{np.mean(seconds):.1f}", f"{max(seconds):.1f}",
        f"{np.mean([len(x.levels) for x in found]):.1f}", f"{middle:.3f}", f"{ratios.min():.2f} to {ratios.max():.2f}",
        f"{np.mean(abs(ratios - 1) > WRONG):.0%}", f"{np.mean(between):.0%}",
        f"{np.mean(['out of time' in x.reason for x in found]):.0%}",
    ]  # fmt: skip
    return [server.name, *cells], seconds, list(ratios)


HEADER = ["server", "true rate", "seconds", "at most", "levels", "found / true", "range", "off by 10 %", "bracketed",
          "out of time"]  # fmt: skip


def table(runs: int, plan: LoadPlan) -> str:
    """The text of the section of results."""
    lines, seconds, ratios = zip(*(row(server, runs, plan) for server in SERVERS), strict=True)
    off = np.mean([abs(ratio - 1) > WRONG for its in ratios for ratio in its])
    return "\n\n".join([
        f"**In virtual time**, {runs} runs each of at most {plan.total_max_s:g} s, levels of at least "
        f"{plan.level_min_s:g} s; limits are on the p99, in times of a full batch. Found / true: median. Bracketed: "
        "the true rate is between the ends that the load test states, less its precision.",
        markdown(HEADER, list(lines)),
        f"Mean seconds: {np.mean(seconds):.1f}; off by more than {WRONG:.0%}: {off:.0%}.",
    ])  # fmt: skip


def show_levels(plan: LoadPlan) -> None:
    """Prints each level of one run of each server."""
    for server in SERVERS:
        found = server.found(0, plan)
        print(f"{server.name}: true {server.true_rps:.4g}, {found.seconds:.1f} s: {found.reason}")
        previous_s = found.levels[0].started_at
        for i, load in enumerate(found.levels):
            asked = f"{load.concurrency} clients" if load.concurrency else f"{load.requested_rps:.4g} rps"
            print(
                f"  {'*' if i == found.reported else ' '} {asked:>12}: gap {load.started_at - previous_s:.2f} s, "
                f"{load.ended_at - load.started_at:5.2f} s, {load.completed:5} answered, "
                f"p99 {(load.value('p99_ms') or math.nan) / server.limit_ms:.2f} of the limit, "
                f"{'sure' if load.steady else 'overloaded' if load.overloaded else 'open'}"
            )
            previous_s = load.ended_at


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--runs", type=int, default=10, help="of each server")
    parser.add_argument("--total-s", type=float, default=60.0, help="the most that a measurement may take")
    parser.add_argument("--min-s", type=float, default=1.0, help="the least that a level takes")
    parser.add_argument("--levels", action="store_true", help="only show each level of the first run")
    asked = parser.parse_args(arguments)
    plan = LoadPlan(total_max_s=asked.total_s, level_min_s=asked.min_s)
    if asked.levels:
        show_levels(plan)
        return
    body = table(asked.runs, plan)
    print(body)
    heading = f"Highest rate under a limit, within {plan.total_max_s:g} s, in virtual time"
    put(asked.out, heading, Origin.here(__name__, arguments), body)
