"""A fake of an engine that batches for itself and streams, like those of language models, in virtual time.

Continuous batching as Orca has it (Yu et al., OSDI 2022): the engine works in steps. In each, every running request
gets one token, and requests that wait join as places become free; their prompts are read in the step that they join.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from serve_deployments.endpoint import Answer, Payload
from serve_deployments.resources.usage import Usage


@dataclass(frozen=True)
class StepTimes:
    """How long a step of an engine takes.

    Args:
        step_s: seconds of any step: reading the weights.
        sequence_s: seconds more for each running request.
        prompt_token_s: seconds more for each token of a prompt that is read.
    """

    step_s: float = 0.01
    sequence_s: float = 0.0005
    prompt_token_s: float = 0.0001

    def of(self, running: int, prompt_tokens: int) -> float:
        """Seconds of a step with so many running requests, those that join included, and tokens of their prompts."""
        return self.step_s + self.sequence_s * running + self.prompt_token_s * prompt_tokens


@dataclass
class _Request:
    tokens_in: int
    left: int
    done: asyncio.Future[None]
    times_s: list[float] = field(default_factory=list)


@dataclass
class FakeStreamingEngine:
    """An Endpoint with continuous batching; its unit of size is tokens.

    Args:
        sizes: payload → tokens of the prompt, and of its answer.
        max_num_seqs: largest number of requests that run at once; the others wait in the order of arrival.
        times: how long its steps take.
    """

    sizes: Callable[[Payload], tuple[int, int]]
    max_num_seqs: int = 8
    times: StepTimes = StepTimes()
    _waiting: deque[_Request] = field(default_factory=deque)
    _running: list[_Request] = field(default_factory=list)
    _stepping: bool = False

    async def infer(self, payload: Payload) -> Answer:
        """See `Endpoint`."""
        loop = asyncio.get_running_loop()
        asked_s, (tokens_in, tokens_out) = loop.time(), self.sizes(payload)
        request = _Request(tokens_in, tokens_out, loop.create_future())
        self._waiting.append(request)
        self._step()
        await request.done
        times_s = request.times_s
        gaps_s = array("f", [after - before for before, after in zip(times_s, times_s[1:], strict=False)])
        return Answer(times_s[0] - asked_s, len(times_s), tokens_in, tokens_out, gaps_s=gaps_s)

    async def usage(self) -> Usage | None:
        """None: it does not report its usage."""
        return None

    def _step(self) -> None:
        """Starts a step, unless one is under way or there is nothing to do."""
        if self._stepping:
            return
        self._running = [one for one in self._running if not one.done.done()]  # done: withdrawn by its sender
        joining: list[_Request] = []
        while self._waiting and len(self._running) < self.max_num_seqs:
            if not (one := self._waiting.popleft()).done.done():
                self._running.append(one)
                joining.append(one)
        if self._running:
            self._stepping = True
            took_s = self.times.of(len(self._running), sum(one.tokens_in for one in joining))
            asyncio.get_running_loop().call_later(took_s, self._stepped)

    def _stepped(self) -> None:
        now_s, self._stepping = asyncio.get_running_loop().time(), False
        for request in self._running:
            request.left -= 1
            request.times_s.append(now_s)
            if request.left <= 0 and not request.done.done():
                request.done.set_result(None)
        self._step()
