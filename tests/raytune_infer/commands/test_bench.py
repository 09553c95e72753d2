"""`bench` on a fake endpoint over real HTTP: what it shows, and the JSON that it writes, field by field by hand."""

import asyncio
import contextlib
import datetime as dt
import json
import re
import threading
from array import array
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from raytune_infer.commands.app import app
from raytune_infer.errors import UserError
from raytune_infer.report.export.vllm_result import VllmWords, vllm_result
from raytune_infer.spec.samples.requests.bench_requests import bench_requests, own_limits
from serve_deployments.fakes.openai_server import FakeOpenAIServer
from serve_deployments.load.events import Events
from serve_deployments.metrics.request_limits import RequestLimits
from serve_deployments.metrics.request_record import RequestRecord


@contextlib.contextmanager
def serving(server):
    """The server in a thread of its own; yields its address."""
    started, ended = threading.Event(), asyncio.Event()
    found: dict[str, Any] = {}

    async def run():
        async with server.running() as url:
            found.update(url=url, loop=asyncio.get_running_loop())
            started.set()
            await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        assert started.wait(10)
        yield found["url"]
    finally:
        found["loop"].call_soon_threadsafe(ended.set)
        thread.join()


def bench(*words):
    return CliRunner().invoke(app, ["bench", *map(str, words)])


def test_it_shows_times_and_writes_the_json_that_vllm_writes(tmp_path):
    server = FakeOpenAIServer(first_s=0.05, gap_s=0.01, model="org/tiny")
    with serving(server) as url:
        said = bench(
            "--base-url", url, "--dataset", "random", "--random-input-len", 7, "--random-output-len", 4,
            "--num-prompts", 12, "--request-rate", 60, "--seed", 1, "--goodput", "tpot:5000", "--goodput", "ttft:5",
            "--save-result", "--result-dir", tmp_path / "out", "--metadata", "tp=2", "--format", "json",
            "--metric-percentiles", "50,99",
        )  # fmt: skip
    assert said.exit_code == 0, said.output
    shown = json.loads(said.stdout)
    assert "12 requests answered" in str(shown) and "time per output token" in str(shown)
    [path] = (tmp_path / "out").iterdir()
    assert path.name.startswith("openai-60.0qps-tiny-")
    assert len(server.bodies) == 13  # the first asks whether it is there
    assert len({body["messages"][0]["content"] for body in server.bodies}) == 12
    told = json.loads(path.read_text())
    exact = {
        "backend": "openai", "endpoint_type": "openai", "label": None, "model_id": "org/tiny", "num_prompts": 12,
        "request_rate": 60.0, "burstiness": 1.0, "max_concurrency": None, "completed": 12, "failed": 0, "tp": "2",
        "total_input_tokens": 84, "total_output_tokens": 48, "request_goodput": 0.0,
    }  # fmt: skip
    assert {name: told[name] for name in exact} == exact
    assert told["request_throughput"] == pytest.approx(12 / told["duration"])
    assert told["output_throughput"] == pytest.approx(48 / told["duration"])
    assert 50 <= told["median_ttft_ms"] < 5000 and 0 < told["mean_tpot_ms"] < 1000 and "p50_itl_ms" in told
    assert "ttfts" not in told and "p99_e2el_ms" not in told


def test_it_finds_the_highest_rate_within_an_attainment():
    with serving(FakeOpenAIServer(first_s=0.01, gap_s=0.0)) as url:
        said = bench(
            "--base-url", url, "--model", "m", "--find-rate", "--goodput", "ttft:2000", "--total-s", 2, "--num-prompts",
            50, "--random-input-len", 3, "--random-output-len", 1, "--format", "json",
        )  # fmt: skip
    assert said.exit_code == 0, said.output
    assert "highest rate at which 0.95 of the requests keep their limits" in said.stdout and '"goodput"' in said.stdout


