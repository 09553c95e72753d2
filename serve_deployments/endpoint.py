"""The seam between what is measured and what measures it."""

from __future__ import annotations

from typing import Any, Protocol

from serve_deployments.usage import Usage

Payload = Any
"""One request's content, as the model takes it: a text, an array, …"""


class Endpoint(Protocol):
    """Something that answers requests: a Serve replica, or a fake."""

    async def infer(self, payload: Payload) -> None:
        """Returns when the answer is there.

        A cancelled call should withdraw its request from the server's queue where the transport can: after
        an overloaded level the queue is given up, and what stays in it delays the next level.

        Raises:
            Exception: the request failed; of whatever type, it counts as one error.
        """
        ...

    async def usage(self) -> Usage | None:
        """What the server did so far; None if it does not tell."""
        ...
