"""Requests to a replica over HTTP: Serve's proxy, and our own client for it."""

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
"""Loopback only: nothing here is meant to be reached from other machines."""
_JSON = {"Content-Type": "application/json"}
_PROXY = "ray::ProxyActor"  # title of the proxy's process in Ray 2.60


def free_port() -> int:
    """A port of this machine that is free now."""
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        port: int = listening.getsockname()[1]
        return port


def encoded(payloads: Sequence[Payload]) -> list[bytes]:
    """The payloads as bodies of requests, encoded before any load."""
    return [json.dumps(payload).encode() for payload in payloads]


class HttpEndpoint:
    """An Endpoint over HTTP, whose payloads are the bodies made by `encoded`.

    Args:
        url: where to post them.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._session: Any = None

    async def infer(self, payload: bytes) -> Answer:
        """Sends one request; raises if the answer is an error."""
        import aiohttp

        if self._session is None:  # made in the loop that uses it; as many connections as clients
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), raise_for_status=True)
        async with self._session.post(self.url, data=payload, headers=_JSON) as answer:
            content = await answer.read()
        return Answer(size_in=len(payload), size_out=len(content))

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def wait_until_up(url: str, body: bytes, deadline_s: float = 30.0) -> None:
    """Waits until the proxy routes requests to a replica that answers.

    Raises:
        RuntimeError: there is no answer within the deadline.
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
    """The process of Serve's HTTP proxy, in a Ray cluster that this process started.

    Raises:
        RuntimeError: there is no such process.
    """

    def __init__(self) -> None:
        found = [p for p in psutil.Process().children(recursive=True) if _title(p).startswith(_PROXY)]
        if not found:
            raise RuntimeError(f"no process {_PROXY!r} below this one; is Serve started with its HTTP proxy?")
        self._process = found[0]

    def cpu_s(self) -> float:
        """CPU seconds that the proxy has used so far."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def pin(self, cores: Collection[int]) -> None:
        """Pins all threads of the proxy to these cores, which the other parts of the load side also use."""
        if cores and hasattr(os, "sched_setaffinity"):
            for thread in self._process.threads():
                os.sched_setaffinity(thread.id, cores)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""  # the process ended after it was listed
