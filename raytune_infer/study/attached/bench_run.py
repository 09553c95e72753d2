"""A benchmark of an OpenAI endpoint that runs already: every request once, or the highest rate that keeps limits."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from raytune_infer.errors import UserError
from serve_deployments.endpoint import DescribedError, first_line
from serve_deployments.load.arrivals import Arrivals, Renewal
from serve_deployments.load.attached.each_once import at_once, each_once
from serve_deployments.load.attached.openai_endpoint import OpenAIEndpoint, OpenAITarget, first_model
from serve_deployments.load.events import Events
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.stopping_rules import LevelStatus
from serve_deployments.measuring.summary import LevelRun, summarise
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.measurement import Measurement
from serve_deployments.metrics.metric_table import MISSED
from serve_deployments.metrics.request_limits import RequestLimits
from serve_deployments.settings import Settings


@dataclass(frozen=True)
class BenchPlan:
    """What to send to an endpoint, and how.

    Args:
        payloads: the requests, in OpenAI's form.
        arrivals: pattern of their arrivals.
        rate_rps: mean rate; None: all at once.
        most_in_flight: largest number of requests under way at once; None: any number.
        limits: the limits that each request has to keep, for goodput.
        seed: of the arrivals.

    Raises:
        ValueError: there is no request.
    """

    payloads: Sequence[Mapping[str, Any]] = field(repr=False)
    arrivals: Arrivals = field(default_factory=Renewal)
    rate_rps: float | None = None
    most_in_flight: int | None = None
    limits: RequestLimits | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.payloads:
            raise ValueError("a benchmark needs one request or more")

    @property
    def offsets_s(self) -> Iterable[float]:
        """When each request is due, in seconds from the start."""
        return at_once() if self.rate_rps is None else self.arrivals.offsets(self.rate_rps, self.seed)


def target_of(base_url: str, model: str, path: str | None, temperature: float | None) -> OpenAITarget:
    """Return where an endpoint is. Raises UserError if its address is none of HTTP."""
    try:
        more = {} if temperature is None else {"temperature": temperature}
        return OpenAITarget(base_url, model, path, more)
    except ValueError as error:
        raise UserError(f"--base-url: {error}") from None


def model_of(base_url: str, name: str | None) -> str:
    """Return the name of the model: the one that is given, or the endpoint's first.

    Raises:
        UserError: the endpoint is not there, or names none.
    """
    if name is not None:
        return name
    try:
        return asyncio.run(first_model(target_of(base_url, "", None, None).base_url))
    except DescribedError as error:
        raise UserError(f"{error}; is it running there? or name the model with --model") from None


def once(target: OpenAITarget, plan: BenchPlan, watch: Callable[[int], None]) -> tuple[Events, LevelResult]:
    """Send every request once; return the record of all, and what it says as a level of load.

    Raises:
        UserError: the endpoint does not answer the first request, or none.
    """

    async def run() -> Events:
        endpoint = OpenAIEndpoint(target)
        try:
            await _check(endpoint, plan.payloads[0])
            return await each_once(
                endpoint, plan.payloads, plan.offsets_s, most_in_flight=plan.most_in_flight, limits=plan.limits,
                watch=watch,
            )  # fmt: skip
        finally:
            await endpoint.close()

    events = asyncio.run(run())
    if events.requests().failed.all():
        raise UserError(f"none of {len(plan.payloads)} requests was answered; the first error: {events.first_error}")
    return events, level_of(events, plan.rate_rps)


def level_of(events: Events, rate_rps: float | None) -> LevelResult:
    """What a record of requests says, without a warm-up, as all of them count."""
    span = events.span()
    requests = len(span.requests)
    run = LevelRun("open", None, rate_rps or requests / span.duration_s, math.nan, math.nan)
    # Achieved, not asked for: every request was sent, however long that took.
    return summarise(run, events, LevelStatus(span, None, sure=True), (), until_s=span.end_s)


def highest(target: OpenAITarget, plan: BenchPlan, attainment: float, total_s: float) -> Measurement:
    """Find the highest rate at which the share `attainment` of the requests keeps the limits of each.

    Args:
        target: the endpoint.
        plan: the requests with their limits; they are sent again when all have been sent.
        attainment: the share, from 0 to 1.
        total_s: how long the search may take.

    Raises:
        UserError: there are no limits, or the endpoint does not answer.
    """
    if plan.limits is None:
        raise UserError("a highest rate needs limits of each request; give some, as in `--goodput ttft:500`")
    load = LoadPlan(
        total_max_s=total_s, level_max_s=max(LoadPlan.level_max_s, total_s / 4), arrivals=plan.arrivals, seed=plan.seed,
        request_limits=plan.limits,
    )  # fmt: skip
    return tested(target, plan.payloads, LoadTest(load, {MISSED: round(1 - attainment, 12)}))


def tested(target: OpenAITarget, payloads: Sequence[Mapping[str, Any]], test: LoadTest) -> Measurement:
    """Return what a load test finds of an endpoint. Raises UserError if it does not answer a first request."""

    async def run() -> Measurement:
        endpoint = OpenAIEndpoint(target)
        try:
            await _check(endpoint, payloads[0])
            return await test.run(endpoint, payloads, Settings())
        finally:
            await endpoint.close()

    return asyncio.run(run())


async def _check(endpoint: OpenAIEndpoint, payload: Mapping[str, Any]) -> None:
    """Ask once before anything is measured, which also has an engine make its kernels ready."""
    try:
        await endpoint.infer(payload)
    except (DescribedError, aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        url = endpoint.target.url_of(payload)
        raise UserError(f"{url} does not answer a first request: {first_line(error)}") from None
