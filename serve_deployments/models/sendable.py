"""What may be sent to a replica and back: payloads and results as a request carries them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray import cloudpickle  # Serve's own serialisation of requests and answers

from serve_deployments.endpoint import Payload, first_line
from serve_deployments.models.context import ModelError
from serve_deployments.models.rows import with_article

_WRITABLE = 4
"""Protocol of pickle that gives a read-only array a writable copy; later ones keep it read-only."""


def as_sent(payload: Payload) -> Payload:
    """A copy of a payload, as a request brings it: the model's own, which it may write to."""
    return cloudpickle.loads(cloudpickle.dumps(payload, protocol=_WRITABLE))


def check_sendable(results: Sequence[Any]) -> None:
    """Checks that each result of a batch can be sent to its caller.

    Raises:
        ModelError: one cannot; the message says which, and what to return instead.
    """
    for number, result in enumerate(results):
        try:
            cloudpickle.loads(cloudpickle.dumps(result))
        except Exception as error:  # whatever a class's own serialisation raises
            raise ModelError(
                f"result {number} is {with_article(type(result))}, which cannot be sent ({first_line(error)}); return "
                "plain data, such as numbers, texts, arrays, or lists and mappings of them"
            ) from error
