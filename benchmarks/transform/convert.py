"""One live model becomes another one: every way against the others, to the first output, and the planner's regret.

    python -m benchmarks convert [--rounds 9]

The ways take turns within a round, so that all of them meet the same other work, and each is followed by one request to
the new model, which pays for pages of mapped weights. Files are in the page cache. CPU time stands beside wall time: on
a machine that others use, it is the one to trust. "naive load" is the reference of the paper's figures, and of nothing
else.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from benchmarks.transform.conversions.cases import Case, cases
from benchmarks.transform.conversions.contestants import BASELINE, NAIVE, PLANNED, Contestant, Prepared, prepared
from benchmarks.transform.conversions.planning_time import planning_times
from serve_deployments.transform.planning.plan import Way


@dataclass(frozen=True)
class Turn:
    """One conversion with its first output.

    Args:
        convert_s: seconds until the model is there.
        wall_s: seconds until it has answered.
        cpu_s: CPU seconds of the process until then.
    """

    convert_s: float
    wall_s: float
    cpu_s: float


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--rounds", type=int, default=9, help="turns of each way; the median is shown")
    parser.add_argument("--note", default="", help="what else the machine did, for the section")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    parts = [_about(asked.rounds, asked.note)]
    for case in cases():
        with tempfile.TemporaryDirectory() as folder:
            ready = prepared(case, Path(folder))
            parts.append(_section(case, ready, measured(case, ready.contestants, asked.rounds)))
        print(parts[-1], flush=True)
    parts.append(planning_times())
    print(parts[-1])
    put(asked.out, "Conversions", Origin.here(__name__, arguments), "\n\n".join(parts))


def measured(case: Case, contestants: Mapping[str, Contestant], rounds: int) -> dict[str, list[Turn]]:
    """Turns of each contestant; the first round is not counted."""
    ours, theirs = case.source.structure.request(), case.target.structure.request()
    turns: dict[str, list[Turn]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, contestant in contestants.items():
            source = contestant.prepare()
            if source is not None:
                _answer(source, ours)
            turn = timed(contestant, theirs)
            if number:
                turns[name].append(turn)
    return turns


def timed(contestant: Contestant, request: Mapping[str, torch.Tensor]) -> Turn:
    """One turn."""
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    model = contestant.get()
    convert_s = time.perf_counter() - wall_s
    _answer(model, request)
    return Turn(convert_s, time.perf_counter() - wall_s, time.process_time() - cpu_s)


def _answer(model: nn.Module, request: Mapping[str, torch.Tensor]) -> None:
    with torch.inference_mode():
        model(**request)


def regret(turns: Mapping[str, Sequence[Turn]], plan: Way) -> tuple[str, float]:
    """The best of the ways that the planner could take, and how much longer its choice took (0.05: 5 %).

    By CPU time to the first output. The choice is judged by the turns of its way, so that it is 0 where it is the best.
    """
    open_ways = {way.value for way in (Way.DIFFERENCE, Way.REPOINT, Way.IN_PLACE, Way.SCRATCH)} & turns.keys()
    seconds = {name: statistics.median(turn.cpu_s for turn in turns[name]) for name in open_ways}
    best = min(seconds, key=lambda name: seconds[name])
    return best, seconds[plan.value] / seconds[best] - 1


def _section(case: Case, ready: Prepared, turns: Mapping[str, Sequence[Turn]]) -> str:
    def middle_ms(name: str, part: str) -> float:
        return 1e3 * statistics.median(getattr(turn, part) for turn in turns[name])

    header = ["way", "converted, ms", "first output, ms", "CPU, ms", "baseline's CPU ÷ its", "naive's wall ÷ its"]
    base, naive = middle_ms(BASELINE, "cpu_s"), middle_ms(NAIVE, "wall_s")
    rows = [
        [
            name, f"{middle_ms(name, 'convert_s'):.2f}", f"{middle_ms(name, 'wall_s'):.1f}",
            f"{middle_ms(name, 'cpu_s'):.1f}", f"{base / middle_ms(name, 'cpu_s'):.2f}",
            f"{naive / middle_ms(name, 'wall_s'):.1f}",
        ]
        for name in turns
    ]  # fmt: skip
    best, lost = regret(turns, ready.plan)
    converted = middle_ms(BASELINE, "convert_s") / middle_ms(PLANNED, "convert_s")
    said = (
        f"Planned: {ready.plan.value}; the best way measured was {best}, regret {100 * lost:.1f} %. Without the "
        f"request, the planned way took {converted:.1f} times less than the baseline, and "
        f"{middle_ms(NAIVE, 'convert_s') / middle_ms(PLANNED, 'convert_s'):.0f} times less than the naive load."
    )
    return f"### {case.source.name} → {case.target.name}: {case.what}\n\n{markdown(header, rows)}\n\n{said}"


def _about(rounds: int, note: str) -> str:
    return (
        f"Medians of {rounds} turns on one thread, ways taking turns; weights in the page cache; models of 20 to 45 "
        f"million parameters with random weights. The baseline is `{BASELINE}`: a warm process that keeps the target's "
        "modules and assigns mapped safetensors. `own memory`: weights are not mapped, so that addresses can stay."
        + (f" {note}" if note else "")
    )
