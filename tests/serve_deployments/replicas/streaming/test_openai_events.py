"""Streams over HTTP in OpenAI's form: each event by hand, and our own client of such endpoints on a real replica."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from starlette.requests import Request

from serve_deployments.endpoint import DescribedError, Sizes
from serve_deployments.load.attached.openai_endpoint import OpenAIEndpoint, OpenAITarget
from serve_deployments.models.model import Builder
from serve_deployments.replicas.http.openai_events import events, from_first
from serve_deployments.replicas.replica import ReplicaServer
from serve_deployments.settings import Settings


def model():
    """Answers as many words as are asked for; fails before or after the first one where the prompt says so."""

    async def answer(payload):
        if payload["prompt"] == "fail at once":
            raise ValueError("no such prompt")
        for number in range(payload["max_tokens"]):
            yield f" w{number}"
            if payload["prompt"] == "fail later":
                raise ValueError("lost the thread")
            await asyncio.sleep(0.02)
        yield Sizes(4, payload["max_tokens"])

    return answer


async def parts(*given):
    for part in given:
        yield part


async def told(payload, *given):
    found = [event.decode() async for event in events(payload, parts(*given))]
    assert found[-1] == "data: [DONE]\n\n" and all(e.startswith("data: ") and e.endswith("\n\n") for e in found)
    return [json.loads(event[6:]) for event in found[:-1]]


def test_the_events_of_a_chat_and_of_a_completion():
    usage = {"stream_options": {"include_usage": True}, "max_tokens": 2, "model": "m"}
    first, second, end, used = asyncio.run(told({"messages": [], **usage}, "a", "b", Sizes(7, 2)))
    assert first["choices"] == [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]
    assert first["object"] == "chat.completion.chunk" and first["model"] == "m" and first["id"] == second["id"]
    assert end["choices"] == [{"index": 0, "delta": {}, "finish_reason": "length"}]
    assert used["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9} and used["choices"] == []
    first, end = asyncio.run(told({"prompt": "x"}, "a", Sizes(1, 1)))
    assert first["choices"] == [{"index": 0, "text": "a", "finish_reason": None}]
    assert end["choices"][0]["finish_reason"] == "stop" and end["object"] == "text_completion"


def test_the_first_part_is_waited_for_and_none_is_lost():
    async def again(*given):
        return [part async for part in await from_first(parts(*given))]

    assert asyncio.run(again(1, 2, 3)) == [1, 2, 3] and asyncio.run(again()) == []


@asynccontextmanager
async def replica():
    """A replica behind a real HTTP server; yields its address."""
    server: Any = object.__new__(ReplicaServer)
    source = Builder(f"{__name__}:model", concurrent=True)
    await server.__init__(source, Settings(cpu_cores=1, emulated=True).as_dict())

    async def app(scope, receive, send):
        await (await server(Request(scope, receive)))(scope, receive, send)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        web = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="error"))
        running = asyncio.create_task(web.serve([listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            web.should_exit = True
            await running


async def asked(*prompts):
    async with replica() as url:
        endpoint = OpenAIEndpoint(OpenAITarget(url, "any"))
        try:
            return await asyncio.gather(
                *(endpoint.infer({"prompt": prompt, "max_tokens": 3}) for prompt in prompts), return_exceptions=True
            )
        finally:
            await endpoint.close()


def test_a_client_of_openai_endpoints_reads_a_replica():
    answer, at_once, later = asyncio.run(asked("go on", "fail at once", "fail later"))
    assert (answer.content, answer.parts, answer.size_in, answer.size_out) == (" w0 w1 w2", 3, 4, 3)
    assert sum(answer.gaps_s) > 0.005  # it was streamed, and not sent as a whole
    assert isinstance(at_once, DescribedError) and str(at_once).startswith("HTTP 500:")
    assert "ValueError: no such prompt" in str(at_once)
    with pytest.raises(DescribedError, match="ValueError: lost the thread"):
        raise later
