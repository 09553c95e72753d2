"""The cross-checks apart from Ray: LoadGen and wrk as they are, against servers of our own, and the arithmetic."""

import asyncio
import json
import math
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.measuring import cross_check, cross_text, repeatability
from benchmarks.measuring.cross_text import Checked, Judged, goal_met
from benchmarks.measuring.rounds import Seen
from benchmarks.measuring.tools import loadgen, wrk
from benchmarks.measuring.tools.cross_tools import AT_ONCE, CLOSED, HTTP, OFFLINE, OPEN, SERVER, WRK
from benchmarks.replica import known_models, over_http, served, services
from benchmarks.replica.bare_loop import BareLoop
from serve_deployments.endpoint import WHOLE

# LoadGen, the real one


class Answering:
    """An endpoint that remembers what it was asked, and how much of it at a time; `odd` payloads fail."""

    def __init__(self, odd: str | None = None):
        self.asked: list[str] = []
        self.odd, self.now, self.most = odd, 0, 0

    async def infer(self, payload):
        self.asked.append(payload)
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        if payload == self.odd:
            raise RuntimeError("odd")
        return WHOLE
        return WHOLE

    async def usage(self):
        return None


@pytest.fixture
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.iterdir()), "LoadGen's logs belong into a temporary folder"


@pytest.mark.usefixtures("in_empty_folder")
def test_offline_hands_over_so_many_samples_at_once():
    endpoint = Answering()
    seen = loadgen.run(loadgen.Offline(samples=50), lambda: endpoint, ["a", "b"])
    assert len(endpoint.asked) == endpoint.most == 50
    assert set(endpoint.asked) == {"a", "b"}
    assert seen.rate_rps > 0 and seen.valid and seen.failed == 0
    assert seen.p99_ms is None and seen.kept_bound is None


@pytest.mark.usefixtures("in_empty_folder")
def test_server_sends_at_a_rate_and_judges_latency():
    endpoint = Answering()
    test = loadgen.Server(rate_rps=2000, seconds=0.1, p99_ms=60_000, queries=500)
    seen = loadgen.run(test, lambda: endpoint, ["a"])
    assert len(endpoint.asked) >= 500
    assert seen.valid and seen.kept_bound and 0 < seen.p50_ms <= seen.p99_ms


@pytest.mark.usefixtures("in_empty_folder")
def test_too_few_queries_are_not_valid_though_the_bound_is_kept():
    seen = loadgen.run(loadgen.Server(2000, 0.01, 60_000, queries=100), lambda: Answering(), ["a"])
    assert seen.kept_bound and not seen.valid


@pytest.mark.usefixtures("in_empty_folder")
def test_a_bound_that_nothing_can_keep_is_not_valid():
    seen = loadgen.run(loadgen.Server(2000, 0.01, 1e-6, queries=500), lambda: Answering(), ["a"])
    assert seen.kept_bound is False and seen.valid is False


def test_failures_are_counted_and_end_the_test_all_the_same():
    seen = loadgen.run(loadgen.Offline(samples=40), lambda: Answering(odd="b"), ["a", "b"])
    assert 0 < seen.failed < 40


def test_one_set_at_once_by_our_clock():
    endpoint = Answering(odd="b")
    seen = asyncio.run(loadgen.at_once(endpoint, ["a", "b"], 10))
    assert endpoint.most == 10 and seen.failed == 5 and seen.rate_rps > 0


def test_the_last_entry_of_a_log_counts():
    lines = [{"key": "x", "value": 1}, {"key": "y", "value": "z"}, {"key": "x", "value": 2}]
    assert loadgen.read_log("noise\n" + "\n".join(":::MLLOG " + json.dumps(line) for line in lines)) == {
        "x": 2,
        "y": "z",
    }
    with pytest.raises(RuntimeError, match="no result, only x"):
        loadgen.seen({"x": 2})


# HTTP, and wrk where there is one


class Listening(ThreadingHTTPServer):
    def __init__(self):
        super().__init__((over_http.HOST, 0), Handler)
        self.bodies: list[bytes] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Listening

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(body)
        self.send_response(500 if body == b'"bad"' else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args):
        pass


@pytest.fixture
def server() -> Iterator[Listening]:
    with Listening() as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


