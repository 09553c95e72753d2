"""`bench`: an OpenAI endpoint that runs already, measured with the words of `vllm bench serve`."""

from __future__ import annotations

import datetime as dt
import json
import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from raytune_infer.commands.options import LARGEST_SEED, Format

_LIST = ","


def bench(
    target_yaml: Annotated[
        Path | None, typer.Argument(metavar="[TARGET_YAML]", help="A file with target, requests and limits, in place "
                                    "of options: the highest rate that keeps them is found.")
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="Address of the endpoint, with or without /v1.")] = None,
    model: Annotated[str | None, typer.Option(help="Name of the model; by default the endpoint's first.")] = None,
    dataset_name: Annotated[
        str, typer.Option("--dataset-name", "--dataset", help="random (drawn lengths), openai or custom, sharegpt, "
                          "sharegpt_turns, mooncake, burstgpt, azure.")
    ] = "random",
    dataset_path: Annotated[Path | None, typer.Option(help="File of the requests.")] = None,
    num_prompts: Annotated[int, typer.Option(min=1, help="Number of requests; each is sent once.")] = 1000,
    request_rate: Annotated[float, typer.Option(help="Requests per second; inf: all at once.")] = math.inf,
    burstiness: Annotated[
        float, typer.Option(min=0.01, max=1e6, help="Shape of the gaps between requests: 1 is Poisson, less is bursty.")
    ] = 1.0,
    max_concurrency: Annotated[int | None, typer.Option(min=1, help="Most requests under way at once.")] = None,
    random_input_len: Annotated[int, typer.Option(min=1, help="Tokens of a random request.")] = 1024,
    random_output_len: Annotated[int, typer.Option(min=1, help="Tokens of its answer.")] = 128,
    random_prefix_len: Annotated[int, typer.Option(min=0, help="Tokens that all of them begin with.")] = 0,
    output_len: Annotated[int | None, typer.Option(min=1, help="Tokens of every answer.")] = None,
    free_length: Annotated[bool, typer.Option("--free-length", help="Answers end where the model ends them.")] = False,
    tokenizer: Annotated[str | None, typer.Option(help="Folder of a tokenizer, for exact lengths.")] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Path of requests, such as /v1/completions; by default as they are.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="Temperature; by default the endpoint's.")] = None,
    goodput: Annotated[
        list[str] | None, typer.Option(help="Limit of each request in ms, as ttft:500, tpot:50, e2el:5000, itl:200; "
                                       "may be repeated.")
    ] = None,
    find_rate: Annotated[
        bool, typer.Option("--find-rate", help="Find the highest rate at which --attainment keep the limits.")
    ] = False,
    attainment: Annotated[float, typer.Option(min=0, max=1, help="Share of requests that must keep them.")] = 0.95,
    total_s: Annotated[float, typer.Option(min=1, help="Longest time of --find-rate.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of requests and arrivals.")] = 0,
    save_result: Annotated[bool, typer.Option("--save-result", help="Write the JSON that vLLM writes.")] = False,
    save_detailed: Annotated[bool, typer.Option("--save-detailed", help="With every request in it.")] = False,
    result_dir: Annotated[Path, typer.Option(help="Folder of the JSON.")] = Path("."),
    result_filename: Annotated[str | None, typer.Option(help="Name of the JSON.")] = None,
    label: Annotated[str | None, typer.Option(help="Label in it, and in its name.")] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="KEY=VALUE in it; may be repeated.")] = None,
    percentile_metrics: Annotated[str, typer.Option(help="Times in it.")] = "ttft,tpot,itl",
    metric_percentiles: Annotated[str, typer.Option(help="Percentiles in it.")] = "99",
    form: Format = "console",
) -> None:  # fmt: skip
    """Measure an OpenAI endpoint that runs already, as `vllm bench serve` does, or find its highest goodput."""
    from raytune_infer.errors import UserError
    from raytune_infer.report.export.bench_view import highest_view, once_view
    from raytune_infer.report.export.vllm_result import TIMES, VllmWords, vllm_result
    from raytune_infer.report.renderers import renderer_of
    from raytune_infer.spec.samples.requests.bench_requests import bench_requests, own_limits, pairs
    from raytune_infer.study.attached.bench_run import BenchPlan, highest, model_of, once, target_of
    from serve_deployments.load.arrivals import Renewal

    render = renderer_of(form)
    if target_yaml is not None:
        _of_file(target_yaml, base_url, form)
        return
    if base_url is None:
        raise UserError("which endpoint? give its address with --base-url, or a file that has it as `target`")
    times, percentiles = percentile_metrics.split(_LIST), _numbers(metric_percentiles)
    if unknown := set(times) - set(TIMES):
        raise UserError(
            f"--percentile-metrics: no such time: {', '.join(sorted(unknown))}; there are {', '.join(TIMES)}"
        )
    if not request_rate > 0:
        raise UserError(f"--request-rate must be above 0, got {request_rate:g}; `inf` sends all at once")
    words_of_user = pairs(metadata or [])
    limits = own_limits(goodput or [])
    asked = bench_requests(
        dataset_name, dataset_path, num_prompts, random=(random_input_len, random_output_len, random_prefix_len),
        output="free" if free_length else output_len or "fixed", tokenizer=tokenizer, seed=seed,
    )  # fmt: skip
    target = target_of(base_url, model_of(base_url, model), endpoint, temperature)
    rate_rps = None if math.isinf(request_rate) else request_rate
    cv = burstiness**-0.5  # of a gamma distribution with this shape
    plan = BenchPlan(asked.payloads, Renewal(cv), rate_rps, max_concurrency, limits, seed)
    if find_rate:
        said = f"highest rate at which {attainment:.4g} of the requests keep their limits"
        render(highest_view(highest(target, plan, attainment, total_s), said, target.root), sys.stdout)
        return
    began = dt.datetime.now()
    events, level = once(target, plan, lambda ended: None)
    render(once_view(level, target.root), sys.stdout)
    if save_result or save_detailed:
        words = VllmWords(
            target.model, tokenizer or target.model, len(asked.payloads), label=label, rate_rps=rate_rps,
            burstiness=burstiness, most_in_flight=max_concurrency, times=times, percentiles=percentiles,
            metadata=words_of_user,
        )  # fmt: skip
        told = vllm_result(events, words, began, detailed=save_detailed)
        name = result_filename or words.file_name(told["date"])
        _write(result_dir / name, json.dumps(told))


