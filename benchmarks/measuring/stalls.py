"""What stalls of the machine do to the highest rate of five configurations, and to their order.

    python -m benchmarks stalls [--runs 8] [--total-s 12] [--every-s 4] [--stall-s 0.3]

The servers run in virtual time and differ in their largest batch. At random times, whatever the load, the machine stops
each of them for a while. What a search should find is the rate that the server has on a machine of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import kendalltau

from benchmarks.measuring.highest_rate_cost import Server
from benchmarks.measuring.service_times import gamma
from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.metrics.measurement import Measurement

_FIRST_S, _EACH_S, _LIMIT_S = 0.010, 0.003, 0.100  # of a batch, of each request in it, and the limit on the p99


def configuration(batch: int) -> Server:
    """A server whose batches take 10 ms and 3 ms a request, and vary by a tenth, under a limit of 100 ms.

    `Server` has half of the time of a full batch for any batch; so the time of a request differs a little.
    """
    full_s = _FIRST_S + _EACH_S * batch
    return Server(f"batch {batch}", full_s, batch, gamma(0.1), _LIMIT_S / full_s)


CONFIGURATIONS = tuple(configuration(batch) for batch in (1, 2, 4, 8, 16))


def at_random(seed: int, until_s: float, every_s: float, stall_s: float) -> tuple[tuple[float, float], ...]:
    """Stalls at random times, as pairs (start, length) in seconds: exponential gaps with a mean of `every_s`."""
    rng, at_s, stalls = np.random.default_rng([seed, 2]), 0.0, []
    while (at_s := at_s + float(rng.exponential(every_s))) < until_s:
        stalls.append((at_s, stall_s))
        at_s += stall_s
    return tuple(stalls)


def _rate(found: Measurement) -> float:
    return found.metrics["rps"] if found.found else 0.0


def table(runs: int, plan: LoadPlan, every_s: float, stall_s: float) -> str:
    """The text of the section of results."""
    true = np.array([server.true_rps for server in CONFIGURATIONS])
    rows, order = [], {}
    for kind in ("a machine of its own", "stalls"):
        rates = np.zeros((runs, len(CONFIGURATIONS)))
        for i, server in enumerate(CONFIGURATIONS):
            found = []
            for seed in range(runs):
                stalls = at_random(100 * seed + i, 2 * plan.total_max_s, every_s, stall_s) if kind == "stalls" else ()
                found.append(server.found(seed, plan, stalls))
            rates[:, i] = [_rate(one) for one in found]
            within = [one.rate_low_rps is not None and one.rate_low_rps <= true[i] <= (one.rate_high_rps or 0.0)
                      for one in found]  # fmt: skip
            rows.append([
                server.name, kind, f"{true[i]:.4g}", f"{np.median(rates[:, i] / true[i]):.3f}",
                f"{rates[:, i].min() / true[i]:.2f} to {rates[:, i].max() / true[i]:.2f}",
                f"{np.mean([one.found for one in found]):.0%}", f"{np.mean(within):.0%}",
            ])  # fmt: skip
        first = np.mean(rates.argmax(axis=1) == true.argmax())
        tau = np.mean([kendalltau(row, true).statistic for row in rates])
        order[kind] = f"{kind}: first {first:.0%}, Kendall's tau {tau:.2f}"
    header = ["largest batch", "measured on", "true rate", "found / true", "range", "found", "interval holds"]
    return "\n\n".join([
        f"**In virtual time**, {runs} runs each of at most {plan.total_max_s:g} s; stalls of {stall_s:g} s, one in "
        f"{every_s:g} s on average. Found / true: median, 0 where no level kept the limits.",
        markdown(header, rows, text=(0, 1)),
        f"Runs in which the best comes out first, and how far the order is right: {'; '.join(order.values())}.",
    ])  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--runs", type=int, default=8, help="of each server")
    parser.add_argument("--total-s", type=float, default=12.0, help="the most that a measurement may take")
    parser.add_argument("--every-s", type=float, default=4.0, help="mean time between two stalls")
    parser.add_argument("--stall-s", type=float, default=0.3, help="length of a stall")
    asked = parser.parse_args(arguments)
    if asked.runs < 1 or not (asked.every_s > 0 and asked.stall_s > 0 and asked.total_s > 0):
        parser.error("--runs is 1 or more, and times are above 0")
    body = table(asked.runs, LoadPlan(total_max_s=asked.total_s, level_min_s=0.5), asked.every_s, asked.stall_s)
    print(body)
    put(asked.out, "Stalls of the machine, in virtual time", Origin.here(__name__, arguments), body)