def url_of(server: ThreadingHTTPServer) -> str:
    return f"http://{over_http.HOST}:{server.server_port}/model"


def test_our_client_over_http_posts_json_and_raises_what_fails(server):
    async def ask():
        endpoint = over_http.HttpEndpoint(url_of(server))
        try:
            await endpoint.infer(over_http.encoded(["fine"])[0])
            with pytest.raises(Exception, match="500"):
                await endpoint.infer(over_http.encoded(["bad"])[0])
        finally:
            await endpoint.close()

    asyncio.run(ask())
    assert server.bodies == [b'"fine"', b'"bad"']


def test_a_replica_is_up_once_it_answers(server):
    over_http.wait_until_up(url_of(server), b'"x"')
    assert server.bodies == [b'"x"']
    with pytest.raises(RuntimeError, match="did not answer"):
        over_http.wait_until_up(url_of(server), b'"bad"', deadline_s=0.0)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_wrk_posts_the_payloads_in_turn_and_counts_what_failed(server):
    texts = ["how?", 'a "quoted" word, ä', "bad", {"a": [1, 2]}]
    seen = wrk.wrk(url_of(server), over_http.encoded(texts), connections=1, seconds=1)
    bodies = server.bodies
    # wrk asks the script for one request before it begins, and does not send that.
    assert [json.loads(body) for body in bodies[:7]] == (texts * 2)[1:]
    assert seen.failed == pytest.approx(len(bodies) / 4, abs=2)
    assert seen.rate_rps > 0 and 0 < seen.p50_ms <= seen.p99_ms


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_wrk_says_what_went_wrong():
    with pytest.raises(RuntimeError, match="wrk failed: .*refused"):
        wrk.wrk(f"http://{over_http.HOST}:{over_http.free_port()}/x", [b"1"], connections=1, seconds=1)


def test_what_wrk_printed_is_read():
    line = '{"requests": 200, "duration_us": 2000000, "refused": 20, "broken": 1, "p50_us": 1500.0, "p99_us": 9000.0}'
    seen = wrk.read_wrk(f"Running 2s test\nRequests/sec: 100\n{line}\n", cpu_s=0.5)
    assert seen == Seen(90.0, 1.5, 9.0, failed=21, client_cpu_share=0.25)
    with pytest.raises(RuntimeError, match="no result: Running"):
        wrk.read_wrk("Running 2s test\n")


def test_what_is_missing_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="apt-get install wrk"):
        wrk.wrk("http://x", [b"1"], connections=1, seconds=1)
    with pytest.raises(SystemExit, match="apt-get install wrk"):
        cross_check.preflight()
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    with pytest.raises(SystemExit, match="mlcommons-loadgen"):
        loadgen.run(loadgen.Offline(1), Answering, ["x"])


def test_no_process_is_taken_for_the_proxy():
    with pytest.raises(RuntimeError, match="ProxyActor"):
        over_http.Proxy()


# Models and text


@pytest.mark.parametrize("model", [known_models.echo(), known_models.sleeping(0.0)])
def test_known_models_answer_each_payload(model):
    assert model(["a", "b"]) == ["a", "b"]


def test_a_bare_loop_answers_full_batches():
    source = services.SERVICES["sleeping-10"]().source
    rate_rps = BareLoop(source, 8, {"service_ms": 1.0}, ["x"]).rate_rps(0.0, [])
    assert 0 < rate_rps <= 8 / 1e-3


def test_services_are_what_they_are_called():
    made = {name: build() for name, build in services.SERVICES.items()}
    assert {name: service.name for name, service in made.items()} == {name: name for name in made}
    assert made["sleeping-10"].true_rps == pytest.approx(800)
    # The demo's own limit and sentences.
    assert made["minilm"].p99_ms == 250 and len(made["minilm"].payloads) == 40


