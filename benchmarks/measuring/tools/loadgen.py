"""Runs MLPerf LoadGen against an endpoint: its scenarios Offline and Server, with results from its log.

LoadGen (https://github.com/mlcommons/inference/tree/master/loadgen) decides when to send what, keeps time, and judges.
It is independent of Serve: it hands samples to a *system under test*, here a thread with an event loop that sends each
sample to the endpoint and tells LoadGen when the answer has arrived.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring.rounds import Seen
from serve_deployments.endpoint import Endpoint, Payload

REMEDY = (
    "MLPerf LoadGen is not installed; it comes with `pip install 'raytune-infer[bench]'` (package mlcommons-loadgen)"
)
_MARK = ":::MLLOG "
_PERCENTILE = 0.99


@dataclass(frozen=True)
class Offline:
    """LoadGen's scenario Offline: all samples are sent at once; rate = their number ÷ time until the last answer.

    Args:
        samples: number of samples.
        seed: seed of their order.
    """

    samples: int
    seed: int = 0

    def settings(self, loadgen: Any) -> Any:
        """LoadGen's TestSettings."""
        settings = _settings(loadgen, "Offline", self.seed)
        # LoadGen sends one query of max(least number, 1.1 x expected rate x shortest duration) samples: here the first.
        settings.min_query_count = self.samples
        settings.min_duration_ms = 0
        return settings


@dataclass(frozen=True)
class Server:
    """LoadGen's scenario Server: Poisson arrivals of single samples, with a bound on the p99 of latency.

    The test is valid if 99 % of the latencies, counted from when a sample was due, are within the bound.

    Args:
        rate_rps: mean rate of arrivals.
        seconds: least duration.
        p99_ms: the bound.
        queries: least number of queries.
        seed: seed of the arrivals and of the samples' order.
    """

    rate_rps: float
    seconds: float
    p99_ms: float
    queries: int = 1
    seed: int = 0

    def settings(self, loadgen: Any) -> Any:
        """LoadGen's TestSettings."""
        settings = _settings(loadgen, "Server", self.seed)
        settings.server_target_qps = self.rate_rps
        settings.server_target_latency_ns = round(self.p99_ms * 1e6)
        settings.server_target_latency_percentile = _PERCENTILE
        settings.min_duration_ms = round(self.seconds * 1e3)
        settings.min_query_count = self.queries
        return settings


def run(test: Offline | Server, make: Callable[[], Endpoint], payloads: Sequence[Payload]) -> Seen:
    """Runs one test by LoadGen.

    Args:
        test: the scenario with its bounds.
        make: makes the endpoint.
        payloads: LoadGen's sample library.

    Raises:
        SystemExit: LoadGen is not installed.
        RuntimeError: LoadGen's log has no result.
    """
    loadgen = _imported()
    with _event_loop() as loop, tempfile.TemporaryDirectory(prefix="loadgen-") as folder:
        system = System(loop, make(), payloads, lambda ids: _complete(loadgen, ids))
        sut = loadgen.ConstructSUT(
            lambda samples: system.issue([(s.id, s.index) for s in samples]),
            lambda: None,  # nothing is held back that would have to be flushed
        )
        library = loadgen.ConstructQSL(len(payloads), len(payloads), lambda indices: None, lambda indices: None)
        began, cpu = time.monotonic(), time.process_time()
        try:
            loadgen.StartTestWithLogSettings(sut, library, test.settings(loadgen), _logs_in(loadgen, folder))
        finally:
            loadgen.DestroyQSL(library)
            loadgen.DestroySUT(sut)
        cpu_share = (time.process_time() - cpu) / (time.monotonic() - began)
        log = (Path(folder) / "mlperf_log_detail.txt").read_text(encoding="utf-8")
    return seen(read_log(log), system.failed, cpu_share)


