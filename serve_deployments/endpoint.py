"""The interface between the server that is measured and the load test that measures it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from serve_deployments.usage import Usage

Payload = Any
"""Content of one request, in the form that the model takes: a text, an array, …"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer says, its timing and size, known once its last part has arrived, which is when `infer` returns.

    Args:
        first_after_s: seconds from the call to the first part; NaN if the answer came in one part.
        parts: number of parts that the answer came in.
        size_in: size of the request in the endpoint's unit, such as tokens; NaN where the endpoint does not count.
        size_out: size of the answer in the same unit; NaN likewise.
        content: what the model answered; a load test ignores it.
    """

    first_after_s: float = math.nan
    parts: int = 1
    size_in: float = math.nan
    size_out: float = math.nan
    content: Any = None


WHOLE = Answer()
"""An answer in one part, of which only the time counts."""


class Endpoint(Protocol):
    """Something that answers requests: a Serve replica, or a fake."""

    async def infer(self, payload: Payload) -> Answer:
        """Sends one request and returns when the whole answer has arrived.

        A cancelled call should withdraw its request from the server's queue where the transport can: the queue of an
        overloaded level is abandoned, and requests that stay in it delay the next level.

        Raises:
            Exception: the request failed; whatever the type, it counts as one error.
        """
        ...

    async def usage(self) -> Usage | None:
        """The server's counters so far; None if it does not report any."""
        ...
