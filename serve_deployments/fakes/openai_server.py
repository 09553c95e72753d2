"""A fake OpenAI endpoint over real HTTP, which streams answers with known times, and says when it sent each part.

`python -m serve_deployments.fakes.openai_server --first-s 0.1 --gap-s 0.02` runs one on a free port of this machine
and prints its address, so that load can be tried on it from another process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

DEFAULT_TOKENS = 16
"""Tokens of an answer to a request that does not say how many, as OpenAI's completions have."""


@dataclass
class FakeOpenAIServer:
    """Answers after `first_s`, then a token each `gap_s`; requests do not slow one another down.

    Every event with text has `sent_s`, the time of the machine's monotonic clock at which it was written.

    Args:
        first_s: seconds from a request to the first token of its answer.
        gap_s: seconds from one token to the next.
        model: the model's name.
        refuses: number of a request in the order of arrival, from 0 → the HTTP status that refuses it; 0: none does.
        breaks_after: tokens after which an answer is cut off; None: none is.
        bodies: the requests so far.
    """

    first_s: float = 0.1
    gap_s: float = 0.02
    model: str = "fake"
    refuses: Any = staticmethod(lambda number: 0)
    breaks_after: int | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Run it in the current loop, on a free port of this machine; yields its address, which ends in `/v1`."""
        runner = web.AppRunner(self._app(), access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/models", self._models)
        for path in ("/v1/chat/completions", "/v1/completions"):
            app.router.add_post(path, self._answer)
        return app

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": self.model, "object": "model"}]})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        due_s = asyncio.get_running_loop().time() + self.first_s
        body = await request.json()
        number = len(self.bodies)
        self.bodies.append(body)
        if status := self.refuses(number):
            return web.json_response({"error": {"message": f"request {number} is refused, as arranged"}}, status=status)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if "messages" in body:  # at once, as vLLM says who speaks: no text yet
            await response.write(_event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}))
        tokens = body.get("max_tokens", DEFAULT_TOKENS)
        for token in range(tokens):
            if token == self.breaks_after:
                return response
            await _until(due_s + token * self.gap_s)
            await response.write(_event(_choice(body, f" w{token}", token == tokens - 1), sent_s=_now()))
        used = {"prompt_tokens": _tokens_in(body), "completion_tokens": tokens}
        await response.write(_event({"choices": [], "usage": used}))
        await response.write(b"data: [DONE]\n\n")
        return response


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _until(time_s: float) -> None:
    await asyncio.sleep(max(0.0, time_s - _now()))


def _tokens_in(body: dict[str, Any]) -> int:
    """One for each word."""
    texts = [one["content"] for one in body["messages"]] if "messages" in body else [body["prompt"]]
    return sum(len(text.split()) for text in texts)


def _choice(body: dict[str, Any], text: str, last: bool) -> dict[str, Any]:
    content = {"delta": {"content": text}} if "messages" in body else {"text": text}
    return {"choices": [{"index": 0, **content, "finish_reason": "length" if last else None}]}


def _event(told: dict[str, Any], **more: float) -> bytes:
    return f"data: {json.dumps({**told, **more})}\n\n".encode()


async def _run(server: FakeOpenAIServer) -> None:
    async with server.running() as url:
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.read)  # until whoever started it is gone


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first-s", type=float, default=FakeOpenAIServer.first_s)
    parser.add_argument("--gap-s", type=float, default=FakeOpenAIServer.gap_s)
    words = parser.parse_args()
    asyncio.run(_run(FakeOpenAIServer(words.first_s, words.gap_s)))
