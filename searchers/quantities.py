"""What the name of a metric tells, for metrics of which a searcher knows nothing else.

Quantities that have a role are positive and act by ratios, so they are modelled as natural logarithms.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

Role = Literal["rate", "latency", "ttft", "tpot"]
ROLES: tuple[Role, ...] = get_args(Role)

PRICE = "usd_per_hour"
"""The price, the only quantity known before any trial; among an earlier service's metrics, it has no role."""

_TTFT = re.compile(r"(?:^|_)ttft(?:_|$)")
_TPOT = re.compile(r"(?:^|_)(?:tpot|itl)(?:_|$)")
_TIME = re.compile(r"latency|_(?:ms|s|us)$")
_RATE = re.compile(r"per_(?:ms|s|us)$")


def role(metric: str) -> Role:
    """The role of a metric in a server's performance.

    - `ttft`: time to the first token (`ttft_ms`, `p99_ttft_ms`)
    - `tpot`: time per further token (`tpot_ms`, `itl_ms`: inter-token latency)
    - `latency`: other times, recognised by a unit (`p99_ms`, `wait_s`) or by the word `latency`
    - `rate`: everything else (`rps`, `tokens_per_s`)
    """
    name = metric.lower()
    if _TTFT.search(name):
        return "ttft"
    if _TPOT.search(name):
        return "tpot"
    return "latency" if _TIME.search(name) and not _RATE.search(name) else "rate"


_SHARE = re.compile(r"error|fail|drop|timeout|reject")


def sounds_like_a_share(metric: str) -> bool:
    """Whether the name is one of those that shares of requests usually have: `error_rate`, `dropped`, `timeouts`."""
    return _SHARE.search(metric.lower()) is not None
