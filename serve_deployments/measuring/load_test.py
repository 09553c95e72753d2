"""The load test of a replica: the same for a real replica by a load actor, and for a fake one in virtual time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self

from serve_deployments.endpoint import Endpoint, Payload
from serve_deployments.load.clock import Clock
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.rates.highest_rate import highest_rate
from serve_deployments.measuring.rates.peak_rate import peak_rate
from serve_deployments.metrics.measurement import Measurement
from serve_deployments.metrics.metric_table import MISSED
from serve_deployments.settings import Settings

COARSER = 2.0
"""Factor on the relative precision of a highest rate in a search, whose best configurations are measured again. Our
choice: in virtual time (eight configurations, default plan) a search then took half of the time and found the same
best."""


@dataclass(frozen=True)
class LoadTest:
    """A test that finds the rate that a replica can serve.

    Args:
        plan: how long and how precisely to measure.
        at_most: limits to keep: metric → largest value allowed.
        find: "highest_rate" under the limits, or the "peak" rate without; None: the former if there are limits.

    Raises:
        ValueError: the share of requests that miss their own limits is limited, and they have none.
    """

    plan: LoadPlan
    at_most: Mapping[str, float] = field(default_factory=dict)
    find: Literal["peak", "highest_rate"] | None = None

    def __post_init__(self) -> None:
        if MISSED in self.at_most and self.plan.request_limits is None:
            raise ValueError(f"a limit on {MISSED} needs limits of each request; give the plan `request_limits`")

    @property
    def finds_highest_rate(self) -> bool:
        """Whether it finds the highest rate within the limits, and not a peak."""
        return self.find == "highest_rate" or (self.find is None and bool(self.at_most))

    @property
    def again(self) -> float:
        """About how many times as long it takes as `for_search`: as the square of the precision, as of a mean."""
        return COARSER**2 if self.finds_highest_rate else 1.0

    def for_search(self) -> Self:
        """The test for a search, whose best configurations are measured again: a highest rate is known less precisely.

        A peak takes no longer for being precise: most of its levels are as short as a level can be.
        """
        if not self.finds_highest_rate:
            return self
        return replace(self, plan=replace(self.plan, rate_precision=COARSER * self.plan.rate_precision))

    async def run(
        self,
        endpoint: Endpoint,
        payloads: Sequence[Payload],
        settings: Settings,
        *,
        clock: Clock | None = None,
        to_beat_rps: float | None = None,
    ) -> Measurement:
        """Measures a replica that runs under `settings`.

        Args:
            endpoint: the replica's endpoint.
            payloads: payloads of the requests, sent in turn.
            settings: the replica's settings, which determine the batches that it forms.
            clock: the clock to use; the machine's by default.
            to_beat_rps: the test ends once this rate is almost certainly out of reach; None: never.
        """
        if self.finds_highest_rate:
            found = await highest_rate(
                endpoint, payloads, self.plan, self.at_most, settings, clock=clock, to_beat_rps=to_beat_rps
            )
            return replace(found, named=tuple(self.at_most))
        plan = self.plan.filling(settings.max_batch_size)
        return await peak_rate(endpoint, payloads, plan, clock=clock, to_beat_rps=to_beat_rps)