def recorded(limits=None):
    """Three answers and a failure, whose figures are known by hand: times from the send are 0.1 s shorter."""
    events = Events(100.0, limits=limits)
    ended = [
        (100.0, 100.1, 100.5, [0.1, 0.3], 10.0, 3.0),  # ends at 100.9
        (100.2, 100.3, 100.4, [1.1], 20.0, 2.0),  # 101.5
        (101.0, 101.1, 102.0, [], 30.0, 1.0),  # 102.0
    ]
    for due_s, sent_s, first_s, gaps_s, size_in, size_out in ended:
        last_s = first_s + sum(gaps_s)
        parts = len(gaps_s) + 1
        record = RequestRecord(due_s, sent_s, last_s, None, first_s, parts, size_in, size_out, 0, array("f", gaps_s))
        events.end(record, 1)
    events.end(RequestRecord(103.0, 103.1, 104.0, "HTTP 500"), 1)
    return events


WHEN = dt.datetime(2026, 11, 30, 12, 0, 5)


def test_every_field_by_hand():
    limits = RequestLimits({"ttft": 0.5, "tpot": 0.5})  # kept by the first alone
    words = VllmWords("m", "t", 4, times=("ttft", "tpot", "itl", "e2el"), percentiles=(25, 99.9))
    told = vllm_result(recorded(limits), words, WHEN)
    ttft_ms, itl_ms = [400, 100, 900], [100, 300, 1100]
    expected = {
        "duration": 4.0, "completed": 3, "failed": 1, "total_input_tokens": 60, "total_output_tokens": 6,
        "request_throughput": 0.75, "request_goodput": 0.25, "output_throughput": 1.5, "total_token_throughput": 16.5,
        "mean_ttft_ms": 1400 / 3, "median_ttft_ms": 400, "std_ttft_ms": np.std(ttft_ms), "p25_ttft_ms": 250,
        "mean_tpot_ms": (200 + 1100) / 2, "median_tpot_ms": 650, "std_tpot_ms": 450, "mean_itl_ms": 500,
        "std_itl_ms": np.std(itl_ms), "mean_e2el_ms": (800 + 1200 + 900) / 3, "p99.9_itl_ms": 1098.4,
        # From the first send, parts come after 0.4, 0.5 and 0.8; 0.3 and 1.4; 1.9 s.
        "max_output_tokens_per_s": 4, "max_concurrent_requests": 2,
    }  # fmt: skip
    assert {name: told[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert (
        told["date"] == "20261130-120005"
        and told["request_rate"] == "inf"
        and words.file_name("d").endswith("-m-d.json")
    )


def test_in_detail_every_request_is_in_it():
    told = vllm_result(recorded(), VllmWords("m", "t", 4), WHEN, detailed=True)
    assert (
        told["request_goodput"] is None
        and told["input_lens"] == [10, 20, 30, 0]
        and told["output_lens"] == [3, 2, 1, 0]
    )
    assert told["ttfts"] == pytest.approx([0.4, 0.1, 0.9, 0.0]) and told["errors"] == ["", "", "", "failed"]
    assert [list(map(float, gaps)) for gaps in told["itls"]] == [pytest.approx(g) for g in ([0.1, 0.3], [1.1], [], [])]
    json.dumps(told)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--base-url", "h:1", "--model", "m"], "--base-url: the address of an endpoint begins with http://"),
        (["--base-url", "http://127.0.0.1:9"], "127.0.0.1:9/v1/models cannot be read.*or name the model with --model"),
        (["--base-url", "http://127.0.0.1:9", "--model", "m"], "chat/completions does not answer a first request: Cl"),
        (
            ["--base-url", "http://h", "--dataset-name", "pile"],
            "--dataset-name pile: there is no such kind.*random, ope",
        ),
        (["--base-url", "http://h", "--dataset", "azure"], "--dataset-name azure needs --dataset-path"),
        (["--base-url", "http://h", "--dataset-path", "x"], "--dataset-name random needs no --dataset-path"),
        (["--base-url", "http://h", "--goodput", "ttft"], "--goodput ttft: a limit is NAME:MILLISECONDS.*ttft, tpot"),
        (["--base-url", "http://h", "--request-rate", "0"], "--request-rate must be above 0"),
        (["--base-url", "http://h", "--metadata", "x"], "--metadata x: KEY=VALUE is needed"),
        (["--base-url", "http://h", "--percentile-metrics", "ttfb"], "no such time: ttfb; there are ttft"),
        (["--base-url", "http://h", "--metric-percentiles", "101"], "numbers from 0 to 100"),
        (["--base-url", "http://127.0.0.1:9", "--model", "m", "--find-rate"], "needs limits of each request"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(words, said):
    result = bench(*words, "--num-prompts", 2, "--random-input-len", 2)
    assert isinstance(result.exception, UserError)
    assert re.search(said, str(result.exception)), str(result.exception)


def test_an_endpoint_that_stops_answering_is_said_with_the_first_error():
    with serving(FakeOpenAIServer(0.0, 0.0, refuses=lambda number: 500 * (number > 0))) as url:
        result = bench("--base-url", url, "--num-prompts", 3, "--random-input-len", 2)
    assert str(result.exception).startswith("none of 3 requests was answered; the first error: HTTP 500")


def test_vllm_s_names_of_data_and_limits(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"prompt": "a", "output_tokens": 3}\n')
    found = bench_requests("custom", tmp_path / "a.jsonl", 9, random=(1, 1, 0), output="fixed", tokenizer=None, seed=0)
    assert found.payloads == ({"prompt": "a", "max_tokens": 3, "ignore_eos": True},)
    assert own_limits(["ttft:500 e2el:2000"]) == RequestLimits({"ttft": 0.5, "latency": 2.0}) and own_limits([]) is None


TARGET = """\
target: {{openai: "{url}", model: tiny, temperature: 0}}
requests: {{lengths: {{tokens_in: 3, tokens_out: 2}}, count: 40}}
limits: {limits}
load: {{total_max_s: 2, level_max_s: 1, level_min_s: 0.2}}
"""


def test_a_file_with_a_target_has_its_highest_rate_within_any_limits(tmp_path):
    server = FakeOpenAIServer(first_s=0.01, gap_s=0.001)
    with serving(server) as url:
        (tmp_path / "chat.yaml").write_text(TARGET.format(url=url, limits="{ttft_p90_ms: 3000, error_rate: 0.01}"))
        said = bench(tmp_path / "chat.yaml", "--format", "json")
    assert said.exit_code == 0, said.output
    assert "highest rate that keeps ttft_p90_ms 3000, error_rate 0.01" in said.stdout
    assert {body["temperature"] for body in server.bodies} == {0} and {b["model"] for b in server.bodies} == {"tiny"}


@pytest.mark.parametrize(
    ("limits", "more", "said"),
    [
        ("{ttft_ms: 5}", "", "chat.yaml:3: limits.ttft_ms: .*attainment"),
        ("{p99: 5}", "", "limits.p99: 'p99' is not measured"),
        ("{}", "", "limits: needs at least one"),
        ("{answers_same: 0.9}", "", "limits.answers_same: is of answers beside a default's"),
        ("{attainment: 95, ttft_ms: 5}", "", "attainment is a share from 0 to 1, got 95"),
        ("{p99_ms: 5}", "knobs: {a: [1]}", "knobs: unknown key; allowed are target, requests, limits, load"),
    ],
)
def test_what_is_wrong_in_a_file_with_a_target_is_said_with_its_place(tmp_path, limits, more, said):
    (tmp_path / "chat.yaml").write_text(TARGET.format(url="http://h", limits=limits) + more)
    result = bench(tmp_path / "chat.yaml")
    assert isinstance(result.exception, UserError) and re.search(said, str(result.exception)), str(result.exception)


def test_an_endpoint_is_named_once(tmp_path):
    (tmp_path / "chat.yaml").write_text(TARGET.format(url="ftp://h", limits="{p99_ms: 5}"))
    assert "leave the option out" in str(bench(tmp_path / "chat.yaml", "--base-url", "http://h").exception)
    assert "begins with http://" in str(bench(tmp_path / "chat.yaml").exception)
    assert "which endpoint?" in str(bench().exception)
