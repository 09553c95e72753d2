"""Limits of service.yaml that each request has to keep by itself, and the share of requests that must: goodput."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from raytune_infer.spec.spec_errors import At
from serve_deployments.metrics.metric_table import MISSED, REQUEST_TIMES
from serve_deployments.metrics.request_limits import RequestLimits

ATTAINMENT = "attainment"
"""The key under `limits` for the share of requests that must keep all of their own limits."""

OWN_LIMITS: Mapping[str, str] = {f"{name}_ms": name for name in REQUEST_TIMES}
"""Key under `limits` → the time of each request that it limits: `latency_ms`, `ttft_ms`, `tpot_ms`, `itl_ms`."""

_NEED_LIMITS = (ATTAINMENT, MISSED, "goodput")
_DIGITS = 12  # of a share: 1 - 0.95 is not exactly 0.05 in binary


def own_limits_ms(limits: Mapping[str, float]) -> dict[str, float]:
    """Return those of the limits that each request has to keep by itself."""
    return {name: limit for name, limit in limits.items() if name in OWN_LIMITS}


def request_limits(limits: Mapping[str, float]) -> RequestLimits | None:
    """Return the limits of each request as a load test takes them; None if there are none."""
    own = {OWN_LIMITS[name]: limit / 1e3 for name, limit in own_limits_ms(limits).items()}
    return RequestLimits(own) if own else None


def level_limits(limits: Mapping[str, float]) -> dict[str, float]:
    """Return the limits on what a level of load reports.

    An attainment is told as the share of requests that may miss their limits, which a load test can bound from above
    as it does an error rate.
    """
    rest = {name: limit for name, limit in limits.items() if name not in OWN_LIMITS and name != ATTAINMENT}
    if ATTAINMENT in limits:
        rest[MISSED] = round(1 - limits[ATTAINMENT], _DIGITS)
    return rest


def check_own_limits(limits: Mapping[str, float], asked: Mapping[tuple[str, ...], Iterable[str]]) -> None:
    """Refuse limits of each request without the share that must keep them, the reverse, and goodput without either.

    Args:
        limits: `limits` of service.yaml.
        asked: place in the file → metrics that it names.

    Raises:
        At: something is missing, or a limit is not positive.
    """
    own = own_limits_ms(limits)
    for name, limit in own.items():
        if not limit > 0:
            raise At(("limits", name), f"a request takes longer than {limit:g} ms; write a number above 0")
    if own and ATTAINMENT not in limits:
        raise At(
            ("limits", next(iter(own))),
            "is a limit of each request; say under `limits` which share of the requests must keep all such limits, "
            f"as in `{ATTAINMENT}: 0.95`; or limit a percentile over all requests, such as p99_ms or ttft_p99_ms",
        )
    if MISSED in limits:
        raise At(("limits", MISSED), f"write `{ATTAINMENT}: {1 - limits[MISSED]:.6g}` instead, the share that must not")
    remedy = f"give limits of each request: {', '.join(OWN_LIMITS)}; for example `limits: {{ttft_ms: 500, "
    remedy += f"{ATTAINMENT}: 0.95}}`"
    if ATTAINMENT in limits and not own:
        raise At(("limits", ATTAINMENT), f"is the share of requests that keep their own limits; {remedy}")
    for place, names in asked.items():
        for name in names:
            if name in _NEED_LIMITS and not own:
                raise At(place, f"{name} counts the requests that keep their own limits; {remedy}")
