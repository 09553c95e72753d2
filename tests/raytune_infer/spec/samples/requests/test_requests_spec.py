"""`requests` of service.yaml: drawn lengths, traces with their arrivals, and what is wrong with them."""

import os

import numpy as np
import pytest

from raytune_infer.errors import SpecError
from raytune_infer.spec.document import Document
from raytune_infer.spec.samples.requests.drawn_lengths import DrawnRequests, Lengths
from raytune_infer.spec.samples.requests.made_text import MadeText
from raytune_infer.spec.samples.samples import read_samples, sample_files
from raytune_infer.spec.service import Service
from raytune_infer.spec.service_spec import parse_spec
from serve_deployments.load.arrivals import Trace

SPEC = """\
name: chat
model: {build: "cluster.emulated:model", args: {profile: bert-base}}
knobs: {cpu_cores: [1, 2]}
objective: {maximize: rps}
"""


def spec(folder, more):
    return parse_spec(Document(SPEC + more, "chat.yaml"), folder=folder)


def test_drawn_lengths_have_the_mean_and_spread_that_is_asked_for():
    drawn = Lengths(200, 0.5, most=100_000).draw(np.random.default_rng(0), 50_000)
    assert drawn.mean() == pytest.approx(200, rel=0.01) and drawn.std() / drawn.mean() == pytest.approx(0.5, rel=0.03)
    assert set(Lengths(7).draw(np.random.default_rng(0), 9)) == {7}
    cut = Lengths(50, 2.0, least=20, most=60).draw(np.random.default_rng(0), 999)
    assert cut.min() == 20 and cut.max() == 60


def test_prefixes_are_shared_and_turns_repeat_what_was_said():
    requests = DrawnRequests(Lengths(5), Lengths(4), prefix_tokens=10, prefixes=2, turns=3)
    bodies = [body["messages"] for body, tokens in requests.bodies(30, MadeText()) if tokens == 4]
    assert [len(said) for said in bodies[:6]] == [2, 4, 6, 2, 4, 6]
    assert bodies[1][:2] == bodies[0] and bodies[2][:4] == bodies[1]
    assert [one["role"] for one in bodies[2]] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert len({said[0]["content"] for said in bodies}) == 2 and len({said[-1]["content"] for said in bodies}) == 30
    assert bodies == [body["messages"] for body, _ in requests.bodies(30, MadeText())]
    assert all("system" != said[0]["role"] for said, _ in [(b["messages"], n) for b, n in DrawnRequests(
        Lengths(5), Lengths(4)).bodies(3, MadeText())])  # fmt: skip


def test_a_service_sends_drawn_requests(tmp_path):
    asked = "requests: {lengths: {tokens_in: {mean: 30, cv: 1}, tokens_out: 8}, count: 40, seed: 3}\n"
    service = Service(spec(tmp_path, asked))
    assert len(service.samples) == 40 and all(one["max_tokens"] == 8 for one in service.samples)
    assert service.samples == read_samples(spec(tmp_path, asked)) and sample_files(service.spec) == []
    assert service.samples != read_samples(spec(tmp_path, asked.replace("seed: 3", "seed: 4")))


def test_a_trace_s_requests_may_come_as_they_came(tmp_path):
    (tmp_path / "burst.csv").write_text("Timestamp,Request tokens,Response tokens\n10,3,1\n11,2,1\n14,2,1\n")
    service = Service(spec(tmp_path, "requests: {burstgpt: burst.csv}\nload: {arrivals: recorded}\n"))
    assert service.arrivals == Trace((10.0, 11.0, 14.0)) and len(service.samples) == 3
    assert sample_files(service.spec) == [tmp_path / "burst.csv"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("", r"chat.yaml.*'samples' is missing, .*or `requests`"),
        ("samples: [a]\nrequests: {azure: a.csv}\n", "requests: there are `samples` too; keep one"),
        ("requests: {azure: a.csv, openai: b}\n", "give one of openai, .*, lengths; there is openai and azure"),
        ("requests: {}\n", "there is none"),
        ("requests: {azur: a.csv}\n", "requests.azur: unknown key; allowed are openai,"),
        ("requests: {azure: a.csv}\n", r"chat.yaml:5: requests.azure: .*a.csv: found .*expected a file that can be"),
        ("requests: {lengths: {tokens_in: 0, tokens_out: 3}}\n", "requests.lengths.tokens_in"),
        (
            "requests: {lengths: {tokens_in: {mean: 9, least: 5, most: 2}, tokens_out: 3}}\n",
            "`least` is 5, above",
        ),
        ("samples: [a]\nload: {arrivals: recorded}\n", "load.arrivals: recorded arrivals are those of a trace"),
        (
            "requests: {openai: b.jsonl}\nload: {arrivals: recorded}\n",
            "load.arrivals: the file under `req.*two",
        ),
        ("requests: {azure: pipe}\n", "requests: it is a pipe"),
        ("requests: {openai: b.jsonl, tokenizer: nowhere}\n", "requests: no tokenizer can be read from .*nowhere"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, more, said):
    (tmp_path / "b.jsonl").write_text('{"prompt": "a"}\n')
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SpecError, match=said):
        Service(spec(tmp_path, more))


@pytest.mark.parametrize("wrong", [{"prefixes": 0}, {"turns": 0}, {"prefix_tokens": -1}])
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="must be 0 or more, prefixes and turns 1 or more"):
        DrawnRequests(Lengths(5), Lengths(5), **wrong)
    with pytest.raises(ValueError, match="a mean of 1 or more"):
        Lengths(0.5)
    with pytest.raises(ValueError, match="1 <= least <= most"):
        Lengths(5, least=9, most=2)
