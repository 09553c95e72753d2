"""Levels made up for tests: records of requests whose every number is known, without anything being sent."""

from array import array
from dataclasses import replace

import numpy as np

from serve_deployments.load.events import Events
from serve_deployments.measurement import Latencies, Load


def events(ended_s, latency_s=0.05, in_flight=1.0, start_s=0.0):
    """A record of requests that ended at these times; one latency or queue for all, or one for each; NaN: failed."""
    made, count = Events(start_s), len(ended_s)
    made.ended_s, made.latency_s, made.in_flight = (
        array("d", np.broadcast_to(np.asarray(column, dtype=float), count).tobytes())
        for column in (ended_s, latency_s, in_flight)
    )
    return made


def so_far(whole, count):
    """The record when so many requests had ended."""
    return events(whole.ended_s[:count], whole.latency_s[:count], whole.in_flight[:count], whole.start_s)


def queued(rng, rate_rps, service_s, seconds, gap=lambda rng, count: rng.exponential(1.0, count)):
    """An open level of one server, one request after the other, that begins empty (Lindley's recursion).

    Args:
        rng: of arrivals.
        rate_rps: mean rate of arrivals.
        service_s: rng, count → seconds that each request takes.
        seconds: how long requests arrive.
        gap: rng, count → gaps between arrivals, of mean 1.
    """
    count = int(2 * rate_rps * seconds + 100)
    arrived_s = np.cumsum(gap(rng, count)) / rate_rps
    arrived_s = arrived_s[arrived_s < seconds]
    total_s = np.cumsum(service_s(rng, arrived_s.size))
    # end_i = max over k <= i of arrival_k + what is served from k to i
    ended_s = total_s + np.maximum.accumulate(arrived_s - np.concatenate([[0.0], total_s[:-1]]))
    ended_s = ended_s[ended_s < seconds]
    in_flight = np.searchsorted(arrived_s, ended_s) - np.arange(ended_s.size)
    return events(ended_s, ended_s - arrived_s[: ended_s.size], in_flight)


def load(rate_rps=None, clients=None, *, latency_s=(0.1, 0.2, 0.3), **changes):
    """A level that kept up, by what matters of it."""
    made = Load(
        mode="closed" if clients else "open", concurrency=clients, requested_rps=rate_rps,
        achieved_rps=rate_rps or 10.0 * (clients or 1), duration_s=2.0, completed=len(latency_s), errors=0,
        error_rate=0.0, latencies=Latencies.of(latency_s), steady=True, overloaded=False, client_cpu_share=0.1,
        client_lag_ms=0.5, client_limited=False, warmup_s=0.4, started_at=1e9, ended_at=1e9 + 3,
    )  # fmt: skip
    return replace(made, **changes)
