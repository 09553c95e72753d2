"""Samples in a config file, in the form in which a client sends them, for the first batches of an exported replica.

So its first users do not pay for what the trials had behind them: lazy initialisation, allocation, new shapes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from serve_deployments.endpoint import Payload
from serve_deployments.replicas.http.bodies import JSON, payload_of
from serve_deployments.replicas.http.payload_type import BadPayload, PayloadType
from serve_deployments.replicas.http.results import NoForm, to_json

MOST_BYTES = 65_536
"""Largest size of all samples in a config file. Our choice: it is read by people, and as a RayService of Kubernetes it
must fit with all else into an annotation of 256 KiB (`kubectl apply`, "last-applied-configuration")."""


MOST_SAMPLES = 16
"""Largest number of them. Our choice: payloads of several lengths, which are repeated to fill larger batches."""


def in_config(samples: Sequence[Payload], payload_type: PayloadType) -> list[Any]:
    """The first samples as values of JSON, without those that do not fit in, or that no client could send as JSON."""
    chosen: list[Any] = []
    left = MOST_BYTES
    for sample in samples[:MOST_SAMPLES]:
        try:
            body = to_json(sample)
            payload_of(body, JSON, payload_type)
        except (NoForm, BadPayload):
            continue
        if len(body) <= left:
            left -= len(body)
            chosen.append(json.loads(body))
    return chosen


def from_config(values: Sequence[Any], payload_type: PayloadType) -> list[Payload]:
    """The payloads that these values of JSON stand for, as the model gets them. Raises BadPayload."""
    return [payload_of(to_json(value), JSON, payload_type) for value in values]
