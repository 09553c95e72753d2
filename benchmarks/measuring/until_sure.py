"""Time to know a rate to within 5 %, against a fixed window of 30 s, and the coverage of the stated interval.

    python -m benchmarks until_sure [--runs 40] [--real]

The servers run in virtual time and have a known true rate: batches of different lengths, service times that vary from
batch to batch, that are autoregressive, that drift slowly. Each run holds one closed level, which ends by the rule of a
load test. `--real` instead holds levels against a bare loop of torch on this machine, whose true rate is not known.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.measuring.service_times import Varies, constant, drifting, gamma, remembering
from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from serve_deployments.endpoint import WHOLE, Answer, Endpoint
from serve_deployments.fakes.virtual_replicas import FakeServer, VirtualClock, run_virtual
from serve_deployments.load.clock import Clock, RealClock
from serve_deployments.measuring.level import closed_level
from serve_deployments.measuring.plan import LoadPlan
from serve_deployments.measuring.statistics import interval
from serve_deployments.metrics.level_result import LevelResult

FIXED_S = 30.0
PLAN = LoadPlan(level_max_s=120.0, total_max_s=240.0)
FIXED = LoadPlan(level_min_s=FIXED_S, level_max_s=2 * FIXED_S, precision=1e9)
"""A fixed window of 30 s after the same warm-up, however wide its interval is."""

REAL = LoadPlan(level_max_s=8.0)
REAL_FIXED = LoadPlan(level_min_s=10.0, level_max_s=20.0, precision=1e9)
"""Plans for real cores: where others use them too, a rate may never settle. A level then ends unsure when its time is
up."""


@dataclass(frozen=True)
class Server:
    """A server whose batches take `mean_s` times a random factor, whatever their size.

    Args:
        name: name in the table.
        mean_s: mean service time of a batch, seconds.
        batch: requests in a full batch.
        varies: rng → function from the time to the next batch's factor.
    """

    name: str
    mean_s: float
    batch: int
    varies: Varies

    @property
    def rate_rps(self) -> float:
        """The true rate at saturation, requests/s."""
        return self.batch / self.mean_s

    def level(self, seed: int, plan: LoadPlan) -> LevelResult:
        """Holds one closed level against the server, in virtual time."""
        factor = self.varies(np.random.default_rng(seed))

        async def held() -> LevelResult:
            clock = VirtualClock()
            server = FakeServer(lambda size: self.mean_s * factor(clock.now()), max_batch=self.batch)
            return await closed_level(server, ["x"], 2 * self.batch, plan, clock=clock)

        return run_virtual(held())


SERVERS = (
    Server("always alike, 10 ms, batch 4", 0.010, 4, constant),
    Server("always alike, 500 ms, batch 32", 0.5, 32, constant),
    Server("varies by 0.1, 50 ms, batch 16", 0.05, 16, gamma(0.1)),
    Server("varies by 0.2, 20 ms, batch 8", 0.02, 8, gamma(0.2)),
    Server("varies by 0.2, 200 ms, batch 16", 0.2, 16, gamma(0.2)),
    Server("exponential, 10 ms, batch 1", 0.01, 1, gamma(1.0)),
    Server("remembers 0.8, varies by 0.1, 20 ms, batch 8", 0.02, 8, remembering(0.8, 0.1)),
    Server("remembers 0.95, varies by 0.1, 20 ms, batch 8", 0.02, 8, remembering(0.95, 0.1)),
    Server("drifts by 5 % in 10 s, 20 ms, batch 8", 0.02, 8, drifting(0.05, 10.0)),
)


def row(server: Server, runs: int) -> tuple[list[str], float]:
    """A row of the table, and how many times sooner than a fixed window the level ends."""
    loads = [server.level(seed, PLAN) for seed in range(runs)]
    fixed = [server.level(1000 + seed, FIXED) for seed in range(max(2, runs // 4))]
    seconds = float(np.mean([load.ended_at - load.started_at for load in loads]))
    its = float(np.mean([load.ended_at - load.started_at for load in fixed]))
    covered = [share_covered(found, server.rate_rps) for found in (loads, fixed)]
    cells = [
        f"{seconds:.1f}", f"{np.mean([load.warmup_s for load in loads]):.1f}", f"{its / seconds:.1f}",
        f"{np.mean([load.steady for load in loads]):.0%}", f"{covered[0]:.0%}", f"{covered[1]:.0%}",
        f"{np.mean([abs(load.achieved_rps / server.rate_rps - 1) <= PLAN.precision for load in loads]):.0%}",
        f"{np.mean([half_width(load) for load in loads]):.1%}", f"{np.mean([half_width(load) for load in fixed]):.1%}",
        repeatability(loads[:10]),
    ]  # fmt: skip
    return [server.name, *cells], its / seconds


def share_covered(loads: list[LevelResult], rate_rps: float) -> float:
    inside = [(x.rate_low_rps or 0) * (1 - 1e-6) <= rate_rps <= (x.rate_high_rps or 0) * (1 + 1e-6) for x in loads]
    return float(np.mean(inside))


def half_width(load: LevelResult) -> float:
    return ((load.rate_high_rps or math.inf) - (load.rate_low_rps or 0.0)) / 2 / load.achieved_rps


def repeatability(loads: list[LevelResult]) -> str:
    rates = np.array([load.achieved_rps for load in loads])
    return f"{rates.std(ddof=1) / rates.mean():.2%}"


HEADER = ["server", "s until sure", "of it warm-up", "× sooner", "sure", "covered", "covered, fixed", "right",
          "± until sure", "± fixed", "variation of ten"]  # fmt: skip


def virtual(runs: int) -> str:
    """The text of the section of results for servers in virtual time."""
    lines, times = zip(*(row(server, runs) for server in SERVERS), strict=True)
    return "\n\n".join([
        f"**In virtual time**, {runs} runs each ({runs // 4} of the fixed window): one closed level until the 95 % "
        f"interval of its rate is within ±{PLAN.precision:.0%}, against a window of {FIXED_S:g} s with the same "
        "warm-up and the same interval. Covered: runs whose interval has the true rate. Right: runs whose rate is "
        "within 5 % of it. ±: mean half-width. Variation: coefficient of variation of the first ten rates.",
        markdown(HEADER, list(lines)),
        f"Geometric mean of × sooner: {np.exp(np.mean(np.log(times))):.1f}; batches: {interval.FEWEST} to "
        f"{interval.BATCHES}.",
    ])  # fmt: skip


class BareLoop:
    """A torch model on one thread, without a server: it answers waiting requests in batches, one after another."""

    def __init__(self, batch: int, width: int) -> None:
        import torch

        torch.set_num_threads(1)
        self._model = torch.nn.Sequential(*(torch.nn.Linear(width, width) for _ in range(4))).eval()
        self._sample, self._batch = torch.randn(batch, width), batch
        self._waiting: list[asyncio.Future[None]] = []
        self._busy = False

    async def infer(self, payload: object) -> Answer:
        """One request; returns when its batch is done."""
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        if not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_soon(self._serve)
        await answer
        return WHOLE

    async def usage(self) -> None:
        """Reports no usage."""

    def _serve(self) -> None:
        import torch

        taken, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
        with torch.inference_mode():
            self._model(self._sample[: len(taken)])
        for answer in taken:
            if not answer.done():
                answer.set_result(None)
        if self._waiting:
            asyncio.get_running_loop().call_later(0, self._serve)
        else:
            self._busy = False


def real(runs: int) -> str:
    """The text of the section of results for a model in a bare loop on this machine."""

    def level(endpoint: Endpoint, batch: int, plan: LoadPlan, clock: Clock) -> LevelResult:
        return asyncio.run(closed_level(endpoint, ["x"], 2 * batch, plan, clock=clock))

    lines = []
    for batch, width in ((8, 1024), (32, 2048)):
        server = BareLoop(batch, width)
        loads = [level(server, batch, REAL, RealClock()) for _ in range(runs)]
        fixed = level(server, batch, REAL_FIXED, RealClock())
        seconds = float(np.mean([load.ended_at - load.started_at for load in loads]))
        lines.append([
            f"4 layers of {width}, batch {batch}", f"{seconds:.1f}",
            f"{(fixed.ended_at - fixed.started_at) / seconds:.1f}", f"{np.mean([load.steady for load in loads]):.0%}",
            f"{share_covered(loads, fixed.achieved_rps):.0%}", f"{np.mean([half_width(load) for load in loads]):.1%}",
            f"{half_width(fixed):.1%}", repeatability(loads),
        ])  # fmt: skip
    header = [
        "model",
        "s until sure",
        "× sooner",
        "sure",
        "cover the fixed window's",
        "± until sure",
        "± fixed",
        "variation",
    ]
    said = (
        f"On this machine, torch in a bare loop, {runs} levels each of at most {REAL.level_max_s:g} s and one "
        f"window of {REAL_FIXED.level_min_s:g} s."
    )
    return said + "\n\n" + markdown(header, lines)


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--runs", type=int, default=None, help="of each server: 40, real ones 5")
    parser.add_argument("--real", action="store_true", help="a bare loop of torch on this machine")
    asked = parser.parse_args(arguments)
    if asked.runs is not None and asked.runs < 2:
        parser.error(f"--runs is 2 or more, got {asked.runs}")
    heading = "Until sure, a bare loop" if asked.real else "Until sure, in virtual time"
    body = real(asked.runs or 5) if asked.real else virtual(asked.runs or 40)
    print(body)
    put(asked.out, heading, Origin.here(__name__, arguments), body)
