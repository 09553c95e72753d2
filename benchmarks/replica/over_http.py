"""A replica over HTTP: Serve's proxy, and our own client of it."""

from __future__ import annotations

import json
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Sequence
from typing import Any

import psutil

from serve_deployments.endpoint import Answer, Payload

HOST = "127.0.0.1"
"""Nothing here is meant for other machines."""
_JSON = {"Content-Type": "application/json"}
_PROXY = "ray::ProxyActor"  # what Ray calls the proxy's process (2.60)


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        port: int = listening.getsockname()[1]
        return port


def encoded(payloads: Sequence[Payload]) -> list[bytes]:
    """Payloads as the bodies of requests, made before any load."""
    return [json.dumps(payload).encode() for payload in payloads]


class HttpEndpoint:
    """An Endpoint over HTTP; its payloads are bodies, see `encoded`.

    Args:
        url: where to post them.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._session: Any = None

    async def infer(self, payload: bytes) -> Answer:
        """One request; raises where the answer is an error."""
        import aiohttp

        if self._session is None:  # made in the loop that it is used in; as many connections as there are clients
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), raise_for_status=True)
        async with self._session.post(self.url, data=payload, headers=_JSON) as answer:
            content = await answer.read()
        return Answer(size_in=len(payload), size_out=len(content))

    async def close(self) -> None:
        """Give the connections up."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def wait_until_up(url: str, body: bytes, deadline_s: float = 30.0) -> None:
    """Until the proxy knows the way to a replica and that answers.

    Raises:
        RuntimeError: not within the deadline.
    """
    until = time.monotonic() + deadline_s
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(url, data=body, headers=_JSON), timeout=deadline_s).close()
            return
        except (urllib.error.URLError, ConnectionError) as error:
            if time.monotonic() > until:
                raise RuntimeError(f"{url} did not answer in {deadline_s:g} s: {error}") from error
        time.sleep(0.1)


class Proxy:
    """The process of Serve's HTTP proxy, of a Ray that this process started.

    Raises:
        RuntimeError: there is none.
    """

    def __init__(self) -> None:
        found = [p for p in psutil.Process().children(recursive=True) if _title(p).startswith(_PROXY)]
        if not found:
            raise RuntimeError(f"no process {_PROXY!r} below this one; is Serve started with its HTTP proxy?")
        self._process = found[0]

    def cpu_s(self) -> float:
        """CPU seconds that it took so far."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def pin(self, cores: Collection[int]) -> None:
        """Keep all its threads on these cores, beside the other parts of the load side."""
        if cores and hasattr(os, "sched_setaffinity"):
            for thread in self._process.threads():
                os.sched_setaffinity(thread.id, cores)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""  # it ended since it was listed
