"""Levels made up for tests: records of requests whose every number is known, without anything being sent."""

import math
from array import array
from dataclasses import replace

import numpy as np

from serve_deployments.load.events import Events
from serve_deployments.metrics.distribution import Distribution
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.request_record import COLUMNS, RequestRecord, Requests


def requests(latency_s, ended_s=None):
    """Requests of these latencies, in this order; NaN: failed."""
    latency_s = np.asarray(latency_s, dtype=float)
    # From 0, where it is not said when each ended: a latency is then what it is to the last digit.
    last_s = np.nan_to_num(latency_s) if ended_s is None else np.asarray(ended_s, dtype=float)
    due_s, unknown = last_s - np.nan_to_num(latency_s), np.full(last_s.size, math.nan)
    return Requests(due_s, due_s, last_s, np.isnan(latency_s), unknown, np.ones(last_s.size), unknown, unknown)


def a_request(last_s, latency_s, **more):
    """The record of one that ended then and was sent when it was due; NaN: failed."""
    failed = math.isnan(latency_s)
    due_s = float(last_s if failed else last_s - latency_s)
    return RequestRecord(due_s, due_s, float(last_s), "failed" if failed else None, **more)


def events(ended_s, latency_s=0.05, in_flight=1.0, start_s=0.0):
    """A record of requests that ended at these times; one latency or queue for all, or one for each; NaN: failed."""
    ended_s, count = np.asarray(ended_s, dtype=float), len(ended_s)
    latency_s = np.broadcast_to(np.asarray(latency_s, dtype=float), count)
    made = Events(start_s, in_flight=array("d", np.broadcast_to(in_flight, count).astype(float)))
    made_up = requests(latency_s, ended_s)
    for name in COLUMNS:
        (made._failed if name == "failed" else made._columns[name]).extend(getattr(made_up, name).tolist())
    made._gaps_end.extend([0] * count)
    made.first_error = "failed" if np.isnan(latency_s).any() else None
    return made


def so_far(whole, count):
    """The record when so many requests had ended."""
    ended = whole.requests(0, count)
    return events(ended.last_s, ended.latency_s, whole.in_flight[:count], whole.start_s)


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


def a_level(requested_rps=None, clients=None, *, latency_s=(0.1, 0.2, 0.3), values=None, **changes):
    """A level that kept up, by what matters of it.

    Args:
        requested_rps: of an open level.
        clients: of a closed one.
        latency_s: of its requests.
        values: statistics of the latencies, in place of those and without a histogram.
        changes: other fields of `LevelResult`; `achieved_rps` is the rate that it stands for unless that is given.
    """
    changes.setdefault("achieved_rps", requested_rps or 10.0 * (clients or 1))
    changes.setdefault("rate_rps", changes["achieved_rps"])
    made = LevelResult(
        mode="closed" if clients else "open", concurrency=clients, requested_rps=requested_rps, achieved_rps=0.0,
        rate_rps=0.0, duration_s=2.0, completed=len(latency_s), errors=0, error_rate=0.0,
        distributions={"latency": Distribution.of(latency_s) if values is None else Distribution(values)},
        steady=True, overloaded=False, fell_behind=False, client_cpu_share=0.1, client_lag_ms=0.5,
        client_limited=False, warmup_s=0.4, started_at=1e9, ended_at=1e9 + 3,
    )  # fmt: skip
    return replace(made, **changes)