def _of_file(path: Path, base_url: str | None, form: str) -> None:
    from raytune_infer.errors import UserError
    from raytune_infer.report.export.bench_view import highest_view
    from raytune_infer.report.renderers import renderer_of
    from raytune_infer.study.attached.attached_spec import load_attached
    from raytune_infer.study.attached.bench_run import model_of, tested

    if base_url is not None:
        raise UserError(f"--base-url: the endpoint is `target.openai` of {path}; leave the option out")
    spec = load_attached(path)
    try:
        payloads, test = spec.payloads_and_test(path.resolve().parent)
        target = spec.target_as(model_of(spec.target.openai, spec.target.model))
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    said = "highest rate that keeps " + ", ".join(f"{name} {limit:g}" for name, limit in spec.limits.items())
    renderer_of(form)(highest_view(tested(target, payloads, test), said, target.root), sys.stdout)


def _numbers(text: str) -> list[float]:
    from raytune_infer.errors import UserError

    try:
        found = [float(each) for each in text.split(_LIST)]
    except ValueError:
        found = [-1.0]
    if not all(0 <= each <= 100 for each in found):
        raise UserError(f"--metric-percentiles takes numbers from 0 to 100 with commas between, got {text!r}")
    return found


def _write(path: Path, text: str) -> None:
    from raytune_infer.errors import UserError

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--result-dir: cannot write {path}: {error.strerror or error}; name another folder") from None
    typer.echo(f"wrote {path}", err=True)
