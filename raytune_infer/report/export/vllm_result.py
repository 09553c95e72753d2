"""The result of a benchmark in the form in which `vllm bench serve --save-result` writes its own.

The names and definitions are those of vLLM's `benchmarks/serve.py` as of November 2026: times count from the send,
not from when a request was due, and percentiles are interpolated linearly. What vLLM leaves out without
`--save-detailed` is left out here too.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serve_deployments.load.events import Events
from serve_deployments.metrics.part_gaps import PartGaps
from serve_deployments.metrics.request_record import Requests

TIMES = ("ttft", "tpot", "itl", "e2el")
"""The times that vLLM reports, by its names."""


@dataclass(frozen=True)
class VllmWords:
    """What was asked for, as vLLM's result repeats it.

    Args:
        model: the model's name.
        tokenizer: the tokenizer's name.
        backend: name of the kind of endpoint.
        label: label of the benchmark; None: the backend.
        prompts: number of requests that were asked for.
        rate_rps: mean rate; None: all at once.
        burstiness: shape of the gamma distribution of the gaps between arrivals.
        most_in_flight: largest number of requests under way.
        times: which of `TIMES` to report.
        percentiles: which percentiles of them.
        metadata: what else the user wants in it.
    """

    model: str
    tokenizer: str
    prompts: int
    backend: str = "openai"
    label: str | None = None
    rate_rps: float | None = None
    burstiness: float = 1.0
    most_in_flight: int | None = None
    times: Sequence[str] = ("ttft", "tpot", "itl")
    percentiles: Sequence[float] = (99.0,)
    metadata: Mapping[str, str] = field(default_factory=dict)

    def file_name(self, date: str) -> str:
        """The name that vLLM gives to the file."""
        rate = "inf" if self.rate_rps is None else f"{self.rate_rps}"
        at_once = "" if self.most_in_flight is None else f"-concurrency{self.most_in_flight}"
        return f"{self.label or self.backend}-{rate}qps{at_once}-{self.model.split('/')[-1]}-{date}.json"


def vllm_result(events: Events, words: VllmWords, when: dt.datetime, *, detailed: bool = False) -> dict[str, Any]:
    """The result, ready for JSON.

    Args:
        events: the record of the requests.
        words: what was asked for.
        when: when that was.
        detailed: whether it has every request, as with `--save-detailed`.
    """
    requests = events.requests()
    answered = requests.where(~requests.failed)
    seconds = _seconds(answered)
    duration_s = max(float(requests.last_s.max() - events.start_s), 1e-9)
    tokens_in, tokens_out = float(np.nansum(answered.size_in)), float(np.nansum(answered.tokens_out))
    told: dict[str, Any] = {
        "date": when.strftime("%Y%m%d-%H%M%S"), "endpoint_type": words.backend, "backend": words.backend,
        "label": words.label, "model_id": words.model, "tokenizer_id": words.tokenizer, "num_prompts": words.prompts,
        **words.metadata,
        "request_rate": "inf" if words.rate_rps is None else words.rate_rps, "burstiness": words.burstiness,
        "max_concurrency": words.most_in_flight,
        "duration": duration_s, "completed": len(answered), "failed": len(requests) - len(answered),
        "total_input_tokens": int(tokens_in), "total_output_tokens": int(tokens_out),
        "request_throughput": len(answered) / duration_s,
        "request_goodput": None if events.limits is None else _good(answered, events.limits.at_most_s) / duration_s,
        "output_throughput": tokens_out / duration_s, "total_token_throughput": (tokens_in + tokens_out) / duration_s,
        "max_output_tokens_per_s": _most_per_second(answered), "max_concurrent_requests": _most_at_once(answered),
    }  # fmt: skip
    for name in words.times:
        values_ms = 1e3 * seconds[name] if seconds[name].size else np.zeros(1)
        told |= {f"mean_{name}_ms": float(values_ms.mean()), f"median_{name}_ms": float(np.median(values_ms)),
                 f"std_{name}_ms": float(values_ms.std())}  # fmt: skip
        told |= {f"p{percent:g}_{name}_ms": float(np.percentile(values_ms, percent)) for percent in words.percentiles}
    return told | (_each(events) if detailed else {})


def _seconds(answered: Requests) -> dict[str, np.ndarray]:
    """Each of vLLM's times over the answered requests, in seconds."""
    further = answered.tokens_out - 1
    return {
        "ttft": (answered.first_s - answered.sent_s)[~np.isnan(answered.first_s)],
        "tpot": ((answered.last_s - answered.first_s) / np.where(further > 0, further, np.nan))[further > 0],
        "itl": answered.gaps_s.astype(float),
        "e2el": answered.last_s - answered.sent_s,
    }


def _good(answered: Requests, at_most_s: Mapping[str, float]) -> int:
    """How many requests keep their limits, by vLLM's times; one token has a time per token of 0."""
    further = answered.tokens_out - 1
    per_token_s = np.where(further > 0, (answered.last_s - answered.first_s) / np.maximum(further, 1), 0.0)
    times_s = {
        "ttft": answered.first_s - answered.sent_s, "tpot": per_token_s, "latency": answered.last_s - answered.sent_s,
        "itl": np.nan_to_num(answered.longest_gap_s),
    }  # fmt: skip
    good = np.ones(len(answered), dtype=bool)
    for name, limit_s in at_most_s.items():
        good &= times_s[name] <= limit_s
    return int(good.sum())


def _part_times_s(requests: Requests) -> list[np.ndarray]:
    """For each request, when each of its parts came."""
    gaps = requests.gaps or PartGaps.none(len(requests))
    each = np.split(gaps.seconds.astype(float), np.cumsum(gaps.counts)[:-1]) if len(requests) else []
    return [first + np.concatenate([[0.0], np.cumsum(gap)]) for first, gap in zip(requests.first_s, each, strict=True)]


def _most_per_second(answered: Requests) -> float:
    """The largest number of parts in one second of the clock that begins with the first send."""
    if not len(answered):
        return 0.0
    times_s = np.concatenate(_part_times_s(answered)) - answered.sent_s.min()
    times_s = times_s[~np.isnan(times_s)]
    return float(np.bincount(times_s.astype(int)).max()) if times_s.size else 0.0


def _most_at_once(answered: Requests) -> int:
    """The largest number of answered requests that were under way at once."""
    moments = [(time_s, -1) for time_s in answered.last_s] + [(time_s, 1) for time_s in answered.sent_s]
    changes = np.array([change for _, change in sorted(moments)], dtype=int)
    return int(np.cumsum(changes).max()) if changes.size else 0


def _each(events: Events) -> dict[str, Any]:
    """What `--save-detailed` keeps of every request, but for the texts, which nobody keeps here."""
    requests = events.requests()
    gaps = requests.gaps or PartGaps.none(len(requests))
    ends = np.cumsum(gaps.counts)
    ttfts = np.nan_to_num(np.where(requests.failed, 0.0, requests.first_s - requests.sent_s))
    return {
        "input_lens": np.nan_to_num(requests.size_in).astype(int).tolist(),
        "output_lens": np.where(requests.failed, 0, np.nan_to_num(requests.tokens_out)).astype(int).tolist(),
        "start_times": requests.sent_s.tolist(), "ttfts": ttfts.tolist(),
        "itls": [gaps.seconds[end - count : end].tolist() for end, count in zip(ends, gaps.counts, strict=True)],
        "errors": ["failed" if failed else "" for failed in requests.failed],
    }  # fmt: skip
