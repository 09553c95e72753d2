"""Measures our own tables: speed of twelve models over batch size, cores and precision, on this machine.

    python -m benchmarks planes                     # all models on the CPU, into data/planes-cpu
    python -m benchmarks planes --plan              # only say how long that would take
    python -m benchmarks planes --device cuda       # on a GPU, into data/planes-cuda
    python -m benchmarks planes --quick --out /tmp/planes

A bare loop without a server runs full batches one after the other on prepared inputs, so the rates are what a replica
could reach at saturation. Needs torch, numpy and (for the built-in prices) pyyaml, not Ray. Finished models are kept:
the same command continues after an interruption, and --fresh discards earlier results.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.planes.files import card, finished, machine, suite, write_table
from benchmarks.planes.grid import Grid, ask, physical_cpus, planned_s
from benchmarks.planes.models.catalogue import MODELS, PlaneModel
from benchmarks.planes.profile import facts
from benchmarks.planes.timing import Patience, Row
from benchmarks.recording.arguments import parser_of
from benchmarks.recording.origin import ROOT, command_of
from benchmarks.recording.said_lines import SaidLines, end

WORKER = (sys.executable, "-m", "benchmarks.planes.worker")
QUICK_MODELS = ("dlrm", "minilm-l6")
QUICK_PATIENCE = Patience(least_s=0.02, most_s=0.05)

# Seconds for a model to be built or a configuration to be measured, which takes 10 at most; a GPU may hang. Our choice.
SILENT_S = 600.0

# Load average above which a warning says that the machine is busy; our choice.
BUSY = 0.5


def answers(
    model: PlaneModel,
    configs: Sequence[Row],
    grid: Grid,
    patience: Patience,
    command: Sequence[str] = WORKER,
) -> Iterator[dict[str, Any]]:
    """Yields the workers' results; a configuration that killed its worker has failed, and a new worker continues.

    Raises:
        RuntimeError: a worker failed for another reason than memory, or said nothing for `SILENT_S`.
    """
    rows: list[Row] = []
    left = list(configs)
    while left:
        cores = int(left[0].get("cpu_cores", 1))
        job = {"model": model.name, "device": grid.device, "cpus": physical_cpus()[:cores], "configs": left}
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(cores), "MKL_NUM_THREADS": str(cores)}
        if "gpu_share" in left[0]:
            env["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = f"{100 * float(left[0]['gpu_share']):g}"
        worker = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            assert worker.stdin
            with suppress(BrokenPipeError), worker.stdin:  # one that ended before it was asked says why by its status
                json.dump({**job, "rows": rows, "patience": asdict(patience)}, worker.stdin)
            trying = None
            for line in SaidLines(worker, f"the worker for {model.name}").until_end(SILENT_S):
                said = json.loads(line)
                trying = said.get("trying")
                if trying is None:
                    left.pop(0)
                    rows += [said["row"]] if "row" in said else []
                    yield said
            worker.wait(SILENT_S)
        finally:
            end(worker)
        if worker.returncode == -9 and trying is not None:  # the kernel killed it for lack of memory
            rows.append(left.pop(0))
            yield {"row": rows[-1], "spread": None, "batches": 0}
        elif worker.returncode:
            raise RuntimeError(
                f"the worker for {model.name} ended with {worker.returncode} at {trying}; see its error above"
            )


def measure_model(model: PlaneModel, grid: Grid, patience: Patience, out: Path) -> dict[str, Any]:
    """Measures a model, writes its table and returns the model's figures for CARD.md and the record."""
    start, first = time.monotonic(), next(iter(grid.knobs))
    rows, spreads, skipped = [], [], 0
    for _, together in itertools.groupby(grid.configs(), key=lambda config: config[first]):
        for said in answers(model, list(together), grid, patience):
            if "left_out" in said:
                skipped += 1
                continue
            rows.append(said["row"])
            spreads += [said["spread"]] if said["batches"] else []
    write_table(out / f"{model.name}.csv", grid, rows)
    known = [s for s in spreads if s < float("inf")]
    return {
        "rows": len(rows),
        "failed": sum("rps" not in row for row in rows),
        "left_out": skipped,
        "spread_median": round(statistics.median(known), 4) if known else None,
        "spread_worst": round(max(known), 4) if known else None,
        "loose": sum(s > patience.within for s in known),
        "few": len(spreads) - len(known),
        "seconds": round(time.monotonic() - start, 1),
        "facts": facts(model),
    }


def main(arguments: Sequence[str]) -> None:
    parser = parser_of(__name__, __doc__)
    parser.add_argument("--models", nargs="+", choices=[model.name for model in MODELS], metavar="NAME")
    parser.add_argument("--out", type=Path, help="default: data/planes-DEVICE")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batches", nargs="+", type=int)
    parser.add_argument("--cores", nargs="+", type=int, help="default: 1, 2, 4 … and all")
    parser.add_argument("--gpu-shares", nargs="+", type=float, default=[0.25, 0.5, 1.0], help="where MPS runs")
    parser.add_argument("--gpu-memory", nargs="+", type=float, default=[0.02, 0.1, 1.0], help="parts of its memory")
    parser.add_argument("--usd-per-core", type=float, help="an hour; default: the built-in price book")
    parser.add_argument("--usd-per-gpu", type=float, help="an hour; default: the built-in price book")
    parser.add_argument("--quick", action="store_true", help="two models, three batches, very short measurements")
    parser.add_argument("--plan", action="store_true", help="say how long it takes, and stop")
    parser.add_argument("--fresh", action="store_true", help="discard what was measured before")
    asked = parser.parse_args(arguments)
    grid, patience = ask(asked), QUICK_PATIENCE if asked.quick else Patience()
    out: Path = asked.out or ROOT / "data" / f"planes-{asked.device}"
    wanted = asked.models or (QUICK_MODELS if asked.quick else [model.name for model in MODELS])
    record = out / "record.json"
    done = {} if asked.fresh else finished(record, grid)
    todo = [model for model in MODELS if model.name in wanted and model.name not in done]
    about, most = planned_s(grid, {model.name: facts(model) for model in todo}, patience)
    print(f"{len(todo)} models, {len(grid.configs())} configurations each, about {about / 60:.1f} min", end="")
    print(f" (at most {most / 60:.1f}); {len(done)} models already measured", flush=True)
    if asked.plan:
        return
    if (load := os.getloadavg()[0]) > BUSY:
        print(f"the machine is busy with other work (load {load:.1f}): the figures will be too low", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    where, command = machine(grid.device), command_of(__name__, arguments)
    for model in todo:
        done[model.name] = measure_model(model, grid, patience, out)
        print(f"{model.name}: { ({k: v for k, v in done[model.name].items() if k != 'facts'}) }", flush=True)
        # After each model, so that an interruption loses one at most.
        record.write_text(json.dumps({"knobs": grid.knobs, "models": done}, indent=1) + "\n")
        (out / "suite.json").write_text(json.dumps(suite(grid, done, patience, where), indent=1) + "\n")
        (out / "CARD.md").write_text(card(done, patience, where, command))