def test_somebody_elses_cluster_is_left_alone(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(SystemExit, match="unset RAY_ADDRESS"), served.local_serve():
        pass


ROUND = {
    CLOSED: Seen(200.0, 40.0, 50.0),
    OFFLINE: Seen(210.0),
    AT_ONCE: Seen(208.0),
    HTTP: Seen(100.0, 42.0, 60.0, proxy_cpu_share=0.8),
    WRK: Seen(120.0, 42.0, 60.0, client_cpu_share=0.12, proxy_cpu_share=0.84),
    OPEN: Seen(140.0, 30.0, 40.0),
    SERVER: Seen(144.2, 30.0, 44.0),
}


def test_what_should_agree_is_held_to_the_goal_and_what_should_not_is_not():
    slower = {**ROUND, WRK: Seen(122.0)}
    lines = cross_text.ratio_table(Checked("x", 16, 140.0, 4.0, [ROUND, slower])).splitlines()[2:]
    ends = [(line.split("|")[1].strip(), line.split("|")[3].split()[0], line.split("|")[-2].strip()) for line in lines]
    assert ends == [
        (f"{WRK} ÷ {HTTP}", "1.210", "**no**"),
        (f"{OFFLINE} ÷ {AT_ONCE}", "1.010", "yes"),
        (f"{SERVER} ÷ {OPEN}", "1.030", "yes"),
        (f"{OFFLINE} ÷ {CLOSED}", "1.050", "not the same"),
        (f"{WRK} ÷ {CLOSED}", "0.605", "not the same"),
    ]


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.96, 1.04, "yes"),
        (0.9, 1.1, "undecided"),
        (0.8, 0.94, "**no**"),
        (1.06, 1.2, "**no**"),
        (0, math.inf, "undecided"),
    ],
)
def test_the_goal_is_judged_by_the_whole_interval(low, high, said):
    assert goal_met(cross_text.PAIRS[0], low, high) == said


def test_the_proxys_part_is_predicted_from_cpu_time():
    # 7 ms of the proxy and 1 ms of wrk a request: 125/s, of which 120/s were seen.
    (said,) = cross_text.explained(Checked("x", 16, 140.0, 4.0, [ROUND]))
    assert "the proxy beside wrk allows 125/s at most; wrk measured 120/s, 0.96 of it" in said
    assert cross_text.explained(Checked("x", 16, 140.0, 4.0, [{WRK: Seen(1.0)}])) == []


def test_the_section_says_what_there_is():
    text = cross_text.section(Checked("sleeping", 16, 140.0, 4.0, [ROUND, ROUND], true_rps=400.0, apart=False))
    assert "our closed loop saw 50.0%" in text and "no cores were free" in text
    way = {CLOSED: Seen(500, 2.0), HTTP: Seen(200, 5.0), WRK: ROUND[WRK]}
    assert "adds 3.00 ms" in cross_text.echo_section([way]) and "143/s at most" in cross_text.echo_section([way])
    table = cross_text.verdicts([Judged("x", "0.85 × 100", 85.0, [Seen(85, 1, 2, kept_bound=True, valid=False)])], 1000)
    assert "| x | 0.85 × 100 | 85 | 2 | 1 of 1 | 0 of 1 |" in table


def test_the_text_has_all_services_and_how_busy_the_machine_was():
    judged = [Judged("a", "0.85 × 100", 85.0, [Seen(85, 1, 2)])]
    results = [(Checked("a", 16, 140.0, 4.0, [ROUND]), judged), (Checked("b", 16, 140.0, 4.0, [ROUND]), [])]
    text = cross_check.text([ROUND], results, rounds=1, seconds=4.0, queries=1000)
    assert "### a\n" in text and "### b\n" in text and "judged by LoadGen" in text and "load average" in text
    assert "judged by LoadGen" not in cross_check.text([ROUND], results[1:], rounds=1, seconds=4.0, queries=1000)


def test_repeatability_is_taken_beside_the_machines_own():
    kinds = (repeatability.TRIAL, repeatability.LEVEL, repeatability.FIXED, repeatability.BARE)
    # The machine swings by 10 %, and all figures with it.
    rounds = [{kind: Seen(speed * 100) for kind in kinds} for speed in (0.9, 1.0, 1.1)]
    lines = repeatability.table(rounds, {kind: [1.0] for kind in kinds}).splitlines()[2:]
    assert [[cell.strip() for cell in line.split("|")][4::3][:2] for line in lines] == [["10.0%", "0.0%"]] * 4
    assert [line.split("|")[-2].strip() for line in lines] == ["**no**"] * 3 + ["–"]
