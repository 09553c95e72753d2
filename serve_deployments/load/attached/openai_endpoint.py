"""An OpenAI endpoint that runs already, as an `Endpoint`: every part of its answers timed as a client sees it."""

from __future__ import annotations

import asyncio
import json
import math
import os
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from serve_deployments.endpoint import Answer, DescribedError, Payload
from serve_deployments.load.attached.server_sent_events import EventData
from serve_deployments.resources.usage import Usage

CHAT, COMPLETIONS = "/chat/completions", "/completions"
"""Paths below `/v1` of requests with messages, and with a prompt."""

_DONE = "[DONE]"
_LONGEST_BODY = 500  # characters of an error's body that are told (our choice: a sentence or two)


@dataclass(frozen=True)
class OpenAITarget:
    """Where an endpoint is, and what is sent with every request.

    Args:
        base_url: its address, with or without `/v1` at the end.
        model: the model's name, as the endpoint knows it.
        path: path of requests, such as `/v1/completions`; None: by what a request has, messages or a prompt.
        more: what each request's body has besides, such as `{"temperature": 0}`.
        key_variable: environment variable of the key that it asks for; without the key if that is not set.
        longest_s: how long an answer may take in all.

    Raises:
        ValueError: the address is not one of HTTP.
    """

    base_url: str
    model: str
    path: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    key_variable: str = "OPENAI_API_KEY"
    longest_s: float = 6 * 3600.0

    def __post_init__(self) -> None:
        if not self.base_url.startswith(("http://", "https://")):
            raise ValueError(f"the address of an endpoint begins with http:// or https://, got {self.base_url!r}")

    @property
    def root(self) -> str:
        """The address with `/v1`."""
        stem = self.base_url.rstrip("/")
        return stem if stem.endswith("/v1") else f"{stem}/v1"

    def url_of(self, payload: Mapping[str, Any]) -> str:
        """The address that a request is sent to."""
        if self.path is not None:
            return self.root + self.path.removeprefix("/v1")
        return self.root + (CHAT if "messages" in payload else COMPLETIONS)

    def body_of(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """What is sent: the request in the form of its path, streamed and with the numbers of tokens at the end.

        Raises:
            ValueError: a request with messages is sent to the path of prompts.
        """
        body = {**payload, **self.more, "model": self.model, "stream": True, "stream_options": {"include_usage": True}}
        chat = self.url_of(payload).endswith(CHAT)
        if chat and "messages" not in body:
            body["messages"] = [{"role": "user", "content": body.pop("prompt")}]
        elif not chat and "messages" in body:
            raise ValueError(f"a request with messages goes to /v1{CHAT}, not to {self.path}; leave the path out")
        return body

    def headers(self) -> dict[str, str]:
        """Headers of every request; the key is read where it is sent, so that it is stored nowhere."""
        key = os.environ.get(self.key_variable)
        return {"Authorization": f"Bearer {key}"} if key else {}


@dataclass
class OpenAIEndpoint:
    """An `Endpoint` for requests in OpenAI's form: `{"messages": […]}` or `{"prompt": …}`.

    A part is an event that brings text. Its time is that at which the event arrived in this process. Tokens are those
    that the endpoint counts (`usage`), where it does.

    It can be sent to another process: connections are made where it is first used.

    Args:
        target: where it is.
    """

    target: OpenAITarget
    _session: aiohttp.ClientSession | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"target": self.target, "_session": None}

    async def infer(self, payload: Payload) -> Answer:
        """See `Endpoint`.

        Raises:
            DescribedError: the endpoint refused the request, said that it failed, or stopped before its end.
        """
        now = asyncio.get_running_loop().time
        asked_s, stream = now(), _Stream()
        async with self._connections().post(
            self.target.url_of(payload), json=self.target.body_of(payload), headers=self.target.headers()
        ) as response:
            if response.status != 200:
                said = (await response.text())[:_LONGEST_BODY]
                raise DescribedError(f"HTTP {response.status}: {' '.join(said.split())}")
            events = EventData()
            async for piece in response.content.iter_any():
                arrived_s = now()
                for data in events.feed(piece):
                    stream.event(data, arrived_s)
                if stream.ended:
                    break
        return stream.answer(asked_s)

    async def usage(self) -> Usage | None:
        """None: what other processes use is not known."""
        return None

    async def close(self) -> None:
        """Close its connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self.target.longest_s)
            # No limit of its own: a request that waits for a connection would seem slow.
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout)
        return self._session


@dataclass
class _Stream:
    """What an answer's events have brought so far."""

    times_s: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    sizes: tuple[float, float] = (math.nan, math.nan)
    finished: bool = False
    ended: bool = False

    def event(self, data: str, arrived_s: float) -> None:
        """Takes in an event's data."""
        if data == _DONE:
            self.ended = True
            return
        try:
            told = json.loads(data)
        except ValueError:
            raise DescribedError(f"an event is no JSON: {data[:_LONGEST_BODY]}") from None
        if told.get("error"):
            error = told["error"]
            raise DescribedError(str(error.get("message", error) if isinstance(error, dict) else error))
        for choice in told.get("choices") or ():
            text = _text_of(choice)
            if text:
                self.times_s.append(arrived_s)
                self.texts.append(text)
            self.finished = self.finished or choice.get("finish_reason") is not None
        if used := told.get("usage"):
            self.sizes = float(used.get("prompt_tokens", math.nan)), float(used.get("completion_tokens", math.nan))

    def answer(self, asked_s: float) -> Answer:
        """The whole answer, once the stream is over."""
        if not (self.ended or self.finished):
            raise DescribedError(f"the stream ended after {len(self.times_s)} parts, before the answer did")
        if not self.times_s:
            raise DescribedError("the answer has no text; a free length may be 0, so fix the lengths of answers")
        between = zip(self.times_s, self.times_s[1:], strict=False)
        gaps_s = array("f", [after - before for before, after in between])
        text = "".join(self.texts)
        return Answer(self.times_s[0] - asked_s, len(self.times_s), *self.sizes, content=text, gaps_s=gaps_s)


def _text_of(choice: Mapping[str, Any]) -> str:
    """The text that a choice of an event brings; also that of a model's reasoning, which its user waits for as well."""
    delta = choice.get("delta") or {}
    return str(choice.get("text") or delta.get("content") or delta.get("reasoning_content") or "")


async def first_model(base_url: str) -> str:
    """The name of the first model that an endpoint serves.

    Raises:
        DescribedError: it cannot be reached, or says of none.
    """
    target = OpenAITarget(base_url, "")
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session,
            session.get(f"{target.root}/models", headers=target.headers()) as response,
        ):
            told = await response.json(content_type=None) if response.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise DescribedError(f"{target.root}/models cannot be read: {error}") from None
    models = told.get("data") if isinstance(told, dict) else None
    if not models or "id" not in models[0]:
        raise DescribedError(f"{target.root}/models names no model (HTTP {response.status})")
    return str(models[0]["id"])
