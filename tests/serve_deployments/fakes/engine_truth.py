"""What an engine with continuous batching answers at a rate, computed step by step, by no code of the package."""

import numpy as np


def answered(arrived_s, tokens_in, tokens_out, most, step_s, sequence_s, prompt_token_s):
    """`[n]` seconds from each arrival to its first token, and seconds per token after it."""
    first, last = np.zeros(len(arrived_s)), np.zeros(len(arrived_s))
    running: dict[int, int] = {}  # request → tokens left
    joined, now = 0, 0.0
    while joined < len(arrived_s) or running:
        if not running:
            now = max(now, arrived_s[joined])
        new = []
        while joined < len(arrived_s) and arrived_s[joined] <= now and len(running) < most:
            running[joined] = tokens_out[joined]
            new.append(joined)
            joined += 1
        now += step_s + sequence_s * len(running) + prompt_token_s * sum(tokens_in[one] for one in new)
        for one in new:
            first[one] = now
        for one in list(running):
            running[one] -= 1
            if running[one] == 0:
                last[one] = now
                del running[one]
    return first - arrived_s, (last - first) / (np.asarray(tokens_out) - 1)


def missed(rate_rps, sizes, ttft_s, tpot_s, most, times, count=20_000, seed=0):
    """Share of many requests at a rate that are late by either limit."""
    rng = np.random.default_rng(seed)
    arrived_s = np.cumsum(rng.exponential(1 / rate_rps, count))
    tokens_in, tokens_out = zip(*(sizes[n % len(sizes)] for n in range(count)), strict=True)
    ttft, tpot = answered(arrived_s, tokens_in, tokens_out, most, *times)
    return float(((ttft > ttft_s) | (tpot > tpot_s)).mean())


def highest_rate(share, low, high, **more):
    """The rate at which this share of requests is late, by bisection with the same arrivals."""
    for _ in range(9):
        middle = (low + high) / 2
        low, high = (middle, high) if missed(middle, **more) <= share else (low, middle)
    return (low + high) / 2