class System:
    """LoadGen's system under test: sends samples to an endpoint from an event loop.

    Args:
        loop: event loop in which the requests are sent.
        endpoint: the endpoint that answers.
        payloads: payloads by LoadGen's sample index.
        complete: tells LoadGen that the samples of these ids are answered; called in the loop's thread.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        endpoint: Endpoint,
        payloads: Sequence[Payload],
        complete: Callable[[list[int]], None],
    ) -> None:
        self._loop, self._endpoint, self._payloads, self._complete = loop, endpoint, payloads, complete
        self._tasks: set[asyncio.Task[None]] = set()
        self.failed = 0

    def issue(self, samples: Sequence[tuple[int, int]]) -> None:
        """Starts sending these samples, given as (id, index), and returns at once. Called by LoadGen's thread."""
        self._loop.call_soon_threadsafe(self._start, samples)

    def _start(self, samples: Sequence[tuple[int, int]]) -> None:
        for number, index in samples:
            task = self._loop.create_task(self._send(number, self._payloads[index]))
            self._tasks.add(task)  # the loop itself keeps no reference
            task.add_done_callback(self._tasks.discard)

    async def _send(self, number: int, payload: Payload) -> None:
        try:
            await self._endpoint.infer(payload)
        except Exception:
            self.failed += 1  # LoadGen has no failures, and waits for ever for a sample that is never complete
        self._complete([number])


async def at_once(endpoint: Endpoint, payloads: Sequence[Payload], samples: int) -> Seen:
    """The scenario Offline without LoadGen: sends so many requests at once and measures their rate by our own clock."""
    began, cpu = time.monotonic(), time.process_time()

    async def one(number: int) -> float:
        await endpoint.infer(payloads[number % len(payloads)])
        return time.monotonic() - began

    ended = await asyncio.gather(*(one(i) for i in range(samples)), return_exceptions=True)
    took = time.monotonic() - began
    latencies = sorted(x for x in ended if isinstance(x, float))
    return Seen(
        rate_rps=len(latencies) / took,
        failed=samples - len(latencies),
        client_cpu_share=(time.process_time() - cpu) / took,
    )


def read_log(text: str) -> dict[str, Any]:
    """Key → value of LoadGen's detailed log, whose lines are JSON after a mark; the last value of each key counts."""
    entries = (json.loads(line.removeprefix(_MARK)) for line in text.splitlines() if line.startswith(_MARK))
    return {entry["key"]: entry["value"] for entry in entries}


def seen(log: dict[str, Any], failed: int = 0, cpu_share: float | None = None) -> Seen:
    """The result of one test, from LoadGen's log.

    Raises:
        RuntimeError: the log has no result.
    """
    if "result_validity" not in log:
        raise RuntimeError(f"LoadGen's log has no result, only {', '.join(sorted(log)) or 'nothing'}")
    is_server = "result_completed_samples_per_sec" in log
    ms = {p: log[f"result_{p}.00_percentile_latency_ns"] / 1e6 for p in (50, 99)}
    return Seen(
        rate_rps=log["result_completed_samples_per_sec" if is_server else "result_samples_per_second"],
        # Where the whole set is sent at once, latencies only say how long the set took.
        p50_ms=ms[50] if is_server else None,
        p99_ms=ms[99] if is_server else None,
        failed=failed,
        client_cpu_share=cpu_share,
        kept_bound=log.get("result_perf_constraints_met") if is_server else None,
        valid=log["result_validity"] == "VALID",
    )


def _settings(loadgen: Any, scenario: str, seed: int) -> Any:
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, scenario)
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.qsl_rng_seed = settings.sample_index_rng_seed = settings.schedule_rng_seed = seed
    return settings


def _logs_in(loadgen: Any, folder: str) -> Any:
    output = loadgen.LogOutputSettings()
    output.outdir = folder
    output.copy_summary_to_stdout = False
    settings = loadgen.LogSettings()
    settings.log_output = output
    settings.enable_trace = False
    return settings


def _complete(loadgen: Any, ids: list[int]) -> None:
    # A performance test ignores the answers themselves: address 0, of 0 bytes.
    loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(number, 0, 0) for number in ids])


def _imported() -> Any:
    try:
        import mlperf_loadgen
    except ImportError:
        raise SystemExit(REMEDY) from None
    return mlperf_loadgen


@contextmanager
def _event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Runs an event loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="system-under-test", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
