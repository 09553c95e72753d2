"""Times and amounts of streamed answers, as a language model's users see them; each says whose definition it is."""

from __future__ import annotations

import numpy as np

from serve_deployments.metrics.request_record import Requests


def ttft_s(requests: Requests) -> np.ndarray:
    """`[n]` seconds from when each was due to the first part of its answer; NaN where it has none.

    vLLM and GuideLLM count from the send instead. From when it was due, waiting in the client counts too.
    """
    return np.where(requests.failed, np.nan, requests.first_s - requests.due_s)


def tpot_s(requests: Requests) -> np.ndarray:
    """`[n]` seconds per token after the first: (last - first) / (tokens - 1); NaN where there is no second one.

    As vLLM's TPOT (`vllm bench serve`); AIPerf and GenAI-Perf call it the inter-token latency of a request.
    """
    further = np.where(requests.tokens_out > 1, requests.tokens_out - 1, np.nan)
    return np.where(requests.failed, np.nan, (requests.last_s - requests.first_s) / further)


def tokens_per_s_of_a_user(requests: Requests) -> np.ndarray:
    """`[n]` tokens per second that each user sees after the first: 1 / TPOT; NaN where there is no TPOT.

    As the output token throughput per user of AIPerf and GenAI-Perf.
    """
    time_s = tpot_s(requests)
    return 1 / np.where(time_s > 0, time_s, np.nan)


def tokens_in(requests: Requests) -> np.ndarray:
    """`[n]` tokens of each request that was answered; NaN for the others, and where the endpoint does not count."""
    return np.where(requests.failed, np.nan, requests.size_in)


def tokens_out(requests: Requests) -> np.ndarray:
    """`[n]` tokens of each answer; NaN where it failed, or was not streamed and the endpoint does not count."""
    return np.where(requests.failed, np.nan, requests.tokens_out)
