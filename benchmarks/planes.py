"""Measured tables of our own: what batch size, cores and precision are worth to twelve models, on this machine.

    python benchmarks/planes.py                     # all models on the CPU, into data/planes-cpu
    python benchmarks/planes.py --plan              # only say how long that would take
    python benchmarks/planes.py --device cuda       # on a GPU, into data/planes-cuda
    python benchmarks/planes.py --quick --out /tmp/planes

A bare loop without a server: inputs prepared beforehand, full batches one after the other, so the rates are what a
replica could reach at saturation. Needs torch, numpy and (for the built-in prices) pyyaml, not Ray. A model that is
finished is kept: run it again after an interruption and it goes on; --fresh forgets what is there.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import itertools
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from plane_models import MODELS, PlaneModel
from plane_profile import facts
from plane_timing import BATCH, Patience, Row, Value

from cluster.nvml import mps_running

ROOT = Path(__file__).parent.parent
WORKER = Path(__file__).with_name("plane_worker.py")
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
METRICS = {"rps": "requests/s", "latency_ms": "ms"}
QUICK_MODELS = ("dlrm", "minilm-l6")
QUICK_BATCHES = (1, 2, 4)
QUICK_PATIENCE = Patience(least_s=0.02, most_s=0.05)

# Limits that people set on a CPU's answers, our choice: half a second is noticed, a tenth is not (Nielsen 1993,
# "Usability engineering", chapter 5, has 0.1 s as the limit of what feels immediate).
LOOSE_MS, TIGHT_MS = 500, 100

# Load average above which one is told that the machine is not quiet; our choice.
BUSY = 0.5

# Only to tell beforehand how long it takes. Seconds until a worker has torch and its model, and the part of a large
# product's rate that whole models reach, both as seen in short trials on a Xeon with AMX.
WORKER_START_S = 4.0
PART_OF_PEAK = 0.6


@dataclass(frozen=True)
class Grid:
    """The space, and where it is measured.

    Args:
        device: "cpu" or "cuda".
        knobs: name → values in order. A worker process has one value of the first; batches come last.
        usd_per_core: an hour of a core.
        usd_per_gpu: an hour of a whole GPU, without the cores beside it; 0 on the CPU.
        price_source: where prices come from.
    """

    device: str
    knobs: Mapping[str, Sequence[Value]]
    usd_per_core: float
    usd_per_gpu: float
    price_source: str

    def configs(self) -> list[dict[str, Value]]:
        """All of them, the fastest to change last: batches ascending."""
        return [dict(zip(self.knobs, values, strict=True)) for values in itertools.product(*self.knobs.values())]

    def usd_per_hour(self, config: Row) -> float:
        """A GPU is paid by the larger of its two shares, of compute and of memory, with a core beside it."""
        if self.device == "cpu":
            return self.usd_per_core * float(config["cpu_cores"])
        total_gib = max(float(gib) for gib in self.knobs["gpu_memory_gib"])
        share = max(float(config["gpu_share"]), float(config["gpu_memory_gib"]) / total_gib)
        return self.usd_per_core + self.usd_per_gpu * share


def physical_cpus() -> list[int]:
    """One logical CPU of each core that this process may use: two threads of one core are not two cores."""
    cores: dict[str, int] = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.setdefault(siblings.read_text() if siblings.exists() else str(cpu), cpu)
    return list(cores.values())


def machine(device: str) -> str:
    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    cpu = f"{names[0] if names else platform.machine()}, {len(physical_cpus())} cores"
    return cpu if device == "cpu" else f"{torch.cuda.get_device_name()} beside {cpu}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def ask(asked: argparse.Namespace) -> Grid:
    """The grid that the command line asks for.

    Raises:
        ValueError: more cores than there are, or a GPU where there is none.
    """
    if asked.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda asked for, torch sees no GPU; leave it out to measure on the CPU")
    usd_core, usd_gpu, source = asked.usd_per_core, asked.usd_per_gpu, "given on the command line"
    if usd_core is None or (asked.device == "cuda" and usd_gpu is None):
        from cluster.prices import load_prices  # needs pyyaml, which a bare machine may lack

        book = load_prices()
        usd_core, source = book.cpu_core_usd_per_hour, f"price book {book.name} of {book.date}: {book.source}"
        if asked.device == "cuda":
            gpu = torch.cuda.get_device_name()
            usd_gpu = book.usd_per_hour(cpu_cores=0, gpu_type=gpu, gpu_share=1.0)
    batches = tuple(asked.batches or (QUICK_BATCHES if asked.quick else BATCHES))
    if asked.device == "cuda":
        # Without MPS a share of the compute cannot be enforced.
        shares = tuple(asked.gpu_shares) if mps_running() else (1.0,)
        total_gib = torch.cuda.get_device_properties(0).total_memory / 2**30
        caps = tuple(round(total_gib * part, 2) for part in sorted(asked.gpu_memory))
        precisions = ("float32", "float16", "bfloat16")
        knobs = {"gpu_share": shares, "gpu_memory_gib": caps, "precision": precisions, BATCH: batches}
        return Grid("cuda", knobs, usd_core, usd_gpu, source)
    there = len(physical_cpus())
    cores = tuple(asked.cores or sorted({2**k for k in range(there.bit_length())} | {there}))
    if max(cores) > there:
        raise ValueError(f"{max(cores)} cores asked for, this process may use {there}; lower --cores")
    knobs = {"cpu_cores": cores, "precision": ("float32", "bfloat16"), BATCH: batches}
    return Grid("cpu", knobs, usd_core, 0.0, source)


def planned_s(grid: Grid, known: Mapping[str, Mapping[str, float]], patience: Patience) -> tuple[float, float]:
    """Seconds that all models will take: about, and at most.

    Args:
        grid: the space.
        known: the models' facts.
        patience: for each point.
    """
    rates = {str(precision): probe(grid.device, str(precision)) for precision in grid.knobs["precision"]}
    first = next(iter(grid.knobs))
    about = most = WORKER_START_S * len(known) * len(grid.knobs[first])
    for facts_, config in itertools.product(known.values(), grid.configs()):
        units = float(config.get("cpu_cores", config.get("gpu_share", 1.0)))
        rate = rates[str(config["precision"])] * PART_OF_PEAK * units
        batch_s = float(config[BATCH]) * facts_["gflop_per_item"] * 1e9 / rate
        if batch_s <= patience.batch_limit_s:
            few = (patience.least_batches + 1) * batch_s  # and one to warm up
            about += max(patience.least_s * 1.2, min(few + 3 * batch_s, patience.most_s), few)
            most += max(patience.least_s * 1.2 + patience.most_s, few)
    return about, most


def probe(device: str, precision: str, side: int = 1024) -> float:
    """FLOP/s of a large product, on one core or the whole GPU; a quarter of a second."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    x = torch.randn(side, side, device=device).to(getattr(torch, precision))
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        (x @ x).sum().item()  # .item() waits for a GPU
        best = min(best, time.perf_counter() - start)
    torch.set_num_threads(threads)
    return 2 * side**3 / best


