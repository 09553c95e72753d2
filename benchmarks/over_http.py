"""A replica over HTTP: Serve's proxy, our own client of it, and wrk (https://github.com/wg/wrk)."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import psutil
from rounds import Seen

from serve_deployments.endpoint import Payload

HOST = "127.0.0.1"
"""Nothing here is meant for other machines."""
REMEDY = "wrk is not installed; on Debian and Ubuntu `apt-get install wrk` has it, on macOS `brew install wrk`"
_SCRIPT = Path(__file__).with_name("wrk_payloads.lua")
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

    async def infer(self, payload: bytes) -> None:
        """One request; raises where the answer is an error."""
        import aiohttp

        if self._session is None:  # made in the loop that it is used in; as many connections as there are clients
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), raise_for_status=True)
        async with self._session.post(self.url, data=payload, headers=_JSON) as answer:
            await answer.read()

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


def wrk(url: str, bodies: Sequence[bytes], *, connections: int, seconds: float, cores: Collection[int] = ()) -> Seen:
    """A closed loop of so many connections, by wrk.

    Args:
        url: where to post.
        bodies: posted in turn.
        connections: as many as clients.
        seconds: for how long; wrk counts whole ones.
        cores: those it may use; empty: any.

    Raises:
        SystemExit: wrk is not installed.
        RuntimeError: it failed; with what it said.
    """
    path = shutil.which("wrk")
    if path is None:
        raise SystemExit(REMEDY)
    # Not `preexec_fn`: that forks this process, with whatever threads hold locks in it.
    taskset = shutil.which("taskset") if cores else None
    pinned = [taskset, "-c", ",".join(map(str, sorted(cores)))] if taskset else []
    with tempfile.TemporaryDirectory(prefix="wrk-") as folder:
        lines = Path(folder) / "payloads"
        lines.write_bytes(b"\n".join(bodies) + b"\n")
        before = _children_cpu_s()
        # One thread: it has one core. Nothing is given up: what takes long counts as long.
        how = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "60s", "-s", str(_SCRIPT)]
        done = subprocess.run(
            [*pinned, path, *how, url],
            env={**os.environ, "PAYLOADS": str(lines)}, capture_output=True, text=True,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"wrk failed: {(done.stderr or done.stdout).strip()}")
    return read_wrk(done.stdout, _children_cpu_s() - before)


def read_wrk(output: str, cpu_s: float | None = None) -> Seen:
    """What wrk printed, our script's line included.

    Args:
        output: its standard output.
        cpu_s: CPU seconds that it took.

    Raises:
        RuntimeError: it has no such line.
    """
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"wrk printed no result: {output.strip()[:400] or 'nothing'}")
    told = json.loads(lines[-1])
    seconds = told["duration_us"] / 1e6
    return Seen(
        rate_rps=(told["requests"] - told["refused"]) / seconds,  # wrk counts answers that are errors too
        p50_ms=told["p50_us"] / 1e3,
        p99_ms=told["p99_us"] / 1e3,
        failed=told["refused"] + told["broken"],
        client_cpu_share=None if cpu_s is None else cpu_s / seconds,
    )


def _children_cpu_s() -> float:
    times = os.times()
    return times.children_user + times.children_system


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
