"""What may be sent to a replica and back: payloads and results as a request carries them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ray import cloudpickle  # Serve's own serialisation of requests and answers

from serve_deployments.endpoint import Payload, first_line
from serve_deployments.models.context import ModelError
from serve_deployments.models.rows import with_article

_WRITABLE = 4
"""Protocol of pickle that gives a read-only array a writable copy; later ones keep it read-only."""

_UNCHANGING = (type(None), bool, int, float, complex, str, bytes)
"""Types of payloads that a model cannot write to."""


def as_sent(payload: Payload) -> Payload:
    """A copy of a payload, as a request brings it: the model's own, which it may write to."""
    return cloudpickle.loads(cloudpickle.dumps(payload, protocol=_WRITABLE))


def kept(payload: Payload) -> Callable[[], Payload]:
    """Keeps a payload as it is now: each call of what is returned gives it again, whatever became of the first one.

    Numbers, texts and bytes cannot change, so they are not copied. The memory of arrays is copied once, without being
    serialised, which takes a third of the time of `as_sent`.

    Raises:
        Exception: the payload cannot be copied; whatever its own serialisation raises.
    """
    if type(payload) in _UNCHANGING:
        return lambda: payload
    arrays: list[pickle.PickleBuffer] = []
    rest = cloudpickle.dumps(payload, protocol=5, buffer_callback=arrays.append)
    return partial(_loaded, rest, [(array.raw().readonly, bytes(array.raw())) for array in arrays])


def _loaded(rest: bytes, arrays: Sequence[tuple[bool, bytes]]) -> Payload:
    return pickle.loads(rest, buffers=[content if readonly else bytearray(content) for readonly, content in arrays])


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
