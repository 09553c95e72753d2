"""Asking a replica a fixed set of samples once, for what it answers and not for how fast."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

from serve_deployments.endpoint import Endpoint, Payload
from serve_deployments.load.clock import Clock, RealClock
from serve_deployments.metrics.answers.content import Content, Unanswered, plain, size_bytes


@dataclass(frozen=True)
class AskingBounds:
    """When to stop asking.

    Args:
        begin_s: seconds after which no further sample is asked.
        end_s: seconds after which no answer is waited for.
        most_bytes: size of all answers together after which no further sample is asked.
    """

    begin_s: float = math.inf
    end_s: float = math.inf
    most_bytes: float = math.inf


async def ask(
    endpoint: Endpoint, payloads: Sequence[Payload], clients: int, bounds: AskingBounds, *, clock: Clock | None = None
) -> list[Content | Unanswered]:
    """Return the answers to the payloads in their order; those that were not asked are missing at the end.

    Args:
        endpoint: the endpoint that answers.
        payloads: the payloads, each asked once.
        clients: number of requests that wait for an answer at a time, so that batches form as they do under load.
        bounds: when to stop.
        clock: the clock to use; the machine's by default.
    """
    clock = clock or RealClock()
    began_s = clock.now()
    answers: list[Content | Unanswered] = []
    total_bytes = 0

    async def client() -> None:
        nonlocal total_bytes
        while len(answers) < len(payloads) and total_bytes < bounds.most_bytes:
            spent_s, number = clock.now() - began_s, len(answers)
            if spent_s >= bounds.begin_s:
                return
            answers.append(Unanswered(f"none within {bounds.end_s:g} s"))
            if spent_s < bounds.end_s:
                answers[number] = await _answer(endpoint, payloads[number], bounds.end_s - spent_s, answers[number])
            total_bytes += 0 if isinstance(answers[number], Unanswered) else size_bytes(answers[number])

    await asyncio.gather(*(client() for _ in range(max(1, min(clients, len(payloads))))))
    return answers


async def _answer(
    endpoint: Endpoint, payload: Payload, longest_s: float, late: Content | Unanswered
) -> Content | Unanswered:
    """Return the answer to a payload; `late` if there is none in this time."""
    waiting = asyncio.timeout(None if math.isinf(longest_s) else longest_s)
    try:
        async with waiting:
            return plain((await endpoint.infer(payload)).content)
    except TimeoutError as error:
        return late if waiting.expired() else Unanswered(f"{type(error).__name__}: {error}")
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return Unanswered("the server cancelled the request")
    except Exception as error:  # whatever failed, it is no answer
        return Unanswered(f"{type(error).__name__}: {error}")