def answers(
    model: PlaneModel,
    configs: Sequence[Row],
    grid: Grid,
    patience: Patience,
    script: Path = WORKER,
) -> Iterator[dict[str, Any]]:
    """What workers say of the configurations; one that killed its worker has failed, and another worker goes on.

    Raises:
        RuntimeError: a worker broke for another reason than memory.
    """
    rows: list[Row] = []
    left = list(configs)
    while left:
        cores = int(left[0].get("cpu_cores", 1))
        job = {"model": model.name, "device": grid.device, "cpus": physical_cpus()[:cores], "configs": left}
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(cores), "MKL_NUM_THREADS": str(cores)}
        if "gpu_share" in left[0]:
            env["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = f"{100 * float(left[0]['gpu_share']):g}"
        command = [sys.executable, str(script)]
        with subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdin and worker.stdout
            json.dump({**job, "rows": rows, "patience": asdict(patience)}, worker.stdin)
            worker.stdin.close()
            trying = None
            for line in worker.stdout:
                said = json.loads(line)
                trying = said.get("trying")
                if trying is None:
                    left.pop(0)
                    rows += [said["row"]] if "row" in said else []
                    yield said
        if worker.returncode == -9 and trying is not None:  # the system's answer to a lack of memory
            rows.append(left.pop(0))
            yield {"row": rows[-1], "spread": None, "batches": 0}
        elif worker.returncode:
            raise RuntimeError(f"the worker for {model.name} ended with {worker.returncode} at {trying}; see above")


def measure_model(model: PlaneModel, grid: Grid, patience: Patience, out: Path) -> dict[str, Any]:
    """Measures a model, writes its table and returns what the card says of it."""
    start, first = time.monotonic(), next(iter(grid.knobs))
    rows, spreads, skipped = [], [], 0
    for _, together in itertools.groupby(grid.configs(), key=lambda config: config[first]):
        for said in answers(model, list(together), grid, patience):
            if "left_out" in said:
                skipped += 1
                continue
            rows.append({**said["row"], "usd_per_hour": round(grid.usd_per_hour(said["row"]), 6)})
            spreads += [said["spread"]] if said["batches"] else []
    with (out / f"{model.name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*grid.knobs, "usd_per_hour", *METRICS], lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if k in METRICS else v for k, v in row.items()} for row in rows)
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


def suite(grid: Grid, done: Mapping[str, Mapping[str, Any]], patience: Patience, where: str) -> dict[str, Any]:
    """suite.json of the models that are done."""
    families = {model.name: model.family for model in MODELS}
    per_dollar = "rps / usd_per_hour"
    return {
        "name": f"planes-{grid.device}",
        "about": "Saturated rate and time of a batch of models with random weights in a bare loop, no server. A row "
        "without metrics ran out of memory. Configurations whose batch was expected to take longer than "
        f"{patience.batch_limit_s:g} s, going by the smaller ones, were not tried and have no row. Groups are "
        "families of models. Prices are list prices.",
        "provenance": f"measured on {where} by benchmarks/planes.py; {grid.price_source}",
        "parameters": [
            {
                "name": name,
                "kind": "categorical" if isinstance(values[0], str) else "ordinal",
                "values": list(values),
            }
            for name, values in grid.knobs.items()
        ],
        "cost": "usd_per_hour",
        "metrics": METRICS,
        "objectives": [
            {"name": "free", "maximize": per_dollar},
            {"name": "loose", "maximize": per_dollar, "at_most": {"latency_ms": LOOSE_MS}},
            {"name": "tight", "maximize": per_dollar, "at_most": {"latency_ms": TIGHT_MS}},
            {"name": "rate", "maximize": "rps", "at_most": {"latency_ms": LOOSE_MS}},
        ],
        "descriptors": {name: record["facts"] for name, record in done.items()},
        "groups": {name: families[name] for name in done},
        "tasks": {"source": list(done)},
    }


def card(done: Mapping[str, Mapping[str, Any]], patience: Patience, where: str, command: str) -> str:
    """CARD.md: machine, command, and how well each table is known."""
    lines = [
        "# How these tables were measured", "",
        f"`{command}`, {dt.date.today()}, {where}, torch {torch.__version__}, Python {platform.python_version()}, "
        f"{sum(record['seconds'] for record in done.values()):.0f} s in all. A table holds what was measured, once; "
        f"{patience!r}.", "",
        "Spread: half of the 95 % interval of a point's median, as a part of it; it knows the noise within a point, "
        "not what changes from one minute to the next. Not tight: points that ran out of time before the spread was "
        f"{patience.within:.0%}. Few: points of fewer than 6 batches, for which there is no such interval.", "",
        "| model | rows | failed | not tried | spread: median | worst | not tight | few | seconds |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    for name, r in done.items():
        spread = [f"{r[key]:.1%}" if r[key] is not None else "" for key in ("spread_median", "spread_worst")]
        counts = [r["rows"], r["failed"], r["left_out"], *spread, r["loose"], r["few"], r["seconds"]]
        lines.append(f"| {name} | " + " | ".join(str(count) for count in counts) + " |")
    return "\n".join([*lines, ""])


def finished(record: Path, grid: Grid) -> dict[str, Any]:
    """The models that an earlier run finished.

    Raises:
        ValueError: that run had another grid; its tables and ours would not be of one suite.
    """
    if not record.exists():
        return {}
    kept = json.loads(record.read_text())
    if kept["knobs"] != json.loads(json.dumps(grid.knobs)):
        raise ValueError(
            f"{record.parent} holds tables of {kept['knobs']}; give another --out, or --fresh to replace it"
        )
    return dict(kept["models"])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=[model.name for model in MODELS], metavar="NAME")
    parser.add_argument("--out", type=Path, help="default: data/planes-DEVICE")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batches", nargs="+", type=int)
    parser.add_argument("--cores", nargs="+", type=int, help="default: 1, 2, 4 … and all")
    parser.add_argument("--gpu-shares", nargs="+", type=float, default=[0.25, 0.5, 1.0], help="where MPS runs")
    parser.add_argument("--gpu-memory", nargs="+", type=float, default=[0.02, 0.1, 1.0], help="parts of its memory")
    parser.add_argument("--usd-per-core", type=float, help="an hour; default: the built-in price book")
    parser.add_argument("--usd-per-gpu", type=float, help="an hour; default: the built-in price book")
    parser.add_argument("--quick", action="store_true", help="two models, three batches, hardly any patience")
    parser.add_argument("--plan", action="store_true", help="say how long it takes, and stop")
    parser.add_argument("--fresh", action="store_true", help="forget what is there")
    asked = parser.parse_args(arguments)
    grid, patience = ask(asked), QUICK_PATIENCE if asked.quick else Patience()
    out: Path = asked.out or ROOT / "data" / f"planes-{asked.device}"
    wanted = asked.models or (QUICK_MODELS if asked.quick else [model.name for model in MODELS])
    record = out / "record.json"
    done = {} if asked.fresh else finished(record, grid)
    todo = [model for model in MODELS if model.name in wanted and model.name not in done]
    about, most = planned_s(grid, {model.name: facts(model) for model in todo}, patience)
    print(f"{len(todo)} models, {len(grid.configs())} configurations each, about {about / 60:.1f} min", end="")
    print(f" (at most {most / 60:.1f}); {len(done)} models are there already", flush=True)
    if asked.plan:
        return
    if (load := os.getloadavg()[0]) > BUSY:
        print(f"others are busy on this machine (load {load:.1f}): the figures will be too low", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    where, command = machine(grid.device), shlex.join(["python", *(sys.argv if arguments is None else ["planes.py"])])
    for model in todo:
        done[model.name] = measure_model(model, grid, patience, out)
        print(f"{model.name}: { ({k: v for k, v in done[model.name].items() if k != 'facts'}) }", flush=True)
        # After each model, so that an interruption loses one at most.
        record.write_text(json.dumps({"knobs": grid.knobs, "models": done}, indent=1) + "\n")
        (out / "suite.json").write_text(json.dumps(suite(grid, done, patience, where), indent=1) + "\n")
        (out / "CARD.md").write_text(card(done, patience, where, command))


if __name__ == "__main__":
    main()
