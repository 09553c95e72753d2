"""Measures a running replica with a load actor: where the actor is placed, and how long to wait for it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import ray

from serve_deployments.backend import LoadFailed, Running
from serve_deployments.endpoint import Payload, first_line
from serve_deployments.load.asking import AskingBounds
from serve_deployments.measuring.in_cluster.load_side import load_actor
from serve_deployments.measuring.load_test import LoadTest
from serve_deployments.measuring.rates.level_search import longest_s
from serve_deployments.metrics.answers.content import Content, Unanswered
from serve_deployments.metrics.level_result import LevelResult
from serve_deployments.metrics.measurement import Measurement
from serve_deployments.settings import Settings

_GRACE_S = 60.0
"""Seconds that a load test may take beyond its plan: for the actor's start, its imports and the last answers."""


@dataclass(frozen=True)
class WithLoadActor:
    """Measures replicas with a load actor, which is placed on another machine than the replica where there is one.

    Args:
        load_test: the load test to run.
        payloads: payloads of the requests, sent in turn; `StoredSamples`, lest each trial send all to its load actor.
        places: place of each payload in the user's samples, by which failing ones are named; empty: as they are here.
        labels: labels of the gauges that show each level while it runs; empty: it is not shown.
    """

    load_test: LoadTest
    payloads: Sequence[Payload]
    places: Sequence[int] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, running: Running, settings: Settings, *, to_beat_rps: float | None = None) -> Measurement:
        """Measures a replica that runs under `settings`; ends once `to_beat_rps` is almost certainly out of reach.

        Raises:
            LoadFailed: the load test did not finish.
        """
        with _sending_to(running, self.payloads) as actor:
            apart = ray.get(actor.pin_to_free_cores.remote())
            answer = actor.run.remote(self.load_test, settings, to_beat_rps, self.labels)
            measurement = ray.get(answer, timeout=longest_s(self.load_test.plan) + _GRACE_S)
            # Another trial's replica may have leased the same cores meanwhile.
            return replace(
                measurement,
                levels=tuple(map(self._with_places, measurement.levels)),
                apart=apart and ray.get(actor.is_apart.remote()),
            )

    def _with_places(self, level: LevelResult) -> LevelResult:
        """The level, with its failing samples named by their places in the user's samples."""
        if not (self.places and level.failed_samples):
            return level
        return replace(level, failed_samples=tuple((self.places[at], error) for at, error in level.failed_samples))


@dataclass(frozen=True)
class AskWithLoadActor:
    """Asks replicas from the process that will load them, on the same path.

    Args:
        samples: the samples whose answers are compared.
    """

    samples: Sequence[Payload]

    def __call__(
        self, running: Running, settings: Settings, payloads: Sequence[Payload], bounds: AskingBounds
    ) -> list[Content | Unanswered]:
        """Returns the answers of a replica that runs under `settings` to the payloads, in order.

        Raises:
            LoadFailed: the load actor died, or did not answer in time.
        """
        with _sending_to(running, payloads) as actor:
            timeout_s = None if math.isinf(bounds.end_s) else bounds.end_s + _GRACE_S
            answers = ray.get(actor.ask.remote(settings.max_batch_size, bounds), timeout=timeout_s)
        return list(answers)


@contextmanager
def _sending_to(running: Running, payloads: Sequence[Payload]) -> Iterator[Any]:
    """Provides a load actor that sends these payloads to a replica.

    Raises:
        LoadFailed: the actor died, or what was asked of it did not end in time.
    """
    facts = running.facts()
    endpoint = running.endpoint
    try:
        with load_actor(_away_from(facts.hostname)) as actor:
            ray.get(actor.set_target.remote(lambda: endpoint, payloads))
            yield actor
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, LoadFailed):
            raise error.cause from None  # the original message, without the traceback of another process
        raise
    except ray.exceptions.RayError as error:  # it died, does not answer, or its node is gone
        raise LoadFailed(f"the load test did not end: {first_line(error)}") from error


def _away_from(hostname: str) -> str:
    """Id of a node on another machine than the replica's if there is one, else of the caller's node.

    Of several, nodes with the fewest GPUs and then with the most cores are preferred, as replicas that are measured
    there need their own; ties are broken at random.
    """
    other = [node for node in ray.nodes() if node["Alive"] and node["NodeManagerHostname"] != hostname]
    if not other:
        return str(ray.get_runtime_context().get_node_id())
    resources = [(node["Resources"].get("GPU", 0), -node["Resources"].get("CPU", 0)) for node in other]
    alike = [node["NodeID"] for node, r in zip(other, resources, strict=True) if r == min(resources)]
    return str(random.choice(alike))
