"""A streamed answer over HTTP in the form of OpenAI's endpoints, so that their clients read it."""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

from serve_deployments.endpoint import Payload, Sizes, first_line

MEDIA_TYPE = "text/event-stream"

_NOTHING = object()


def wants_events(payload: Payload) -> bool:
    """Whether a request asks for a stream, as OpenAI's do: with `"stream": true`."""
    return isinstance(payload, Mapping) and payload.get("stream") is True


async def events(payload: Mapping[str, Any], parts: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """The events of an answer: a chunk for each part, how it ended, its tokens if those were asked for, and the end.

    A failure in the middle, when the status of the answer has long been sent, is an event with `error`.

    Args:
        payload: the request; with `messages` it is one of a chat.
        parts: the answer.
    """
    chat, sizes = "messages" in payload, Sizes()
    head = {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex}", "created": int(time.time()),
        "object": "chat.completion.chunk" if chat else "text_completion", "model": str(payload.get("model", "")),
    }  # fmt: skip
    try:
        async for part in parts:
            if isinstance(part, Sizes):
                sizes = part
            else:
                yield _event({**head, "choices": [_choice(chat, str(part), None)]})
    except Exception as error:
        yield _event({"error": {"message": first_line(error), "type": "server_error", "code": 500}})
        return
    most = payload.get("max_tokens") or payload.get("max_completion_tokens")
    yield _event({**head, "choices": [_choice(chat, "", "length" if sizes.size_out == most else "stop")]})
    options = payload.get("stream_options")
    if isinstance(options, Mapping) and options.get("include_usage") and not math.isnan(sizes.size_out):
        used = int(sizes.size_in), int(sizes.size_out)
        usage = {"prompt_tokens": used[0], "completion_tokens": used[1], "total_tokens": sum(used)}
        yield _event({**head, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _choice(chat: bool, text: str, ended: str | None) -> dict[str, Any]:
    content: dict[str, Any] = {"delta": {"content": text} if text or ended is None else {}} if chat else {"text": text}
    return {"index": 0, **content, "finish_reason": ended}


def _event(told: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(told)}\n\n".encode()


async def from_first(parts: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The same parts, once the first is there; raises what becomes of that, while a status can still say it."""
    return _after(await anext(parts, _NOTHING), parts)


async def _after(first: Any, parts: AsyncIterator[Any]) -> AsyncIterator[Any]:
    if first is _NOTHING:
        return
    yield first
    async for part in parts:
        yield part
