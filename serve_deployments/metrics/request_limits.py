"""Limits that each request has to keep by itself, as goodput counts them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RequestLimits:
    """The longest times that a request may take to count as served well.

    Goodput is the number of requests per second that keep all of them (Zhong et al., DistServe, OSDI 2024, section 2;
    `vllm bench serve --goodput` counts likewise).

    Args:
        at_most_s: name of a time of `metric_table.REQUEST_TIMES` → its longest value in seconds.

    Raises:
        ValueError: there is no limit, or one is not positive.
    """

    at_most_s: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.at_most_s:
            raise ValueError("limits of each request need one time or more, such as {'ttft': 0.5}")
        for name, limit_s in self.at_most_s.items():
            if not limit_s > 0:
                raise ValueError(f"the limit of each request on {name} must be above 0 s, got {limit_s}")
