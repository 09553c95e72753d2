"""Error of a simulated queue of a replica's batches: its predicted latencies against levels on real replicas.

    python -m benchmarks simulated_queue [--services sleeping-40 minilm] [--rounds 3] [--seconds 8]

In each round a service is loaded at several fractions of its peak, in random order. For each level the queue is fitted
to the levels before it, as in a trial, and is given the level's own arrivals, so that their randomness does not add to
the difference. About two minutes a round.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from scipy.stats import t

from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from benchmarks.replica.served import local_serve, others, up
from benchmarks.replica.services import SERVICES, Service
from serve_deployments.measuring.in_cluster.load_side import load_actor
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.predicting.batch_queue import queue_of
from serve_deployments.measuring.predicting.rate_prediction import predicted_rates
from serve_deployments.metrics.level_result import LevelResult

SHARES = (0.3, 0.5, 0.65, 0.8, 0.9)
"""Rates of the levels as fractions of the peak."""
_PERCENTS = (50, 90, 99)
_QUEUES = 16  # simulated with the level's arrivals, each beginning at another batch
_SHIFTS = np.linspace(-0.4, 0.4, 33)  # in the logarithm of the rate
_MEDIAN_T4, _NINE_IN_TEN_T4 = (float(t.ppf((1 + part) / 2, 4)) for part in (0.5, 0.9))  # quantiles of |t|


@dataclass(frozen=True)
class Compared:
    """A level and the prediction for it.

    Args:
        service: the service's name.
        share: the level's rate as a fraction of the peak.
        seen_ms: the measured p50, p90 and p99.
        predicted_ms: those of the simulated queue.
        off: logarithm of the rate at which the queue has the measured p99 ÷ the level's rate, in units of the standard
            deviation that a trial would state; None where none is stated.
    """

    service: str
    share: float
    seen_ms: tuple[float, ...]
    predicted_ms: tuple[float, ...]
    off: float | None


def compared(
    service: Service, share: float, load: LevelResult, before: Sequence[LevelResult], plan: LoadPlan
) -> Compared | None:
    """Simulates a queue with the level's arrivals, at its rate and at others; None if no queue can be fitted."""
    queue, rate_rps, p99_ms = queue_of(before, service.settings), load.requested_rps, load.value("p99_ms")
    if queue is None or rate_rps is None or p99_ms is None:
        return None
    units = np.fromiter(itertools.islice(plan.arrivals.offsets(1.0, plan.seed), load.completed), float)
    latency_ms = 1e3 * queue.at_rates(np.tile(units, (_QUEUES, 1)), rate_rps * np.exp(_SHIFTS))
    predicted_ms = np.percentile(latency_ms, _PERCENTS, axis=(1, 2))
    shift = float(np.interp(p99_ms, np.maximum.accumulate(predicted_ms[-1]), _SHIFTS))
    [prior] = predicted_rates(before, service.settings, plan.arrivals, {"p99_ms": p99_ms}, rate_rps)
    return Compared(
        service.name,
        share,
        (load.value("p50_ms") or math.nan, load.value("p90_ms") or math.nan, p99_ms),
        tuple(predicted_ms[:, _SHIFTS.size // 2]),
        None if prior is None else shift / prior.spread,
    )


def measured(service: Service, actor: Any, replica: Any, rounds: int, seconds: float) -> list[Compared]:
    """Measures a service's levels, each predicted from the levels before it in its round."""
    endpoint = replica.endpoint
    ray.get(actor.set_target.remote(lambda: endpoint, list(service.payloads)))
    ray.get(actor.pin_to_free_cores.remote())
    found, order = [], random.Random(0)
    for number in range(rounds):
        brief = LoadPlan(level_max_s=2.0)
        clients = (1, 2 * service.settings.max_batch_size)
        loads = [ray.get(actor.closed.remote(each, brief)) for each in clients]
        peak_rps = loads[-1].achieved_rps
        for i, share in enumerate(order.sample(SHARES, len(SHARES))):
            seed = 100 * number + i
            plan = LoadPlan(level_min_s=seconds, level_max_s=seconds, precision=1e-9, seed=seed)
            load = ray.get(actor.open.remote(share * peak_rps, plan))
            one = compared(service, share, load, loads, plan)
            loads.append(load)
            if one is not None and not load.overloaded:
                found.append(one)
                p99s = f"p99 {one.seen_ms[-1]:.0f} ms, predicted {one.predicted_ms[-1]:.0f} ms"
                print(f"{service.name}, round {number + 1}, {share:.0%} of {peak_rps:.0f}/s: {p99s}", flush=True)
    return found


def text(everything: Sequence[Compared], seconds: float) -> str:
    """The text of the section of results."""
    rows = []
    for service, share in sorted({(one.service, one.share) for one in everything}):
        these = [one for one in everything if (one.service, one.share) == (service, share)]
        cells = [
            f"{statistics.median(one.seen_ms[i] for one in these):.0f} / "
            f"{statistics.median(one.predicted_ms[i] for one in these):.0f}"
            for i in range(len(_PERCENTS))
        ]
        ratios = sorted(one.seen_ms[-1] / one.predicted_ms[-1] for one in these)
        rows.append([service, f"{share:.0%}", str(len(these)), *cells, f"{ratios[0]:.2f} to {ratios[-1]:.2f}"])
    off = [abs(one.off) for one in everything if one.off is not None]
    return "\n\n".join([
        f"Levels of {seconds:g} s, Poisson arrivals, batches of 8 on one core; {others()}. Seen / predicted: medians "
        "of the levels, in ms; the ranges are of p99 seen ÷ predicted.",
        markdown(["replica", "of its peak", "levels", "p50", "p90", "p99", "range"], rows),
        "The rate at which the queue has the p99 that was seen, off from the level's, in the standard deviations that "
        f"a trial would state: the median is {statistics.median(off):.2f} of {len(off)} levels (that of Student's t "
        f"with four degrees of freedom: {_MEDIAN_T4:.2f}), nine in ten are within {np.quantile(off, 0.9):.1f} "
        f"({_NINE_IN_TEN_T4:.1f}).",
    ])  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--services", nargs="+", choices=SERVICES, default=["sleeping-40", "minilm"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds per level")
    asked = parser.parse_args(arguments)
    if asked.rounds < 1 or asked.seconds < 1:
        parser.error(f"--rounds and --seconds must be 1 or more, got {asked.rounds} and {asked.seconds:g}")
    everything = []
    with local_serve(http=False) as port:
        here = ray.get_runtime_context().get_node_id()
        for name in asked.services:
            service = SERVICES[name]()
            with up(service, port, http=False) as (replica, _), load_actor(here) as actor:
                everything += measured(service, actor, replica, asked.rounds, asked.seconds)
    body = text(everything, asked.seconds)
    print(body)
    put(asked.out, "A queue of a replica's batches, against the replica", Origin.here(__name__, arguments), body)
