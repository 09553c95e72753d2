"""Runs a closed loop over HTTP by wrk (https://github.com/wg/wrk), and reads its output."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

from benchmarks.measuring.rounds import Seen

REMEDY = "wrk is not installed; on Debian and Ubuntu `apt-get install wrk` has it, on macOS `brew install wrk`"
_SCRIPT = Path(__file__).with_name("wrk_payloads.lua")


def wrk(url: str, bodies: Sequence[bytes], *, connections: int, seconds: float, cores: Collection[int] = ()) -> Seen:
    """Runs a closed loop of so many connections by wrk.

    Args:
        url: where to post.
        bodies: bodies of the requests, posted in turn.
        connections: number of connections, one per client.
        seconds: duration, rounded to whole seconds, 1 or more.
        cores: CPU cores that wrk may use; empty: any.

    Raises:
        SystemExit: wrk is not installed.
        RuntimeError: wrk failed; the message has its output.
    """
    path = shutil.which("wrk")
    if path is None:
        raise SystemExit(REMEDY)
    # Not `preexec_fn`: that forks this process while other threads may hold locks.
    taskset = shutil.which("taskset") if cores else None
    pinned = [taskset, "-c", ",".join(map(str, sorted(cores)))] if taskset else []
    with tempfile.TemporaryDirectory(prefix="wrk-") as folder:
        lines = Path(folder) / "payloads"
        lines.write_bytes(b"\n".join(bodies) + b"\n")
        before = _children_cpu_s()
        # One thread, since it has one core. A long timeout: slow requests count as slow instead of being given up.
        how = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "60s", "-s", str(_SCRIPT)]
        done = subprocess.run(
            [*pinned, path, *how, url],
            env={**os.environ, "PAYLOADS": str(lines)}, capture_output=True, text=True,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"wrk failed: {(done.stderr or done.stdout).strip()}")
    return read_wrk(done.stdout, _children_cpu_s() - before)


def read_wrk(output: str, cpu_s: float | None = None) -> Seen:
    """The result in wrk's output, from the line of JSON that our script prints.

    Args:
        output: wrk's standard output.
        cpu_s: CPU seconds that wrk used; None where they are not known.

    Raises:
        RuntimeError: the output has no such line.
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
