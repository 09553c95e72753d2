"""Streams of a fake OpenAI endpoint over real HTTP, timed part by part, and every way in which they may fail."""

import asyncio
import itertools
import pickle
import subprocess
import sys

import aiohttp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_deployments.endpoint import DescribedError
from serve_deployments.fakes.openai_server import FakeOpenAIServer
from serve_deployments.fakes.streaming_engine import FakeStreamingEngine, StepTimes
from serve_deployments.fakes.virtual_replicas import VirtualClock, run_virtual
from serve_deployments.load.attached.each_once import at_once, each_once
from serve_deployments.load.attached.openai_endpoint import OpenAIEndpoint, OpenAITarget, first_model
from serve_deployments.load.attached.server_sent_events import EventData
from serve_deployments.measuring.stopping_rules import LevelStatus
from serve_deployments.measuring.summary import LevelRun, summarise

HELLO = {"messages": [{"role": "user", "content": "one two three"}], "max_tokens": 5}


@given(st.lists(st.text(max_size=9).map(lambda s: s.replace("\n", "").replace("\r", "").strip())), st.data())
def test_events_are_read_in_whatever_pieces_they_come(texts, data):
    whole = "".join(f": comment\ndata: {text}\r\n\n" for text in texts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    read = EventData()
    pieces = [whole[a:b] for a, b in itertools.pairwise([0, *cuts, len(whole)])]
    assert [found for piece in pieces for found in read.feed(piece)] == texts


async def asked(server, *payloads, **more):
    async with server.running() as url:
        endpoint = OpenAIEndpoint(OpenAITarget(url, "fake", **more))
        try:
            return [await endpoint.infer(payload) for payload in payloads]
        finally:
            await endpoint.close()


def test_first_part_gaps_and_tokens_are_those_of_the_endpoint():
    server = FakeOpenAIServer(first_s=0.1, gap_s=0.05)
    chat, text = asyncio.run(asked(server, HELLO, {"prompt": "one two", "max_tokens": 3}))
    for answer, tokens, sent in ((chat, 5, 3), (text, 3, 2)):
        assert (answer.parts, answer.size_out, answer.size_in) == (tokens, tokens, sent)
        # A busy machine may be late with any of them, and early with none.
        assert 0.099 <= answer.first_after_s < 2 and len(answer.gaps_s) == tokens - 1
        assert 0.099 + 0.05 * (tokens - 1) <= answer.first_after_s + sum(answer.gaps_s) < 3
    assert chat.content == " w0 w1 w2 w3 w4"
    assert server.bodies[0]["model"] == "fake" and server.bodies[0]["stream_options"] == {"include_usage": True}


def test_a_prompt_goes_to_a_chat_as_its_user_says_it_but_messages_are_no_prompt():
    server = FakeOpenAIServer(0.0, 0.0)
    asyncio.run(asked(server, {"prompt": "one"}, path="/v1/chat/completions", more={"temperature": 0}))
    assert server.bodies[0]["messages"] == [{"role": "user", "content": "one"}] and server.bodies[0]["temperature"] == 0
    with pytest.raises(ValueError, match="goes to /v1/chat/completions, not to /v1/completions"):
        OpenAITarget("http://h", "m", "/v1/completions").body_of(HELLO)


def test_addresses_keys_and_copies(monkeypatch):
    for base in ("http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"):
        assert OpenAITarget(base, "m").url_of(HELLO) == "http://h:1/v1/chat/completions"
    assert OpenAITarget("http://h", "m").url_of({"prompt": "a"}) == "http://h/v1/completions"
    with pytest.raises(ValueError, match="begins with http:// or https://, got 'h:1'"):
        OpenAITarget("h:1", "m")
    target = OpenAITarget("http://h", "m", key_variable="A_KEY")
    assert target.headers() == {}
    monkeypatch.setenv("A_KEY", "secret")
    assert target.headers() == {"Authorization": "Bearer secret"} and b"secret" not in pickle.dumps(target)
    assert pickle.loads(pickle.dumps(OpenAIEndpoint(target))).target == target


def test_a_refusal_a_cut_and_nobody_there_are_told(monkeypatch):
    refusing = FakeOpenAIServer(0.0, 0.0, refuses=lambda number: 503)
    with pytest.raises(DescribedError, match="HTTP 503: .*request 0 is refused, as arranged"):
        asyncio.run(asked(refusing, HELLO))
    with pytest.raises((DescribedError, aiohttp.ClientError), match="ended after 2 parts|payload is not completed"):
        asyncio.run(asked(FakeOpenAIServer(0.0, 0.0, breaks_after=2), HELLO))
    with pytest.raises(aiohttp.ClientError):
        asyncio.run(OpenAIEndpoint(OpenAITarget("http://127.0.0.1:9", "m")).infer(HELLO))
    with pytest.raises(DescribedError, match="127.0.0.1:9/v1/models cannot be read"):
        asyncio.run(first_model("http://127.0.0.1:9"))


def test_the_first_model_is_named():
    async def named():
        async with FakeOpenAIServer(model="tiny").running() as url:
            return await first_model(url)

    assert asyncio.run(named()) == "tiny"


def test_each_request_is_sent_once_when_it_is_due_and_waits_for_its_place():
    engine = FakeStreamingEngine(lambda payload: payload, 8, StepTimes(0.1, 0.0, 0.0))
    payloads = [(1, 3)] * 4
    events = run_virtual(
        each_once(engine, payloads, [0.0, 0.0, 0.05, 2.0], most_in_flight=2, clock=VirtualClock())
    )  # fmt: skip
    requests = events.requests()
    np.testing.assert_allclose(requests.due_s, [0.0, 0.0, 0.05, 2.0])
    np.testing.assert_allclose(requests.sent_s, [0.0, 0.0, 0.3, 2.0])  # the third has a place once one has ended
    # The second and the third join the engine's next step, as one is under way when they come.
    np.testing.assert_allclose(requests.last_s, [0.3, 0.4, 0.7, 2.3])
    np.testing.assert_allclose(requests.first_s - requests.sent_s, [0.1, 0.2, 0.2, 0.1])
    assert list(events.in_flight) == [3, 2, 1, 1] and not requests.failed.any()


def test_a_request_that_fails_is_recorded_and_the_others_go_on():
    class Failing:
        async def infer(self, payload):
            await asyncio.sleep(payload)
            raise ConnectionError("gone")

        async def usage(self):
            return None

    events = run_virtual(each_once(Failing(), [0.1, 0.2], at_once(), clock=VirtualClock()))
    assert events.requests().failed.all() and events.first_error == "ConnectionError: gone" and events.count == 2


STREAMS, GAP_S, TOKENS = 64, 0.02, 100


def test_sixty_four_streams_of_fifty_tokens_a_second_take_less_than_a_millisecond_more_or_that_is_said():
    """Against the times at which the server, in a process of its own, wrote each token."""
    words = [sys.executable, "-m", "serve_deployments.fakes.openai_server", "--gap-s", str(GAP_S), "--first-s", "0.2"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            events = asyncio.run(sixty_four(url))
        finally:
            process.stdin.close()
    requests = events.requests()
    assert len(requests) == STREAMS and not requests.failed.any() and (requests.parts == TOKENS).all()
    level = summarise(
        LevelRun("open", None, 1.0, 0.0, 1.0), events, LevelStatus(events.span(), None, sure=True), [], until_s=1e9
    )
    more_s = level.value("tpot_mean_ms") / 1e3 - GAP_S
    assert more_s > -0.001 and (more_s < 0.001 or level.client_limited)
    # The process is not so slow that it says so of itself on an idle machine: a third of a core at most.
    assert level.client_cpu_share < 0.9


async def sixty_four(url):
    endpoint = OpenAIEndpoint(OpenAITarget(url, "fake"))
    try:
        payloads = [{"prompt": "one", "max_tokens": TOKENS}] * STREAMS
        return await each_once(endpoint, payloads, [n / 200 for n in range(STREAMS)])
    finally:
        await endpoint.close()
