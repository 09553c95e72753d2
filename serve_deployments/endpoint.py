"""The seam between what is measured and what measures it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

from serve_deployments.usage import Usage

Payload = Any
"""One request's content, as the model takes it: a text, an array, …"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of an answer once its last part is there, which is when `infer` returns.

    Args:
        first_after_s: seconds from the call to the first part; NaN: it came in one part.
        parts: in how many it came.
        size_in: of the request, in whatever the endpoint counts, such as tokens; NaN where it does not count.
        size_out: of the answer.
    """

    first_after_s: float = math.nan
    parts: int = 1
    size_in: float = math.nan
    size_out: float = math.nan


WHOLE = Answer()
"""An answer in one part."""


class Endpoint(Protocol):
    """Something that answers requests: a Serve replica, or a fake."""

    async def infer(self, payload: Payload) -> Answer:
        """Returns when all of the answer is there.

        A cancelled call should withdraw its request from the server's queue where the transport can: after
        an overloaded level the queue is given up, and what stays in it delays the next level.

        Raises:
            Exception: the request failed; of whatever type, it counts as one error.
        """
        ...

    async def usage(self) -> Usage | None:
        """What the server did so far; None if it does not tell."""
        ...
